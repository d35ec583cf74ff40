"""The last step of a statistic: from the merged parts to the requested number.

Rules: a statistic of fewer values than it needs, or than the caller requires, is missing; a series
that does not vary has no correlation and no share of explained variance. qlib: ops.py Std, Slope,
Rsquare, Resi, Corr, IdxMax; pandas' rolling kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features.strict import codes
from rnn_core.features.strict.lags import FLAT

Array = NDArray[Any]


@njit(nogil=True, error_model="numpy")
def moment(
    stat: int, x: Array, m: Array, q: Array, c: Array, n: Array, k: Array, kk: Array,
    least: int, out: Array,
) -> None:  # fmt: skip
    """Compute a statistic of one series from mean m, squares q, products c with the lag.

    With b = c / kk the slope over the lag, the line at lag 0 is m - b k.

    Args:
        stat: MEAN, VAR, STD, SLOPE, RSQUARE or RESI.
        x, m, q, c: [T] the series and its merged parts.
        n, k, kk: [T] number of values, their mean lag, squares of the lags.
        least: fewest values for a result.
        out: [T].
    """
    sessions = out.shape[0]
    two = max(least, 2)
    if stat == codes.MEAN:
        for t in range(sessions):
            out[t] = m[t] if n[t] >= least else np.nan
    elif stat == codes.VAR:
        for t in range(sessions):
            out[t] = q[t] / (n[t] - 1.0) if n[t] >= two else np.nan
    elif stat == codes.STD:
        for t in range(sessions):
            out[t] = np.sqrt(q[t] / (n[t] - 1.0)) if n[t] >= two else np.nan
    elif stat == codes.SLOPE:
        for t in range(sessions):
            out[t] = -c[t] / kk[t] if n[t] >= two else np.nan
    elif stat == codes.RSQUARE:
        for t in range(sessions):
            flat = q[t] <= FLAT * FLAT * m[t] * m[t] * (n[t] - 1.0)
            share = min(c[t] * c[t] / (kk[t] * q[t]), 1.0)
            out[t] = share if n[t] >= two and not flat else np.nan
    elif stat == codes.RESI:
        for t in range(sessions):
            line = m[t] - c[t] / kk[t] * k[t]
            out[t] = x[t] - line if n[t] >= two else np.nan


@njit(nogil=True, error_model="numpy")
def comoment(stat: int, ws: Array, c: int, n: Array, least: int, out: Array) -> None:
    """Compute CORR or COV from the five rows of `comoments` at c, for two pairs or more."""
    mx, qx, my, qy, xy = ws[c], ws[c + 1], ws[c + 2], ws[c + 3], ws[c + 4]
    two = max(least, 2)
    if stat == codes.COV:
        for t in range(out.shape[0]):
            out[t] = xy[t] / (n[t] - 1.0) if n[t] >= two else np.nan
        return
    for t in range(out.shape[0]):
        x_flat = qx[t] <= FLAT * FLAT * mx[t] * mx[t] * (n[t] - 1.0)
        y_flat = qy[t] <= FLAT * FLAT * my[t] * my[t] * (n[t] - 1.0)
        r = min(max(xy[t] / np.sqrt(qx[t]) / np.sqrt(qy[t]), -1.0), 1.0)
        out[t] = r if n[t] >= two and not x_flat and not y_flat else np.nan


@njit(nogil=True, error_model="numpy")
def total(stat: int, s: Array, n: Array, least: int, out: Array) -> None:
    """Compute SUM, COUNT or SHARE from a sum s over n values or sessions."""
    for t in range(out.shape[0]):
        value = n[t] if stat == codes.COUNT else (s[t] if stat == codes.SUM else s[t] / n[t])
        out[t] = value if n[t] >= least or stat == codes.COUNT else np.nan


@njit(nogil=True, error_model="numpy")
def place(
    stat: int, sign: float, v: Array, p: Array, window: Array, n: Array, least: int, out: Array
) -> None:
    """Return the extreme v, or its place counted from 1 at the oldest session of the window."""
    for t in range(out.shape[0]):
        value = window[t] - p[t] if stat == codes.POSITION else sign * v[t]
        enough = v[t] > -np.inf and (least <= 1 or n[t] >= least)
        out[t] = value if enough else np.nan
