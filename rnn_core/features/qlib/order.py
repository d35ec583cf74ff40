"""Quantiles, medians and ranks from sorted windows, in the qlib semantics.

Each window is kept sorted: a session removes one value and inserts one, and shifts only the values
between them. Order statistics are exact, so unlike a sum they cannot drift, and a window that slid
to its place equals the same window sorted afresh, bit for bit. (`strict.ordered` is faster and
gives the same quantiles; this module has pyqlib's median and serves several statistics with one
sort.)

Rules (qlib: ops.py Quantile, Rank, which are pandas' rolling kernels): missing values are left
out; the quantile at q interpolates linearly at position q (n-1) of the sorted values; the rank is
that of the newest value, ties averaged, over the number of values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MEDIAN, RANK = -1.0, -2.0
Array = NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def _lower(window: Array, n: int, value: float) -> int:
    """Count the values below `value` among n sorted values."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if window[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy")
def _slide(window: Array, n: int, leaving: float, entering: float) -> tuple[int, int]:
    """Remove one value from a sorted window and insert one; NaN stands for none.

    Returns:
        The new length, and the lower position of the inserted value (-1 if there is none).
    """
    if leaving == leaving:
        hole = _lower(window, n, leaving)
        if entering == entering:
            while hole + 1 < n and window[hole + 1] < entering:
                window[hole] = window[hole + 1]
                hole += 1
            while hole > 0 and window[hole - 1] >= entering:
                window[hole] = window[hole - 1]
                hole -= 1
            window[hole] = entering
            return n, hole
        for j in range(hole, n - 1):
            window[j] = window[j + 1]
        return n - 1, -1
    if entering == entering:
        hole = _lower(window, n, entering)
        for j in range(n, hole, -1):
            window[j] = window[j - 1]
        window[hole] = entering
        return n + 1, hole
    return n, -1


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(window: Array, n: int, q: float) -> float:
    """Compute the q-quantile of n sorted values by linear interpolation."""
    position = q * (n - 1)
    below = int(position)
    value: float = window[below]
    if below + 1 < n:
        value += (window[below + 1] - value) * (position - below)
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def statistics(x: Array, start: Array, length: int, wanted: Array, out: Array) -> None:
    """Compute several order statistics of each window, with one sort for all of them.

    Args:
        x: [C, T] float64, NaN where missing.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        wanted: [K], for each statistic a share from 0 to 1 for the quantile there, interpolated
            linearly, `MEDIAN` for the middle value or the mean of the middle two (not quite the
            quantile at 0.5, which rounds otherwise), or `RANK` for the rank of the newest value,
            ties averaged, over the number of values.
        out: [K, C, T] float64; NaN where a window has no value, for the rank where the newest is
            missing.
    """
    window = np.empty(min(length, x.shape[1]) + 1)
    for i in range(x.shape[0]):
        first = start[i]
        out[:, i, :first] = np.nan
        n = 0
        for t in range(first, x.shape[1]):
            leaving = x[i, t - length] if t - length >= first else np.nan
            n, at = _slide(window, n, leaving, x[i, t])
            for k in range(wanted.shape[0]):
                value = np.nan
                if wanted[k] == RANK:
                    if at >= 0:
                        ties = 1
                        while at + ties < n and window[at + ties] == window[at]:
                            ties += 1
                        value = (at + (ties + 1) / 2) / n
                elif n > 0 and wanted[k] == MEDIAN:
                    value = window[n // 2]
                    if n % 2 == 0:
                        value = (value + window[n // 2 - 1]) / 2
                elif n > 0:
                    value = _quantile(window, n, wanted[k])
                out[k, i, t] = value
