"""Quantiles and ranks from sorted windows, for both semantics.

Each window is kept sorted: a session takes one value out and puts one in, shifting only what lies
between them. Order statistics are exact, so unlike a sum they cannot drift, and a window that slid
here equals the same window sorted afresh, bit for bit.

Rules (qlib: ops.py Quantile, Rank, which are pandas' rolling kernels): missing values are left
out; the quantile at q interpolates linearly at position q (n-1) of the sorted values; the rank is
that of the newest value, ties averaged, over the number of values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

PAD = 60
"""Missing sessions that callers put before the first one."""

LENGTHS = (5, 10, 20, 30, 60)
Array = NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def _lower(window: Array, n: int, value: float) -> int:
    """How many of the n sorted values are below `value`."""
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
    """Take one value out of a sorted window and put one in; NaN stands for none.

    Returns:
        The new length, and the lower position of the value that entered (-1 if none did).
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
    """The q-quantile of n sorted values, interpolated linearly."""
    position = q * (n - 1)
    below = int(position)
    value: float = window[below]
    if below + 1 < n:
        value += (window[below + 1] - value) * (position - below)
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def ranks(
    x: Array, scale: Array, strict: bool, out: Array, first: int, rows: tuple[int, ...]
) -> None:
    """Upper and lower quantile over the newest value, and the newest value's rank.

    Args:
        x: [C, PAD+T] float64, NaN where missing (infinities are missing here in both semantics).
        scale: [C, T] divisor of the quantiles.
        strict: make a quotient that float32 cannot hold missing.
        out: [158, N, T] float32.
        first: where the C instruments begin.
        rows: first rows of QTLU (0.8), QTLD (0.2), RANK.
    """
    upper, lower, rank = rows
    sessions = x.shape[1] - PAD
    window = np.empty(64)
    for i in range(x.shape[0]):
        for w in range(5):
            length = LENGTHS[w]
            n = 0
            for t in range(sessions):
                n, at = _slide(window, n, x[i, PAD + t - length], x[i, PAD + t])
                high = low = share = np.nan
                if n > 0:
                    high = _quantile(window, n, 0.8) / scale[i, t]
                    low = _quantile(window, n, 0.2) / scale[i, t]
                    if strict:
                        high = high if abs(high) <= 3.4028234663852886e38 else np.nan
                        low = low if abs(low) <= 3.4028234663852886e38 else np.nan
                if at >= 0:
                    ties = 1
                    while at + ties < n and window[at + ties] == window[at]:
                        ties += 1
                    share = (at + (ties + 1) / 2) / n
                out[upper + w, first + i, t] = high
                out[lower + w, first + i, t] = low
                out[rank + w, first + i, t] = share
