"""Families, settings and stand-in datasets that the tests of the estimators share.

The stand-ins are the interface of `DatasetH` and `TSDatasetH` in a few lines each.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from rnn_core.data import (
    TSDataSampler,
)
from rnn_core.evaluation import calc_ic
from rnn_core.models import GRU, KRNN, LSTM

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "LSTM": (LSTM, {"d_feat": 3, "hidden_size": 8, "num_layers": 1}),
    "GRU": (GRU, {"d_feat": 3, "hidden_size": 8, "num_layers": 1}),
    "KRNN": (
        KRNN,
        {"fea_dim": 3, "cnn_dim": 8, "rnn_dim": 8, "rnn_dups": 2, "rnn_layers": 1},
    ),
}
TRAINING = {"n_epochs": 5, "lr": 0.01, "batch_size": 256, "early_stop": 4, "GPU": -1, "threads": 1}
SEGMENTS = {
    "train": ("2020-02-03", "2020-08-31"),
    "valid": ("2020-09-01", "2020-10-30"),
    "test": ("2020-11-02", "2020-12-31"),
}
STEPS = 4


class Tabular:
    """A `DatasetH` in a few lines; keeps what it was asked."""

    def __init__(self, frame: pd.DataFrame, segments: dict[str, tuple[str, str]]) -> None:
        self.frame, self.segments = frame, segments
        self.asked: list[tuple[Any, str]] = []

    def rows(self, segments: Any, col_set: Any, data_key: str) -> tuple[pd.DataFrame, Any, Any]:
        self.asked.append((segments, data_key))
        bounds = (segments.start, segments.stop) if isinstance(segments, slice) else None
        start, end = bounds or self.segments[segments]
        frame = self.frame[list(col_set)]
        if data_key == "learn":
            frame = frame[frame["label"].notna().all(axis=1)]
        return frame, start, end

    def prepare(self, segments: Any, col_set: Any = "__all", data_key: str = "infer") -> Any:
        frame, start, end = self.rows(segments, col_set, data_key)
        return frame.loc[pd.IndexSlice[start:end, :], :]


class TimeSeries(Tabular):
    """A `TSDatasetH` in a few lines."""

    def prepare(self, segments: Any, col_set: Any = "__all", data_key: str = "infer") -> Any:
        frame, start, end = self.rows(segments, col_set, data_key)
        early = pd.Timestamp(start) - pd.Timedelta(days=2 * STEPS)
        return TSDataSampler(frame.loc[pd.IndexSlice[early:end, :], :], start, end, STEPS)


def rank_ic(scores: pd.Series, frame: pd.DataFrame) -> float:
    _, rank_ic = calc_ic(scores, frame[("label", "LABEL0")].loc[scores.index])
    return float(rank_ic.mean())
