"""Statistics that pyqlib computes window by window: WMA, Mad and EMA over all history.

pyqlib sums with numpy, whose sums run in eight strands over blocks of up to 128 numbers; the same
order of additions gives the same bits. There is no recurrence, so a step costs its window, and N=0
costs the square of the history.

qlib: ops.py Mad, WMA, EMA; numpy: pairwise summation of add.reduce, nanmean, nansum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 128
"""Numbers up to which numpy sums without splitting in two."""


@njit(cache=True, nogil=True, error_model="numpy")
def _block_sum(a: Array, first: int, n: int) -> float:
    """Sum of n <= BLOCK numbers from a[first] on."""
    if n < 8:
        total = 0.0
        for j in range(first, first + n):
            total += a[j]
        return total
    s0, s1, s2, s3 = a[first], a[first + 1], a[first + 2], a[first + 3]
    s4, s5, s6, s7 = a[first + 4], a[first + 5], a[first + 6], a[first + 7]
    whole = n - n % 8
    for j in range(first + 8, first + whole, 8):
        s0 += a[j]
        s1 += a[j + 1]
        s2 += a[j + 2]
        s3 += a[j + 3]
        s4 += a[j + 4]
        s5 += a[j + 5]
        s6 += a[j + 6]
        s7 += a[j + 7]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for j in range(first + whole, first + n):
        total += a[j]
    return float(total)


@njit(cache=True, nogil=True, error_model="numpy")
def pairwise_sum(a: Array, n: int) -> float:
    """Sum of the first n numbers with numpy's order of additions.

    More than BLOCK numbers are split in two, and so are the parts. The parts wait on a stack
    because numba loses its way when a function that calls itself comes from the cache.
    """
    if n <= BLOCK:
        return _block_sum(a, 0, n)
    begin, size = np.zeros(64, dtype=np.int64), np.zeros(64, dtype=np.int64)
    done, left = np.zeros(64, dtype=np.int64), np.zeros(64)
    size[0] = n
    top = 0
    total = 0.0
    while top >= 0:
        half = size[top] // 2
        half -= half % 8
        if size[top] <= BLOCK:
            total = _block_sum(a, begin[top], size[top])
            top -= 1
        elif done[top] == 0:
            done[top] = 1
            begin[top + 1], size[top + 1], done[top + 1] = begin[top], half, 0
            top += 1
        elif done[top] == 1:
            left[top] = total
            done[top] = 2
            begin[top + 1], size[top + 1], done[top + 1] = begin[top] + half, size[top] - half, 0
            top += 1
        else:
            total = left[top] + total
            top -= 1
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def mean_deviation(x: Array, start: Array, length: int, out: Array) -> None:
    """Mean absolute deviation from the mean of each window's values, NaN if there are none.

    Args:
        x: [C, T] float64, NaN where missing.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        out: [C, T] float64.
    """
    held = np.empty(min(length, x.shape[1]))
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        for t in range(first, x.shape[1]):
            n = 0
            for s in range(max(first, t - length + 1), t + 1):
                if x[i, s] == x[i, s]:
                    held[n] = x[i, s]
                    n += 1
            mean = pairwise_sum(held, n) / n
            for j in range(n):
                held[j] = abs(held[j] - mean)
            out[i, t] = pairwise_sum(held, n) / n


@njit(cache=True, nogil=True, error_model="numpy")
def linear_mean(x: Array, start: Array, length: int, out: Array) -> None:
    """Mean of the values times 1 .. m / (1 + .. + m), for m sessions in the window.

    The weights sum to 1 and the mean divides by the number of values besides, so a constant c
    gives c / m; missing values keep their weight.

    Args:
        x: [C, T] float64, NaN where missing.
        start: [C] position of the first bar; before it `out` is NaN.
        length: window in sessions.
        out: [C, T] float64, NaN where a window has no value.
    """
    held = np.empty(min(length, x.shape[1]))
    for i in range(x.shape[0]):
        first = start[i]
        out[i, :first] = np.nan
        for t in range(first, x.shape[1]):
            oldest = max(first, t - length + 1)
            m = t - oldest + 1
            weights = m * (m + 1) / 2
            n = 0
            for k in range(m):
                value = x[i, oldest + k]
                held[k] = (k + 1) / weights * value if value == value else 0.0
                n += 1 if value == value else 0
            out[i, t] = pairwise_sum(held, m) / n if n else np.nan


def growing_exponential(x: Array, start: Array, out: Array) -> None:
    """Sum of the values so far times their weights, which fall by 1 - 2 / (1 + m) a session.

    m is the number of sessions so far, so the weights change with every session. They sum to 1
    over all sessions; missing values keep theirs and so count as 0.

    Args:
        x: [C, T] float64, NaN where missing.
        start: [C] position of the first bar; before it `out` is NaN.
        out: [C, T] float64, NaN until there is a value.
    """
    out[...] = np.nan
    longest = x.shape[1] - int(start.min(initial=x.shape[1]))
    held = np.empty(x.shape[1])
    # numpy computes the weights: its powers differ from the C library's in the last bit.
    for m in range(1, longest + 1):
        weights = (1 - 2 / (1 + m)) ** np.arange(m)[::-1]
        weights /= weights.sum()
        _weigh(x, start, weights, held, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(x: Array, start: Array, weights: Array, held: Array, out: Array) -> None:
    """Sum m weighted values, on the m-th session of each instrument."""
    m = weights.shape[0]
    for i in range(x.shape[0]):
        t = start[i] + m - 1
        if t >= x.shape[1]:
            continue
        n = 0
        for k in range(m):
            value = x[i, start[i] + k]
            held[k] = weights[k] * value if value == value else 0.0
            n += 1 if value == value else 0
        if n:
            out[i, t] = pairwise_sum(held, m)
