"""Quantiles from a sorted window, and ranks, one instrument at a time.

The window is kept sorted: each session removes one value and inserts one. The kernel does both to
every place at once, by comparing each place with its neighbours, so there is no search and no
branch to predict, and the loop vectorises: 10 to 20 ns a session for up to 60 values; an insertion
by binary search and shifting takes 140. Order statistics are exact, so unlike a sum they cannot
drift, and a window that slid here equals the same window sorted afresh, bit for bit.

A rank needs no order, only the number of values below the newest: a pass over the lags, contiguous
over sessions, counts them for all windows at once.

Rules (qlib: ops.py Quantile, Med, Rank, which are pandas' rolling kernels): missing values are left
out; the quantile at q interpolates linearly at position q (n-1) of the sorted values; the rank is
that of the newest value, ties averaged, over the number of values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features.strict import codes

Array = NDArray[Any]


@njit(nogil=True, error_model="numpy")
def _exchange(old: Array, leaving: float, entering: float, new: Array, size: int) -> None:
    """Remove one value from a sorted window and insert one; +inf stands for none.

    Args:
        old: [size + 2], -inf, the sorted values, +inf up to the end.
        leaving: a value of the window.
        entering: any value.
        new: [size + 2], the result.
        size: places.
    """
    for j in range(1, size + 1):
        before = old[j - 1] if old[j - 1] < leaving else old[j]
        here = old[j] if old[j] < leaving else old[j + 1]
        low = here if here < entering else entering
        new[j] = before if before > low else low


@njit(nogil=True, error_model="numpy")
def quantiles(
    x: Array, length: int, requests: Array, params: Array, least: int, ws: Array, pad: Array
) -> None:
    """Compute quantiles of the windows of one length.

    Args:
        x: [T] float64, NaN where missing, never infinite.
        length: window in sessions.
        requests: [Q, 4]: any, any, row to write, position of q in `params`.
        params: constants.
        least: fewest values for a result.
        ws: [rows, T] workspace.
        pad: [2, at least min(length, T) + 9] scratch.
    """
    sessions = x.shape[0]
    size = (min(length, sessions) + 7) // 8 * 8  # whole vectors, no remainder to loop over
    new, old = pad[0], pad[1]
    for j in range(size + 2):
        new[j] = old[j] = np.inf if j > 0 else -np.inf
    n = 0
    for t in range(sessions):
        leaving = x[t - length] if t >= length else np.nan
        entering = x[t]
        n += (entering == entering) - (leaving == leaving)
        leaving = leaving if leaving == leaving else np.inf
        new, old = old, new
        _exchange(old, leaving, entering if entering == entering else np.inf, new, size)
        for r in range(requests.shape[0]):
            value = np.nan
            if n >= least:
                place = params[requests[r, 3]] * (n - 1)
                below = int(place)
                value = new[1 + below]
                if below + 1 < n:
                    value += (new[2 + below] - value) * (place - below)
            ws[requests[r, 2], t] = value


@njit(nogil=True, error_model="numpy")
def ranks(
    x: Array, levels: Array, requests: Array, least: int, ws: Array, geo: int, pad: Array
) -> None:
    """Rank the newest values in windows of several lengths, in one pass over the lags.

    Earlier values below the newest count twice, its equals once.

    Args:
        x: [T] float64, NaN where missing.
        levels: [K, 3] from `rolling_windows.levels`.
        requests: [Q, 4]: any, level, row to write, any; in ascending order of the level.
        least: fewest values for a result.
        ws: [rows, T] workspace.
        geo: first row of the geometry of x.
        pad: [1, at least T] scratch.
    """
    sessions = x.shape[0]
    twice = pad[0, :sessions]
    for t in range(sessions):
        twice[t] = 1.0
    reached = 1
    for r in range(requests.shape[0]):
        level, out = requests[r, 1], ws[requests[r, 2]]
        n = ws[geo + codes.GEOMETRY_ROWS * level]
        length = levels[level, 0]
        for lag in range(reached, min(length, sessions)):
            newest, total = x[lag:], twice[lag:]
            for t in range(total.shape[0]):
                below = 1.0 if x[t] < newest[t] else 0.0
                upto = 1.0 if x[t] <= newest[t] else 0.0
                total[t] += below + upto
        reached = max(reached, length)
        for t in range(sessions):
            share = (twice[t] + 1.0) / 2.0 / n[t]
            out[t] = share if n[t] >= least and x[t] == x[t] else np.nan
