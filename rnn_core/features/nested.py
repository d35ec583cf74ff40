"""Rolling sums of the strict semantics: every window summed afresh, five windows in one pass.

For a block of sessions the kernels walk the lags 0 .. 59, newest to oldest, add the value at each
lag to every session's accumulator and emit a window when its last lag is in. So the order of the
additions depends on nothing but the window: the value of session D computed from the 61 sessions
it needs equals, bit for bit, the one computed from all of history, and nothing drifts. The inner
loop runs over sessions and is contiguous, so it vectorises; a sliding sum does a twelfth of the
additions but one after the other, and never forgets a rounding.

Numerics: deviations and products are taken from values shifted by the newest valid value of the
window. That value is in the window, so the sum of squares about it is at most n times the one
about the mean, and the difference of the two loses at most a factor n = 60 of double precision,
whatever the level of the series. A constant window gives exactly zero.

No `fastmath`: a reassociated or fused operation would differ between the vector body of a loop and
its remainder, and with it the bits of a session with its position in the block.

Sources of the formulas: the definitions in `layout`; qlib: ops.py and _libs/rolling.pyx for what
they are to equal on clean data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

PAD = 60
"""Missing sessions that callers put before the first one, so that no lag needs a bounds check."""

BLOCK = 256
"""Sessions per block: the accumulators of one stay in the first-level cache."""

EDGES = (0, 5, 10, 20, 30, 60)
"""The windows as nested ranges of lags."""

FLAT = 1e-7
"""A window whose deviation is at most this share of its mean is constant: above the rounding of
float32 bars (6e-8), below one tick of any quoted price, and free of the scale of the series."""

EPS = 1e-12
MAX_FLOAT32 = 3.4028234663852886e38
Array = NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def _finite32(value: float) -> float:
    """The value, or NaN where float32 could only hold an infinity."""
    return value if abs(value) <= MAX_FLOAT32 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _newest_valid(x: Array, ref: Array) -> None:
    """ref[t] = the last value of x at or before t, 0 before the first; x begins with PAD."""
    last = 0.0
    for t in range(ref.shape[0]):
        value = x[PAD + t]
        if value == value:
            last = value
        ref[t] = last


@njit(cache=True, nogil=True, error_model="numpy")
def trend(x: Array, out: Array, first: int, rows: tuple[int, ...]) -> None:
    """Mean, deviation and regression on time of one series, divided by its newest value.

    With lag k as the regressor, d = x_{t-k} - x_ref and the sums over the valid slots,
        var = (S(d²) - S(d)²/n) / (n-1),  b = (n S(kd) - S(k)S(d)) / (n S(k²) - S(k)²),
        slope = -b,  r² = cov² / (var k · var x),  residual = -(mean d - b mean k).
    Fewer than 2 values give no deviation and no line; a constant window has no r².

    Args:
        x: [C, PAD+T] float64, NaN where missing.
        out: [158, N, T] float32.
        first: row of `out`'s second axis at which the C instruments begin.
        rows: first rows of MA, STD, BETA, RSQR, RESI.
    """
    ma, std, beta, rsqr, resi = rows
    sessions = x.shape[1] - PAD
    ref = np.empty(sessions)
    acc = np.empty(6 * BLOCK)  # n, S(d), S(d²), S(kd), S(k), S(k²)
    for i in range(x.shape[0]):
        _newest_valid(x[i], ref)
        for t0 in range(0, sessions, BLOCK):
            size = min(BLOCK, sessions - t0)
            acc[:] = 0.0
            for w in range(5):
                for lag in range(EDGES[w], EDGES[w + 1]):
                    base = PAD + t0 - lag
                    k = float(lag)
                    for j in range(size):
                        d = x[i, base + j] - ref[t0 + j]
                        one = 1.0 if d == d else 0.0
                        d = d if d == d else 0.0
                        acc[j] += one
                        acc[BLOCK + j] += d
                        acc[2 * BLOCK + j] += d * d
                        acc[3 * BLOCK + j] += k * d
                        acc[4 * BLOCK + j] += k * one
                        acc[5 * BLOCK + j] += k * k * one
                for j in range(size):
                    n = acc[j]
                    s = acc[BLOCK + j]
                    sk = acc[4 * BLOCK + j]
                    now = x[i, PAD + t0 + j]
                    mean = ref[t0 + j] + s / n
                    sxx = max(acc[2 * BLOCK + j] - s * s / n, 0.0)
                    skk = acc[5 * BLOCK + j] - sk * sk / n
                    skx = acc[3 * BLOCK + j] - sk * s / n
                    b = skx / skk
                    flat = sxx <= FLAT * FLAT * mean * mean * (n - 1.0)
                    r2 = np.nan if flat else min(skx * skx / (skk * sxx), 1.0)
                    enough = n >= 2.0
                    t = t0 + j
                    out[ma + w, first + i, t] = _finite32(mean / now)
                    out[std + w, first + i, t] = _finite32(np.sqrt(sxx / (n - 1.0)) / now)
                    out[beta + w, first + i, t] = _finite32(-b / now) if enough else np.nan
                    out[rsqr + w, first + i, t] = _finite32(r2) if enough else np.nan
                    resid = -(s / n - b * (sk / n)) / now
                    out[resi + w, first + i, t] = _finite32(resid) if enough else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def spread(
    x: Array, scale: Array, own_mean: bool, out: Array, first: int, rows: tuple[int, ...]
) -> None:
    """Mean and deviation of one series: over `scale`, or the deviation over the mean.

    Args:
        x: [C, PAD+T] float64, NaN where missing.
        scale: [C, T] divisor of both; not read if `own_mean`.
        own_mean: write only deviation / (mean + 1e-12), as WVMA does.
        out: [158, N, T] float32.
        first: where the C instruments begin.
        rows: first rows of the mean (not written if `own_mean`) and of the deviation.
    """
    mean_row, std_row = rows
    sessions = x.shape[1] - PAD
    ref = np.empty(sessions)
    acc = np.empty(3 * BLOCK)  # n, S(d), S(d²)
    for i in range(x.shape[0]):
        _newest_valid(x[i], ref)
        for t0 in range(0, sessions, BLOCK):
            size = min(BLOCK, sessions - t0)
            acc[:] = 0.0
            for w in range(5):
                for lag in range(EDGES[w], EDGES[w + 1]):
                    base = PAD + t0 - lag
                    for j in range(size):
                        d = x[i, base + j] - ref[t0 + j]
                        one = 1.0 if d == d else 0.0
                        d = d if d == d else 0.0
                        acc[j] += one
                        acc[BLOCK + j] += d
                        acc[2 * BLOCK + j] += d * d
                for j in range(size):
                    n = acc[j]
                    s = acc[BLOCK + j]
                    t = t0 + j
                    mean = ref[t] + s / n
                    sxx = max(acc[2 * BLOCK + j] - s * s / n, 0.0)
                    deviation = np.sqrt(sxx / (n - 1.0))
                    if own_mean:
                        out[std_row + w, first + i, t] = _finite32(deviation / (mean + EPS))
                    else:
                        out[mean_row + w, first + i, t] = _finite32(mean / scale[i, t])
                        out[std_row + w, first + i, t] = _finite32(deviation / scale[i, t])


@njit(cache=True, nogil=True, error_model="numpy")
def correlate(x: Array, y: Array, out: Array, first: int, row: int) -> None:
    """Correlation of two series over the slots where both are there, clipped to [-1, 1].

    r = (S(de) - S(d)S(e)/n) / sqrt((S(d²) - S(d)²/n)(S(e²) - S(e)²/n)); missing with fewer than 2
    pairs or where either side is constant.

    Args:
        x, y: [C, PAD+T] float64, both NaN where either is missing.
        out: [158, N, T] float32.
        first: where the C instruments begin.
        row: row of the shortest window.
    """
    sessions = x.shape[1] - PAD
    x_ref = np.empty(sessions)
    y_ref = np.empty(sessions)
    acc = np.empty(6 * BLOCK)  # n, S(d), S(e), S(d²), S(e²), S(de)
    for i in range(x.shape[0]):
        _newest_valid(x[i], x_ref)
        _newest_valid(y[i], y_ref)
        for t0 in range(0, sessions, BLOCK):
            size = min(BLOCK, sessions - t0)
            acc[:] = 0.0
            for w in range(5):
                for lag in range(EDGES[w], EDGES[w + 1]):
                    base = PAD + t0 - lag
                    for j in range(size):
                        d = x[i, base + j] - x_ref[t0 + j]
                        e = y[i, base + j] - y_ref[t0 + j]
                        one = 1.0 if d == d else 0.0
                        d = d if d == d else 0.0
                        e = e if e == e else 0.0
                        acc[j] += one
                        acc[BLOCK + j] += d
                        acc[2 * BLOCK + j] += e
                        acc[3 * BLOCK + j] += d * d
                        acc[4 * BLOCK + j] += e * e
                        acc[5 * BLOCK + j] += d * e
                for j in range(size):
                    n = acc[j]
                    sd = acc[BLOCK + j]
                    se = acc[2 * BLOCK + j]
                    t = t0 + j
                    sdd = max(acc[3 * BLOCK + j] - sd * sd / n, 0.0)
                    see = max(acc[4 * BLOCK + j] - se * se / n, 0.0)
                    sde = acc[5 * BLOCK + j] - sd * se / n
                    d_mean = x_ref[t] + sd / n
                    e_mean = y_ref[t] + se / n
                    flat = (sdd <= FLAT * FLAT * d_mean * d_mean * (n - 1.0)) or (
                        see <= FLAT * FLAT * e_mean * e_mean * (n - 1.0)
                    )
                    r = min(max(sde / np.sqrt(sdd) / np.sqrt(see), -1.0), 1.0)
                    out[row + w, first + i, t] = np.nan if flat or not n >= 2.0 else r


@njit(cache=True, nogil=True, error_model="numpy")
def moves(
    x: Array,
    age: Array,
    counts: bool,
    out: Array,
    first: int,
    rows: tuple[int, ...],
) -> None:
    """Shares of rising and falling sessions, and shares of the rises and falls in all movement.

    Args:
        x: [C, PAD+T] float64, the changes of a series, NaN where missing.
        age: [C, T], lag of the oldest row within 60 sessions: a window is not longer than that.
        counts: write the shares of sessions too.
        out: [158, N, T] float32.
        first: where the C instruments begin.
        rows: first rows of CNTP, CNTN, CNTD (not written without `counts`), SUMP, SUMN, SUMD.
    """
    cntp, cntn, cntd, sump, sumn, sumd = rows
    sessions = x.shape[1] - PAD
    acc = np.empty(5 * BLOCK)  # n, S(rise), S(fall), number of rises, of falls
    for i in range(x.shape[0]):
        for t0 in range(0, sessions, BLOCK):
            size = min(BLOCK, sessions - t0)
            acc[:] = 0.0
            for w in range(5):
                for lag in range(EDGES[w], EDGES[w + 1]):
                    base = PAD + t0 - lag
                    for j in range(size):
                        d = x[i, base + j]
                        acc[j] += 1.0 if d == d else 0.0
                        acc[BLOCK + j] += d if d > 0.0 else 0.0
                        acc[2 * BLOCK + j] -= d if d < 0.0 else 0.0
                        acc[3 * BLOCK + j] += 1.0 if d > 0.0 else 0.0
                        acc[4 * BLOCK + j] += 1.0 if d < 0.0 else 0.0
                for j in range(size):
                    t = t0 + j
                    rise = acc[BLOCK + j] if acc[j] > 0.0 else np.nan
                    fall = acc[2 * BLOCK + j]
                    total = rise + fall + EPS
                    out[sump + w, first + i, t] = _finite32(rise / total)
                    out[sumn + w, first + i, t] = _finite32(fall / total)
                    out[sumd + w, first + i, t] = _finite32((rise - fall) / total)
                    if counts:
                        slots = min(float(EDGES[w + 1]), age[i, t] + 1.0)
                        up = acc[3 * BLOCK + j] / slots
                        down = acc[4 * BLOCK + j] / slots
                        out[cntp + w, first + i, t] = up
                        out[cntn + w, first + i, t] = down
                        out[cntd + w, first + i, t] = up - down


@njit(cache=True, nogil=True, error_model="numpy")
def extremes(
    high: Array,
    low: Array,
    close: Array,
    age: Array,
    out: Array,
    first: int,
    rows: tuple[int, ...],
) -> None:
    """Highest high and lowest low, their positions, and where the close lies between them.

    Missing values are passed over. A position counts from 1 at the oldest slot of the window to
    its length at the newest; of equal extremes the oldest wins.

    Args:
        high, low, close: [C, PAD+T] float64, NaN where missing.
        age: [C, T], lag of the oldest row within 60 sessions: a window is not longer than that.
        out: [158, N, T] float32.
        first: where the C instruments begin.
        rows: first rows of MAX, MIN, RSV, IMAX, IMIN, IMXD.
    """
    top, bottom, rsv, imax, imin, imxd = rows
    sessions = high.shape[1] - PAD
    acc = np.empty(4 * BLOCK)  # highest, its lag, lowest, its lag
    for i in range(high.shape[0]):
        for t0 in range(0, sessions, BLOCK):
            size = min(BLOCK, sessions - t0)
            acc[:BLOCK] = -np.inf
            acc[2 * BLOCK : 3 * BLOCK] = np.inf
            for w in range(5):
                for lag in range(EDGES[w], EDGES[w + 1]):
                    base = PAD + t0 - lag
                    k = float(lag)
                    for j in range(size):
                        h = high[i, base + j]
                        g = low[i, base + j]
                        up = h >= acc[j]
                        down = g <= acc[2 * BLOCK + j]
                        acc[j] = h if up else acc[j]
                        acc[BLOCK + j] = k if up else acc[BLOCK + j]
                        acc[2 * BLOCK + j] = g if down else acc[2 * BLOCK + j]
                        acc[3 * BLOCK + j] = k if down else acc[3 * BLOCK + j]
                length = float(EDGES[w + 1])
                for j in range(size):
                    t = t0 + j
                    now = close[i, PAD + t]
                    highest = acc[j] if acc[j] > -np.inf else np.nan
                    lowest = acc[2 * BLOCK + j] if acc[2 * BLOCK + j] < np.inf else np.nan
                    oldest = min(length - 1.0, age[i, t])
                    at_high = oldest - acc[BLOCK + j] + 1.0
                    at_low = oldest - acc[3 * BLOCK + j] + 1.0
                    at_high = at_high if highest == highest else np.nan
                    at_low = at_low if lowest == lowest else np.nan
                    out[top + w, first + i, t] = _finite32(highest / now)
                    out[bottom + w, first + i, t] = _finite32(lowest / now)
                    place = (now - lowest) / (highest - lowest + EPS)
                    out[rsv + w, first + i, t] = _finite32(place)
                    out[imax + w, first + i, t] = at_high / length
                    out[imin + w, first + i, t] = at_low / length
                    out[imxd + w, first + i, t] = (at_high - at_low) / length
