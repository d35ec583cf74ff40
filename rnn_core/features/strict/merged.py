"""Statistics of nested windows by merging, one instrument at a time.

Each kernel fills rows of a workspace, level by level as `rolling_windows.levels` lists them: a
level of N sessions at t is merged from a newer part ending at t and an older one ending `lag`
sessions before.
The loops run over sessions and are contiguous, so they vectorise; the order of operations at t
depends on nothing but the window, so a value has the same bits wherever the series starts.

The `geometry` holds the number of values of each window and their places. It depends only on the
places of missing values, so it is computed once for all series that miss the same ones.

Numerics: means, sums of squares about the mean and cross products are merged as deviations between
the parts (Chan, Golub & LeVeque 1983; Pebay 2008), sums of non-negative terms that lose nothing
however high the level of the series. A constant window has exactly its value as mean and zero
deviation. No `fastmath`: a reassociated or fused operation would differ between the vector body of
a loop and its remainder, and with it the bits of a session with its place in the array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features.operators import LISTED
from rnn_core.features.strict import codes

Array = NDArray[Any]


@njit(nogil=True, error_model="numpy")
def merge_counts(na: Array, nb: Array, lag: int, n: Array, older: Array, cross: Array) -> None:
    """Merge numbers of values of a window, the older part's share of them, and na nb / n.

    Args:
        na, nb: [T] numbers of values of the newer and the older part.
        lag: sessions of the newer part.
        n, older, cross: [T] outputs.
    """
    head = min(lag, n.shape[0])
    for t in range(head):
        n[t] = na[t]
        older[t] = 0.0
        cross[t] = 0.0
    na, n, older, cross = na[head:], n[head:], older[head:], cross[head:]
    for t in range(n.shape[0]):
        total = na[t] + nb[t]
        share = nb[t] / (total if total > 0.0 else 1.0)
        n[t] = total
        older[t] = share
        cross[t] = na[t] * share


@njit(nogil=True, error_model="numpy")
def merge_lags(
    ka: Array,
    kb: Array,
    qa: Array,
    qb: Array,
    lag: int,
    older: Array,
    cross: Array,
    k: Array,
    q: Array,
    step: Array,
) -> None:
    """Merge mean lags, squares about them, and the cross term that a regression needs.

    Args:
        ka, kb: [T] mean lags of the parts.
        qa, qb: [T] sums of squares of the lags about them.
        lag: sessions of the newer part.
        older, cross: [T] from `merge_counts`.
        k, q, step: [T] outputs; step = (difference of the mean lags) x cross.
    """
    head = min(lag, k.shape[0])
    for t in range(head):
        k[t] = ka[t]
        q[t] = qa[t]
        step[t] = 0.0
    ka, qa, older, cross = ka[head:], qa[head:], older[head:], cross[head:]
    k, q, step = k[head:], q[head:], step[head:]
    for t in range(k.shape[0]):
        d = kb[t] + lag - ka[t]
        k[t] = ka[t] + d * older[t]
        q[t] = qa[t] + qb[t] + d * d * cross[t]
        step[t] = d * cross[t]


@njit(nogil=True, error_model="numpy")
def merge_moments(
    ma: Array,
    mb: Array,
    qa: Array,
    qb: Array,
    lag: int,
    older: Array,
    cross: Array,
    m: Array,
    q: Array,
) -> None:
    """Merge mean m and sum of squares q about it; [T] each, `a` newer, `b` older."""
    head = min(lag, m.shape[0])
    for t in range(head):
        m[t] = ma[t]
        q[t] = qa[t]
    ma, qa, older, cross, m, q = (
        ma[head:],
        qa[head:],
        older[head:],
        cross[head:],
        m[head:],
        q[head:],
    )
    for t in range(m.shape[0]):
        d = mb[t] - ma[t]
        m[t] = ma[t] + d * older[t]
        q[t] = qa[t] + qb[t] + d * d * cross[t]


@njit(nogil=True, error_model="numpy")
def merge_products(
    ma: Array, mb: Array, ca: Array, cb: Array, lag: int, step: Array, c: Array
) -> None:
    """Merge products c of the deviations of a series and the lag; `step` from `merge_lags`."""
    head = min(lag, c.shape[0])
    for t in range(head):
        c[t] = ca[t]
    ma, ca, step, c = ma[head:], ca[head:], step[head:], c[head:]
    for t in range(c.shape[0]):
        c[t] = ca[t] + cb[t] + (mb[t] - ma[t]) * step[t]


@njit(nogil=True, error_model="numpy")
def merge_pairs(
    xa: Array,
    xb: Array,
    ya: Array,
    yb: Array,
    ca: Array,
    cb: Array,
    lag: int,
    cross: Array,
    c: Array,
) -> None:
    """Merge products c of the deviations of two series with means x and y."""
    head = min(lag, c.shape[0])
    for t in range(head):
        c[t] = ca[t]
    xa, ya, ca, cross, c = xa[head:], ya[head:], ca[head:], cross[head:], c[head:]
    for t in range(c.shape[0]):
        c[t] = ca[t] + cb[t] + (xb[t] - xa[t]) * (yb[t] - ya[t]) * cross[t]


@njit(nogil=True, error_model="numpy")
def merge_sums(a: Array, b: Array, lag: int, weight: float, s: Array) -> None:
    """Merge sums: s = newer + weight x older."""
    head = min(lag, s.shape[0])
    for t in range(head):
        s[t] = a[t]
    a, s = a[head:], s[head:]
    for t in range(s.shape[0]):
        s[t] = a[t] + weight * b[t]


@njit(nogil=True, error_model="numpy")
def merge_extremes(a: Array, b: Array, lag: int, v: Array) -> None:
    """Take the larger of the two parts' maxima."""
    head = min(lag, v.shape[0])
    for t in range(head):
        v[t] = a[t]
    a, v = a[head:], v[head:]
    for t in range(v.shape[0]):
        v[t] = b[t] if b[t] >= a[t] else a[t]


