"""Rolling statistics of the qlib semantics: pandas' and pyqlib's own recurrences.

pyqlib takes means, sums and deviations from pandas (compensated running sums, Welford's update run
forwards and backwards) and regressions from running sums of its own. Each recurrence carries the
rounding of all bars since the first one, and pyqlib's masks compare such numbers with thresholds,
so only the same recurrence agrees on every row. Not for new work: the strict semantics computes a
window afresh.

A missing value is NaN. Callers turn infinities into NaN, as pandas does before every rolling
statistic, but not before a regression, which one infinity poisons for good.

Sources: pandas 2.3, _libs/window/aggregations (sum, mean, var); qlib: data/_libs/rolling.pyx
(Slope, Resi, Rsquare), ops.py (IdxMax, IdxMin).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def running_sum(x: Array, start: Array, length: int, mean: bool, out: Array) -> None:
    """Compensated running sum or mean over the valid values of each window, NaN if none.

    Equal values give exactly their sum or mean; a mean never has a sign that no value has.

    Args:
        x: [C, T] float64.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        mean: divide by the number of values.
        out: [C, T] float64.
    """
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        total = lost_in = lost_out = 0.0
        n = negative = run = 0
        previous = np.nan
        for t in range(first, x.shape[1]):
            # The value that leaves, then the one that enters, each with its own compensation.
            if t - length >= first:
                old = x[i, t - length]
                if old == old:
                    n -= 1
                    negative -= 1 if np.signbit(old) else 0
                    y = -old - lost_out
                    z = total + y
                    lost_out = z - total - y
                    total = z
            new = x[i, t]
            if new == new:
                n += 1
                negative += 1 if np.signbit(new) else 0
                y = new - lost_in
                z = total + y
                lost_in = z - total - y
                total = z
                run = run + 1 if new == previous else 1
                previous = new
            # Windows of one repeated value are exact, and a mean keeps the sign of its values.
            if n == 0:
                value = np.nan
            elif not mean:
                value = previous * n if run >= n else total
            else:
                value = total / n
                if run >= n:
                    value = previous
                elif (negative == 0 and value < 0) or (negative == n and value > 0):
                    value = 0.0
            out[i, t] = value


@njit(cache=True, nogil=True, error_model="numpy")
def running_var(x: Array, start: Array, length: int, out: Array) -> None:
    """Sample variance of each window by Welford's update, added forwards, removed backwards.

    Args:
        x: [C, T] float64.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        out: [C, T] float64; NaN with fewer than 2 values, 0 where they are equal, and possibly a
            hair below 0 where they nearly are.
    """
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        mean = squares = lost_in = lost_out = 0.0
        n = run = 0
        previous = np.nan
        for t in range(first, x.shape[1]):
            # The value that leaves, then the one that enters.
            if t - length >= first:
                old = x[i, t - length]
                if old == old:
                    n -= 1
                    if n == 0:
                        mean = squares = 0.0
                    else:
                        before = mean - lost_out
                        y = old - lost_out
                        delta = y - mean
                        lost_out = delta + mean - y
                        mean -= delta / n
                        squares -= (old - before) * (old - mean)
            new = x[i, t]
            if new == new:
                n += 1
                run = run + 1 if new == previous else 1
                previous = new
                before = mean - lost_in
                y = new - lost_in
                delta = y - mean
                lost_in = delta + mean - y
                mean += delta / n
                squares += (new - before) * (new - mean)
            if n < 2:
                out[i, t] = np.nan
            else:
                out[i, t] = 0.0 if run >= n else squares / (n - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def running_line(
    y: Array, start: Array, length: int, slope: Array, rsquare: Array, residual: Array
) -> None:
    """Least squares of y on the slot position 1 .. length, from running sums never re-based.

    One session moves every position down by one, takes out the value that leaves and adds the new
    one at position `length`. With one value left the quotients are residue / 0: an infinity, or
    NaN where no residue was left.

    Args:
        y: [C, T] float64, infinities as they are.
        start: [C] position of the first bar; before it the outputs are NaN.
        length: window in sessions.
        slope, rsquare, residual: [C, T] float64 outputs.
    """
    for i in range(y.shape[0]):
        first = start[i]
        slope[i, :first] = np.nan
        rsquare[i, :first] = np.nan
        residual[i, :first] = np.nan
        n = sx = sxx = sy = syy = sxy = 0.0
        for t in range(first, y.shape[1]):
            # Every position moves down by one; then one value leaves and one enters.
            sxy -= sy
            sxx = sxx + n - 2.0 * sx
            sx -= n
            if t - length >= first:
                old = y[i, t - length]
                if old == old:
                    n -= 1.0
                    sy -= old
                    syy -= old * old
            new = y[i, t]
            if new == new:
                n += 1.0
                sx += length
                sxx += length * length
                sy += new
                syy += new * new
                sxy += length * new
            # The line through the window, from its sums.
            above = n * sxy - sx * sy
            below = n * sxx - sx * sx
            b = above / below
            r = above / np.sqrt(below * (n * syy - sy * sy))
            slope[i, t] = b
            rsquare[i, t] = r * r
            residual[i, t] = new - (b * length + (sy / n - b * (sx / n)))


@njit(cache=True, nogil=True, error_model="numpy")
def growing_line(y: Array, start: Array, slope: Array, rsquare: Array, residual: Array) -> None:
    """Least squares of y on the slot position 1, 2, ... of all sessions so far.

    Args:
        y: [C, T] float64, infinities as they are.
        start: [C] position of the first bar; before it the outputs are NaN.
        slope, rsquare, residual: [C, T] float64 outputs.
    """
    for i in range(y.shape[0]):
        first = start[i]
        slope[i, :first] = np.nan
        rsquare[i, :first] = np.nan
        residual[i, :first] = np.nan
        n = sx = sxx = sy = syy = sxy = 0.0
        for t in range(first, y.shape[1]):
            x = float(t - first + 1)
            new = y[i, t]
            if new == new:
                n += 1.0
                sx += x
                sxx += x * x
                sy += new
                syy += new * new
                sxy += x * new
            above = n * sxy - sx * sy
            below = n * sxx - sx * sx
            b = above / below
            r = above / np.sqrt(below * (n * syy - sy * sy))
            slope[i, t] = b
            rsquare[i, t] = r * r
            residual[i, t] = new - (b * x + (sy / n - b * (sx / n)))


@njit(cache=True, nogil=True, error_model="numpy")
def running_extreme(
    x: Array, start: Array, length: int, sign: float, value: Array, position: Array
) -> None:
    """Extreme of each window and its position; the first missing value counts as the extreme.

    The extreme itself skips missing values; its position does not (`np.argmax` returns the first
    NaN). Positions count from 1 at the oldest slot; the oldest of equals wins. A window
    is searched afresh only when the extreme has left it.

    Args:
        x: [C, T] float64.
        start: [C] position of the first bar; before it the outputs are NaN.
        length: window in sessions.
        sign: 1 for the maximum, -1 for the minimum.
        value, position: [C, T] float64 outputs, NaN where the window has no value.
    """
    for i in range(x.shape[0]):
        first = start[i]
        value[i, :first] = np.nan
        position[i, :first] = np.nan
        best = np.nan
        at = -1
        missing = first
        for t in range(first, x.shape[1]):
            # The newest session alone is compared, unless the extreme has left the window.
            oldest = max(first, t - length + 1)
            begin = t
            if at < oldest:
                at = -1
                begin = oldest
            for s in range(begin, t + 1):
                v = x[i, s] * sign
                if v == v and (at < 0 or v > best):
                    best = v
                    at = s
            # The first missing value of the window takes the extreme's place.
            missing = max(missing, oldest)
            while missing <= t and x[i, missing] == x[i, missing]:
                missing += 1
            if at < 0:
                value[i, t] = np.nan
                position[i, t] = np.nan
            else:
                value[i, t] = best * sign
                position[i, t] = (at if missing > t else missing) - oldest + 1
