"""Alpha158 in the strict semantics, for one chunk of instruments.

What differs from qlib, and why, is listed in docs/deviations.md. In one sentence: a feature of
session D is a function of the 61 sessions ending at D, is finite or missing, and is missing only
where its own window says so. A session on which the instrument has no row has no features.

Everything is float64 until the last store; infinite inputs count as missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.data.panel import Panel
from rnn_core.features import nested, order
from rnn_core.features.bars import shifted, write_bars
from rnn_core.features.layout import ALPHA158_FIELDS, ALPHA158_LOOK_BACK, FIRST_ROW

Array = NDArray[Any]


def write_chunk(panel: Panel, first: int, last: int, out: Array) -> None:
    """Write the features of the instruments first .. last-1.

    Args:
        panel: the market, with the six fields.
        first, last: range of instruments.
        out: [158, N, T] float32; the rows of the range are overwritten whole.
    """
    present = panel.present[first:last]  # [C, T]
    bars = {name: _clean(panel.fields[name][first:last], present) for name in ALPHA158_FIELDS}
    c, v = bars["close"], bars["volume"]
    age = _age(present)
    with np.errstate(all="ignore"):
        write_bars(bars, strict=True, out=out, first=first)
        c1, v1 = shifted(c, 1), shifted(v, 1)
        log_v, ratio, log_ratio = np.log(v + 1), c / c1, np.log(v / v1 + 1)
        flow = np.abs(ratio - 1) * v
        rise, v_rise = c - c1, v - v1
    close = _padded(c)
    nested.trend(close, out, first, _rows("MA", "STD", "BETA", "RSQR", "RESI"))
    order.ranks(close, c, True, out, first, _rows("QTLU", "QTLD", "RANK"))
    high, low = _padded(bars["high"]), _padded(bars["low"])
    places = _rows("MAX", "MIN", "RSV", "IMAX", "IMIN", "IMXD")
    nested.extremes(high, low, close, age, out, first, places)
    for family, x, y in (("CORR", c, log_v), ("CORD", ratio, log_ratio)):
        left, right = _paired(x, y)
        nested.correlate(left, right, out, first, FIRST_ROW[family])
    changes = _rows("CNTP", "CNTN", "CNTD", "SUMP", "SUMN", "SUMD")
    nested.moves(_padded(rise), age, True, out, first, changes)
    changes = (*changes[:3], *_rows("VSUMP", "VSUMN", "VSUMD"))
    nested.moves(_padded(v_rise), age, False, out, first, changes)
    nested.spread(_padded(v), v + nested.EPS, False, out, first, _rows("VMA", "VSTD"))
    nested.spread(_padded(flow), v, True, out, first, _rows("WVMA", "WVMA"))
    for i in np.nonzero(~present.all(axis=1))[0]:
        out[:, first + i, ~present[i]] = np.nan


def _rows(*families: str) -> tuple[int, ...]:
    """First rows of some families."""
    return tuple(FIRST_ROW[name] for name in families)


def _clean(x: Array, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """As float64, NaN where absent or infinite, no negative zero (it sorts by chance)."""
    return np.where(present & np.isfinite(x), x.astype(np.float64) + 0.0, np.nan)


def _padded(x: Array) -> NDArray[np.float64]:
    """[C, T] -> [C, PAD+T], missing before the first session and where infinite."""
    out = np.full((x.shape[0], nested.PAD + x.shape[1]), np.nan)
    np.copyto(out[:, nested.PAD :], x, where=np.isfinite(x))
    return out  # [C, PAD+T]


def _paired(x: Array, y: Array) -> tuple[Array, Array]:
    """Both padded, and missing where either is."""
    both = np.isfinite(x) & np.isfinite(y)
    return _padded(np.where(both, x, np.nan)), _padded(np.where(both, y, np.nan))


def _age(present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lag of the oldest row among the 61 sessions ending at each session; 0 where there is none.

    A window is counted from there on, so a name's first windows are as short as its history. qlib
    counts from the first row ever, which no finite look-back knows.
    """
    sessions = present.shape[1]
    position = np.where(present, np.arange(sessions), sessions)
    oldest = position.copy()
    # Suffix minima over 61 sessions in doubling steps: oldest[t] = min(position[t-60 .. t]).
    covered = 1
    while covered < ALPHA158_LOOK_BACK + 1:
        step = min(covered, ALPHA158_LOOK_BACK + 1 - covered)
        earlier = oldest[:, : max(sessions - step, 0)].copy()
        np.minimum(oldest[:, step:], earlier, out=oldest[:, step:])
        covered += step
    return np.where(oldest < sessions, np.arange(sessions) - oldest, 0).astype(np.float64)