@njit(nogil=True, error_model="numpy")
def merge_positions(a: Array, b: Array, pa: Array, pb: Array, lag: int, v: Array, p: Array) -> None:
    """Take the larger of the two parts' maxima v and its lag p; of equals the older one wins."""
    head = min(lag, v.shape[0])
    for t in range(head):
        v[t] = a[t]
        p[t] = pa[t]
    a, pa, v, p = a[head:], pa[head:], v[head:], p[head:]
    for t in range(v.shape[0]):
        v[t] = b[t] if b[t] >= a[t] else a[t]
        p[t] = pb[t] + lag if b[t] >= a[t] else pa[t]


@njit(nogil=True, error_model="numpy")
def slots(ahead: Array, length: int, out: Array) -> None:
    """Count the sessions of each window: the instrument's history, up to `length`.

    Args:
        ahead: [T] first session from each on that has a row.
        length: the most sessions of a window.
        out: [T], 0 where the last `length`, or the last LISTED + 1, sessions have no row.
    """
    reach = min(max(length - 1, LISTED), out.shape[0])
    for t in range(reach):
        out[t] = min(max(t - ahead[0] + 1.0, 0.0), float(length))
    rest = out[reach:]
    for t in range(rest.shape[0]):
        rest[t] = min(max(t + reach - ahead[t] + 1.0, 0.0), float(length))


@njit(nogil=True, error_model="numpy")
def geometry(x: Array, levels: Array, lines: bool, ws: Array, base: int) -> None:
    """Compute numbers of values and their places for every level of a series.

    Args:
        x: [T] float64, NaN where missing.
        levels: [K, 3] from `rolling_windows.levels`.
        lines: True if a regression needs the lags too.
        ws: [rows, T] workspace; `GEOMETRY_ROWS` per level from `base` on are written: number,
            older share, cross; mean lag, squares of the lags, step.
        base: the first row.
    """
    for t in range(x.shape[0]):
        ws[base, t] = 1.0 if x[t] == x[t] else 0.0
        ws[base + 3, t] = 0.0
        ws[base + 4, t] = 0.0
    for k in range(1, levels.shape[0]):
        lag = levels[levels[k, 1], 0]
        a = base + codes.GEOMETRY_ROWS * levels[k, 1]
        b = base + codes.GEOMETRY_ROWS * levels[k, 2]
        c = base + codes.GEOMETRY_ROWS * k
        merge_counts(ws[a], ws[b], lag, ws[c], ws[c + 1], ws[c + 2])
        if lines:
            older, cross = ws[c + 1], ws[c + 2]
            mean, squares, step = ws[c + 3], ws[c + 4], ws[c + 5]
            merge_lags(
                ws[a + 3], ws[b + 3], ws[a + 4], ws[b + 4], lag, older, cross, mean, squares, step
            )


@njit(nogil=True, error_model="numpy")
def same_places(x: Array, n: Array) -> bool:
    """True if a series has values exactly where `n` is 1."""
    different = 0
    for t in range(x.shape[0]):
        different += (1.0 if x[t] == x[t] else 0.0) != n[t]
    return different == 0


