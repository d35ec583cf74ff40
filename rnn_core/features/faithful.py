"""Alpha158 in the qlib semantics, for one chunk of instruments: pyqlib 0.9.7, number by number.

The dtypes are part of it: raw fields are float32 and arithmetic between them stays float32 (ties,
and so ranks and masks, depend on it); every rolling statistic reads and returns float64; the
result is cast to float32 at the end. Windows start at an instrument's first row and count its
suspended sessions, and values exist on suspended sessions too; outside its span all is NaN.

qlib: ops.py for the operators, contrib/data/loader.py for the formulas. The formulas below are
those of `layout`, in its order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.data.panel import Panel
from rnn_core.features import order, recurrent
from rnn_core.features.bars import EPS, shifted, write_bars
from rnn_core.features.layout import ALPHA158_FIELDS, FIRST_ROW, WINDOWS

FLAT = 2e-5
"""Deviation up to which pyqlib masks R² and correlations, in the units of the series."""

Array = NDArray[Any]


def write_chunk(panel: Panel, first: int, last: int, out: Array) -> None:
    """Write the features of the instruments first .. last-1.

    Args:
        panel: the market, with the six fields.
        first, last: range of instruments.
        out: [158, N, T] float32; the rows of the range are overwritten whole.
    """
    present = panel.present[first:last]  # [C, T]
    start, inside = spans(present)
    bars = {
        name: np.where(present, panel.fields[name][first:last], np.nan).astype(np.float32)
        for name in ALPHA158_FIELDS
    }
    with np.errstate(all="ignore"):
        write_bars(bars, strict=False, out=out, first=first)
        _write_rolling(bars, start, out, first)
    for i in np.nonzero(~inside.all(axis=1))[0]:
        out[:, first + i, ~inside[i]] = np.nan


def spans(present: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Position of each instrument's first row, T if it has none, and its span as a mask [C, T]."""
    seen = np.logical_or.accumulate(present, axis=1)
    ahead = np.logical_or.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    start = np.where(present.any(axis=1), present.argmax(axis=1), present.shape[1])
    return start.astype(np.int64), seen & ahead


def _write_rolling(
    bars: dict[str, Array], start: NDArray[np.int64], out: Array, first: int
) -> None:
    """The rolling families but ROC."""
    roll = _Rolling(start)
    c, v = bars["close"], bars["volume"]  # float32
    c1, v1 = shifted(c, 1), shifted(v, 1)
    zero = np.float32(0)
    rise, fall, move = np.maximum(c - c1, zero), np.maximum(c1 - c, zero), np.abs(c - c1)
    v_rise, v_fall, v_move = np.maximum(v - v1, zero), np.maximum(v1 - v, zero), np.abs(v - v1)
    flow = np.abs(c / c1 - 1) * v
    log_v, ratio, log_ratio = np.log(v + 1), c / c1, np.log(v / v1 + 1)
    up, down = (c > c1).astype(np.float32), (c < c1).astype(np.float32)
    close = c.astype(np.float64)
    v_scale = v + EPS  # float32
    last = first + c.shape[0]
    for w, d in enumerate(WINDOWS):
        deviation = roll.std(c, d)
        slope, rsquare, residual = roll.line(c, d)
        highest, at_high = roll.extreme(bars["high"], d, 1.0)
        lowest, at_low = roll.extreme(bars["low"], d, -1.0)
        ups, downs = roll.mean(up, d), roll.mean(down, d)
        rises, falls, moves = roll.sum(rise, d), roll.sum(fall, d), roll.sum(move, d) + EPS
        v_rises, v_falls = roll.sum(v_rise, d), roll.sum(v_fall, d)
        v_moves = roll.sum(v_move, d) + EPS
        values = {
            "MA": roll.mean(c, d) / c,
            "STD": deviation / c,
            "BETA": slope / c,
            "RSQR": np.where(deviation <= FLAT, np.nan, rsquare),
            "RESI": residual / c,
            "MAX": highest / c,
            "MIN": lowest / c,
            "RSV": (c - lowest) / (highest - lowest + EPS),
            "IMAX": at_high / d,
            "IMIN": at_low / d,
            "IMXD": (at_high - at_low) / d,
            "CORR": roll.corr(c, log_v, d),
            "CORD": roll.corr(ratio, log_ratio, d),
            "CNTP": ups,
            "CNTN": downs,
            "CNTD": ups - downs,
            "SUMP": rises / moves,
            "SUMN": falls / moves,
            "SUMD": (rises - falls) / moves,
            "VMA": roll.mean(v, d) / v_scale,
            "VSTD": roll.std(v, d) / v_scale,
            "WVMA": roll.std(flow, d) / (roll.mean(flow, d) + EPS),
            "VSUMP": v_rises / v_moves,
            "VSUMN": v_falls / v_moves,
            "VSUMD": (v_rises - v_falls) / v_moves,
        }
        for name, value in values.items():
            out[FIRST_ROW[name] + w, first:last] = value
    padded = np.full((c.shape[0], order.PAD + c.shape[1]), np.nan)
    padded[:, order.PAD :] = _no_inf(close)
    rows = (FIRST_ROW["QTLU"], FIRST_ROW["QTLD"], FIRST_ROW["RANK"])
    order.ranks(padded, close, False, out, first, rows)


