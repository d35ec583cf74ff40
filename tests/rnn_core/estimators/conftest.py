"""A small market whose next move can be told from its bars, in both shapes of data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from rnn_core.data import simulate_market
from rnn_core.features import compute_features
from tests.rnn_core.estimators.estimator_cases import SEGMENTS, STEPS, Tabular, TimeSeries
from tests.rnn_core.training.conftest import _one_thread

__all__ = ["_one_thread", "bars", "datasets", "flat_rows", "frame"]


def _standard(frame: pd.DataFrame | pd.Series) -> Any:
    by_day = frame.groupby(level="datetime")
    return (frame - by_day.transform("mean")) / by_day.transform("std")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """40 names, 262 sessions of 2020, adjusted."""
    raw = simulate_market(40, pd.bdate_range("2020-01-01", "2020-12-31"), 7, signal=0.4)
    factor = raw.groupby("instrument")["adj_ratio"].cumprod()
    raw["vwap"] = raw["amount"] / raw["volume"]
    for name in ("open", "high", "low", "close", "vwap"):
        raw[name] *= factor
    return raw


@pytest.fixture(scope="module")
def frame(bars: pd.DataFrame) -> pd.DataFrame:
    """Two features that carry the signal, one that does not, and the label of Alpha158."""
    fields = [
        ("KSFT2", "(2*$close-$high-$low)/($high-$low+1e-12)"),
        ("ROC20", "Ref($close, 20)/$close"),
        ("VOL", "$volume/Mean($volume, 5)"),
        ("LABEL0", "Ref($close, -2)/Ref($close, -1) - 1"),
    ]
    flat = _standard(compute_features(bars, fields)).astype("float32")
    flat.iloc[:, :3] = flat.iloc[:, :3].fillna(0.0)
    flat.columns = pd.MultiIndex.from_tuples(
        [("label" if name == "LABEL0" else "feature", name) for name in flat.columns]
    )
    return flat


@pytest.fixture(scope="module")
def flat_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The same as rows of windows, feature by feature, oldest first, as Alpha360's."""
    columns = {}
    for name in ("KSFT2", "ROC20", "VOL"):
        wide = frame[("feature", name)].unstack()  # noqa: PD010
        for lag in reversed(range(STEPS)):
            columns[("feature", f"{name}{lag}")] = wide.shift(lag).fillna(0.0).stack()  # noqa: PD013
    rows = pd.DataFrame(columns).reindex(frame.index).fillna(0.0).astype("float32")
    return rows.join(frame[["label"]])


@pytest.fixture(scope="module")
def datasets(frame: pd.DataFrame, flat_rows: pd.DataFrame) -> dict[str, Callable[[], Tabular]]:
    return {
        "series": lambda: TimeSeries(frame, SEGMENTS),
        "tabular": lambda: Tabular(flat_rows, SEGMENTS),
    }
