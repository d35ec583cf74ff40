"""A small simulated market with a planted signal, as scores, labels and adjusted bars."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rnn_core.data import planted_score, simulate_market
from rnn_core.evaluation import forward_returns


@dataclass(frozen=True)
class Planted:
    """Adjusted bars, the planted score and the labels, each by (datetime, instrument)."""

    bars: pd.DataFrame
    scores: pd.Series
    labels: pd.Series


def planted(names: int, sessions: int, seed: int, *, signal: float = 0.05) -> Planted:
    """Bars of `simulate_market`, adjusted for splits, with gaps and late listings."""
    raw = simulate_market(
        names, pd.bdate_range("2018-01-01", periods=sessions), seed, signal=signal
    )
    factor = raw.groupby("instrument")["adj_ratio"].cumprod()
    bars = raw.assign(close=raw["close"] * factor, factor=factor)
    bars = bars.rename(columns={"date": "datetime"}).set_index(["datetime", "instrument"])
    return Planted(bars.sort_index(), planted_score(raw), forward_returns(bars))
