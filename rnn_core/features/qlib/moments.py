"""Skewness, kurtosis and exponential means of the qlib semantics: pandas' recurrences.

pandas subtracts the rounded mean of the whole series (so a later value can change the last digits
of an earlier one) and runs sums of the first three or four powers through the windows. Differences
of such sums lose most of their digits when a window hardly moves, so only the same recurrence from
the same first session gives the same numbers. Not for new work.

Sources: pandas 2.3, _libs/window/aggregations (skew, kurt, ewm with adjust, NaN not ignored).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

SMALL = 1e-14
"""Mean square deviation up to which a window counts as constant."""


@njit(cache=True, nogil=True, error_model="numpy")
def _offset(x: Array, limit: float) -> float:
    """Return a series' rounded mean, 0 if its least value is `limit` or more below the mean."""
    total = 0.0
    least = np.inf
    n = 0
    for value in x:
        if value == value:
            total += value
            n += 1
            least = min(least, value)
    mean = total / n
    if n == 0 or not least - mean > -limit:
        return 0.0
    whole = np.trunc(mean)
    if abs(mean - whole) >= 0.5:  # Halves away from zero, as C rounds.
        whole += 1.0 if mean > 0 else -1.0
    return float(whole)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_powers(value: float, sums: Array, lost: Array) -> None:
    """Add value, value², ... to compensated sums."""
    power = 1.0
    for k in range(sums.shape[0]):
        power *= value
        y = power - lost[k]
        z = sums[k] + y
        lost[k] = z - sums[k] - y
        sums[k] = z


@njit(cache=True, nogil=True, error_model="numpy")
def _take_powers(value: float, sums: Array, lost: Array) -> None:
    """Subtract value, value², ... from compensated sums."""
    power = 1.0
    for k in range(sums.shape[0]):
        power *= value
        y = -power - lost[k]
        z = sums[k] + y
        lost[k] = z - sums[k] - y
        sums[k] = z


@njit(cache=True, nogil=True, error_model="numpy")
def _skew(n: int, run: int, sums: Array) -> float:
    """Compute the skewness of n values from their power sums."""
    if n < 3:
        return np.nan
    if run >= n:
        return 0.0
    m = float(n)
    a = sums[0] / m
    b = sums[1] / m - a * a
    c = sums[2] / m - a * a * a - 3 * a * b
    if b <= SMALL:
        return np.nan
    r = np.sqrt(b)
    return float((np.sqrt(m * (m - 1.0)) * c) / ((m - 2) * r * r * r))


@njit(cache=True, nogil=True, error_model="numpy")
def _kurt(n: int, run: int, sums: Array) -> float:
    """Compute the excess kurtosis of n values from their power sums."""
    if n < 4:
        return np.nan
    if run >= n:
        return -3.0
    m = float(n)
    a = sums[0] / m
    power = a * a
    b = sums[1] / m - power
    power = power * a
    c = sums[2] / m - power - 3 * a * b
    power = power * a
    d = sums[3] / m - power - 6 * b * a * a - 4 * c * a
    if b <= SMALL:
        return np.nan
    k = (m * m - 1.0) * d / (b * b) - 3 * ((m - 1.0) * (m - 1.0))
    return float(k / ((m - 2.0) * (m - 3.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def _powers(x: Array, start: Array, length: int, order: int, limit: float, out: Array) -> None:
    """Compute skewness (order 3) or kurtosis (order 4) of each window."""
    sums, gained, lost = np.empty(order), np.empty(order), np.empty(order)
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        offset = _offset(x[i, first:], limit)
        sums[:] = 0.0
        gained[:] = 0.0
        lost[:] = 0.0
        n = run = 0
        previous = np.nan
        for t in range(first, x.shape[1]):
            if t - length >= first:
                old = x[i, t - length] - offset
                if old == old:
                    n -= 1
                    _take_powers(old, sums, lost)
            new = x[i, t] - offset
            if new == new:
                n += 1
                _add_powers(new, sums, gained)
                run = run + 1 if new == previous else 1
                previous = new
            out[i, t] = _skew(n, run, sums) if order == 3 else _kurt(n, run, sums)


@njit(cache=True, nogil=True, error_model="numpy")
def running_skew(x: Array, start: Array, length: int, out: Array) -> None:
    """Skewness of each window: 0 for equal values, NaN for nearly equal ones or fewer than 3.

    Args:
        x: [C, T] float64, NaN where missing and after an instrument's last session.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        out: [C, T] float64.
    """
    _powers(x, start, length, 3, 1e5, out)


@njit(cache=True, nogil=True, error_model="numpy")
def running_kurt(x: Array, start: Array, length: int, out: Array) -> None:
    """Excess kurtosis of each window: -3 for equal values, NaN for nearly equal or fewer than 4.

    Args:
        x: [C, T] float64, NaN where missing and after an instrument's last session.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        out: [C, T] float64.
    """
    _powers(x, start, length, 4, 1e4, out)


@njit(cache=True, nogil=True, error_model="numpy")
def exponential_mean(x: Array, start: Array, centre: float, out: Array) -> None:
    """Mean of all values so far with weights (1 - alpha)^age, the age counted in sessions.

    Args:
        x: [C, T] float64, NaN where missing; there the mean so far goes on.
        start: [C] position of the first bar; before it `out` is NaN.
        centre: centre of mass of the weights; alpha = 1 / (1 + centre).
        out: [C, T] float64.
    """
    keep = 1.0 - 1.0 / (1.0 + centre)
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        mean = np.nan
        weight = 1.0
        for t in range(first, x.shape[1]):
            new = x[i, t]
            if mean == mean:
                weight *= keep
                if new == new:
                    if mean != new:
                        mean = (weight * mean + new) / (weight + 1.0)
                    weight += 1.0
            elif new == new:
                mean = new
            out[i, t] = mean