@njit(nogil=True, error_model="numpy")
def moments(x: Array, levels: Array, lines: bool, ws: Array, geo: int, base: int) -> None:
    """Compute mean, squares about it and products with the lag, for every level.

    Args:
        x: [T] float64, NaN where missing.
        levels: [K, 3].
        lines: True if the products are needed.
        ws: [rows, T]; 3 rows per level from `base` on are written.
        geo: first row of the geometry of x.
        base: the first row to write.
    """
    for t in range(x.shape[0]):
        ws[base, t] = x[t] if x[t] == x[t] else 0.0
        ws[base + 1, t] = 0.0
        ws[base + 2, t] = 0.0
    for k in range(1, levels.shape[0]):
        lag = levels[levels[k, 1], 0]
        a, b, c = base + 3 * levels[k, 1], base + 3 * levels[k, 2], base + 3 * k
        g = geo + codes.GEOMETRY_ROWS * k
        merge_moments(
            ws[a], ws[b], ws[a + 1], ws[b + 1], lag, ws[g + 1], ws[g + 2], ws[c], ws[c + 1]
        )
        if lines:
            merge_products(ws[a], ws[b], ws[a + 2], ws[b + 2], lag, ws[g + 5], ws[c + 2])


@njit(nogil=True, error_model="numpy")
def comoments(x: Array, y: Array, levels: Array, ws: Array, geo: int, base: int) -> None:
    """Compute means, squares and products of deviations of two series, for every level.

    Args:
        x, y: [T] float64, both NaN where either is missing.
        levels: [K, 3].
        ws: [rows, T]; 5 rows per level from `base` on are written: mean and squares of x, of y,
            products.
        geo: first row of the geometry of x.
        base: the first row to write.
    """
    for t in range(x.shape[0]):
        ws[base, t] = x[t] if x[t] == x[t] else 0.0
        ws[base + 2, t] = y[t] if y[t] == y[t] else 0.0
        ws[base + 1, t] = 0.0
        ws[base + 3, t] = 0.0
        ws[base + 4, t] = 0.0
    for k in range(1, levels.shape[0]):
        lag = levels[levels[k, 1], 0]
        a, b, c = base + 5 * levels[k, 1], base + 5 * levels[k, 2], base + 5 * k
        g = geo + codes.GEOMETRY_ROWS * k
        older, cross = ws[g + 1], ws[g + 2]
        merge_moments(ws[a], ws[b], ws[a + 1], ws[b + 1], lag, older, cross, ws[c], ws[c + 1])
        a, b, c = a + 2, b + 2, c + 2
        merge_moments(ws[a], ws[b], ws[a + 1], ws[b + 1], lag, older, cross, ws[c], ws[c + 1])
        xa, xb, ca, cb = ws[a - 2], ws[b - 2], ws[a + 2], ws[b + 2]
        merge_pairs(xa, xb, ws[a], ws[b], ca, cb, lag, cross, ws[c + 2])


@njit(nogil=True, error_model="numpy")
def sums(x: Array, levels: Array, ws: Array, base: int) -> None:
    """Sum the values, for every level; one row per level from `base` on."""
    for t in range(x.shape[0]):
        ws[base, t] = x[t] if x[t] == x[t] else 0.0
    for k in range(1, levels.shape[0]):
        a, b = base + levels[k, 1], base + levels[k, 2]
        merge_sums(ws[a], ws[b], levels[levels[k, 1], 0], 1.0, ws[base + k])


@njit(nogil=True, error_model="numpy")
def decayed(x: Array, levels: Array, alpha: float, ws: Array, base: int) -> None:
    """Sum the values and their weights (1 - alpha)^lag; two rows per level."""
    for t in range(x.shape[0]):
        valid = x[t] == x[t]
        ws[base, t] = x[t] if valid else 0.0
        ws[base + 1, t] = 1.0 if valid else 0.0
    for k in range(1, levels.shape[0]):
        lag = levels[levels[k, 1], 0]
        weight = (1.0 - alpha) ** lag
        a, b, c = base + 2 * levels[k, 1], base + 2 * levels[k, 2], base + 2 * k
        merge_sums(ws[a], ws[b], lag, weight, ws[c])
        merge_sums(ws[a + 1], ws[b + 1], lag, weight, ws[c + 1])


@njit(nogil=True, error_model="numpy")
def extremes(x: Array, levels: Array, sign: float, places: bool, ws: Array, base: int) -> None:
    """Compute the maximum of sign x value and its lag, for every level; two rows per level.

    Args:
        x: [T] float64, NaN where missing.
        levels: [K, 3].
        sign: 1 for the maximum, -1 for the minimum.
        places: True if the lags are needed.
        ws: [rows, T]; the maximum is -inf where there is no value.
        base: the first row to write.
    """
    for t in range(x.shape[0]):
        ws[base, t] = sign * x[t] if x[t] == x[t] else -np.inf
        ws[base + 1, t] = 0.0
    for k in range(1, levels.shape[0]):
        lag = levels[levels[k, 1], 0]
        a, b, c = base + 2 * levels[k, 1], base + 2 * levels[k, 2], base + 2 * k
        if places:
            merge_positions(ws[a], ws[b], ws[a + 1], ws[b + 1], lag, ws[c], ws[c + 1])
        else:
            merge_extremes(ws[a], ws[b], lag, ws[c])
