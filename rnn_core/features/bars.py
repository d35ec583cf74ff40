"""Features of single bars and of one earlier close, for both semantics.

One text serves both: the arithmetic runs in the dtype of the arrays it is given, which is float32
for qlib (its raw fields are float32 and a Python float does not widen them) and float64 for strict.

qlib: contrib/data/loader.py, the kbar, price and ROC groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.layout import FIRST_ROW, WINDOWS

EPS = 1e-12
MAX_FLOAT32 = float(np.finfo(np.float32).max)
Array = NDArray[Any]


def shifted(x: Array, sessions: int) -> Array:
    """x delayed by `sessions`, missing where there is no earlier session; [C, T] -> [C, T]."""
    out = np.full_like(x, np.nan)
    if sessions < x.shape[1]:
        out[:, sessions:] = x[:, : x.shape[1] - sessions]
    return out


def write_bars(bars: dict[str, Array], *, strict: bool, out: Array, first: int) -> None:
    """Write KMID .. KSFT2, OPEN0 .. VWAP0 and ROC5 .. ROC60 of a chunk.

    Args:
        bars: [C, T] open, high, low, close and vwap, float32 or float64.
        strict: make a quotient that float32 cannot hold missing.
        out: [158, N, T] float32.
        first: row of `out`'s second axis at which the C instruments begin.
    """
    o, h, l, c = bars["open"], bars["high"], bars["low"], bars["close"]  # noqa: E741
    last = first + c.shape[0]
    span = h - l + EPS
    body, range_, shape = c - o, h - l, 2 * c - h - l
    above, below = h - np.maximum(o, c), np.minimum(o, c) - l
    values = {
        "KMID": body / o,
        "KLEN": range_ / o,
        "KMID2": body / span,
        "KUP": above / o,
        "KUP2": above / span,
        "KLOW": below / o,
        "KLOW2": below / span,
        "KSFT": shape / o,
        "KSFT2": shape / span,
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": l / c,
        "VWAP0": bars["vwap"] / c,
    }
    for name, value in values.items():
        _store(value, strict, out[FIRST_ROW[name], first:last])
    for w, length in enumerate(WINDOWS):
        _store(shifted(c, length) / c, strict, out[FIRST_ROW["ROC"] + w, first:last])


def _store(value: Array, strict: bool, out: Array) -> None:
    """Write as float32; in strict, what float32 cannot hold becomes NaN."""
    if strict:
        value[~(np.abs(value) <= MAX_FLOAT32)] = np.nan
    out[...] = value