def _no_inf(x: Array) -> NDArray[np.float64]:
    """As float64 with infinities missing: what pandas' rolling kernels are given."""
    return np.where(np.isinf(x), np.nan, x).astype(np.float64)


class _Rolling:
    """qlib's rolling operators on [C, T] arrays, each instrument from its first row on."""

    def __init__(self, start: NDArray[np.int64]) -> None:
        self.start = start

    def mean(self, x: Array, d: int) -> NDArray[np.float64]:
        out = np.empty(x.shape)
        recurrent.running_sum(_no_inf(x), self.start, d, True, out)
        return out

    def sum(self, x: Array, d: int) -> NDArray[np.float64]:
        out = np.empty(x.shape)
        recurrent.running_sum(_no_inf(x), self.start, d, False, out)
        return out

    def var(self, x: Array, d: int) -> NDArray[np.float64]:
        out = np.empty(x.shape)
        recurrent.running_var(_no_inf(x), self.start, d, out)
        return out

    def std(self, x: Array, d: int) -> NDArray[np.float64]:
        """Root of the variance, 0 where round-off took that below 0."""
        var = self.var(x, d)
        return np.where(var < 0, 0.0, np.sqrt(var))

    def line(self, x: Array, d: int) -> tuple[Array, Array, Array]:
        """Slope, r² before its mask, residual."""
        out = tuple(np.empty(x.shape) for _ in range(3))
        recurrent.running_line(x.astype(np.float64), self.start, d, *out)
        return out[0], out[1], out[2]

    def extreme(self, x: Array, d: int, sign: float) -> tuple[Array, Array]:
        """Extreme and its position."""
        value, position = np.empty(x.shape), np.empty(x.shape)
        recurrent.running_extreme(_no_inf(x), self.start, d, sign, value, position)
        return value, position

    def corr(self, x: Array, y: Array, d: int) -> NDArray[np.float64]:
        """cov / sqrt(var var) of the pairs, masked where either whole side hardly moves."""
        a, b = _no_inf(x + 0 * y), _no_inf(y + 0 * x)
        n = self.sum((~np.isnan(a + b)).astype(np.float64), d)
        covariance = (self.mean(a * b, d) - self.mean(a, d) * self.mean(b, d)) * (n / (n - 1))
        r = covariance / (self.var(a, d) * self.var(b, d)) ** 0.5
        return np.where((self.std(x, d) <= FLAT) | (self.std(y, d) <= FLAT), np.nan, r)
