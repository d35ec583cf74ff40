"""Figures of a fit of the processors. Oracle: medians and shares by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.processor_fit import figures_of_fit
from pipelines.assets.stages import stages
from rnn_core.data import RobustZScoreNorm
from tests.pipelines.conftest import (
    key_of,
    make_market,
    market_of,
    materialize,
)
from tests.pipelines.moving_markets import (
    DATA,
    ROLLING,
    norm_of,
    state_of,
)


def test_the_page_of_a_fit_has_its_figures(tmp_path, instance):
    """The first fit has no shift yet; a missing number is a dash, which JSON can hold."""
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    first = market.plan.first_trained
    materialize(market, DATA, market.sessions.first, first, instance)
    materialize(market, ("processors",), first, first, instance)
    event = instance.get_latest_materialization_event(key_of("processors"))
    records = event.asset_materialization.metadata["columns"].records
    norm = norm_of(state_of(market, first))
    assert [r.data["column"] for r in records] == [name for _, name in norm.columns]
    assert [r.data["centre"] for r in records] == [f"{c:.6g}" for c in norm.centre]
    assert {r.data["shift"] for r in records} == {"–"}


def test_the_figures_of_a_fit_are_of_the_values_that_enter_it():
    """By hand: medians, shares beyond three scales and missing, and the shift in old scales."""
    columns = [("feature", "A"), ("feature", "B")]
    days = pd.to_datetime(["2020-01-02"] * 6)
    index = pd.MultiIndex.from_arrays([days, list("abcdef")], names=["datetime", "instrument"])
    values = np.array([[1, 0], [2, 0], [3, 0], [4, np.nan], [5, np.nan], [99, 1]], dtype="float64")
    raw = pd.DataFrame(values, index=index, columns=pd.MultiIndex.from_tuples(columns))
    window = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-03"}
    norm = RobustZScoreNorm(fields_group="feature", **window).fit(raw)
    before = RobustZScoreNorm(fields_group="feature", **window).fit(raw - 3)
    table = figures_of_fit(norm, raw, before)
    assert list(table.index) == ["A", "B"]
    assert table.loc["A", "centre"] == 3.5
    np.testing.assert_allclose(table.loc["A", "scale"], 1.5 * 1.4826, rtol=1e-6)
    assert table.loc["A", "beyond_3_scales"] == pytest.approx(1 / 6)
    assert list(table["missing"]) == [0, pytest.approx(2 / 6)]
    assert table.loc["A", "shift"] == pytest.approx(3 / (1.5 * 1.4826), rel=1e-6)
    assert figures_of_fit(norm, raw, None)["shift"].isna().all()


def test_without_a_normalisation_there_is_no_check_of_drift(tmp_path):
    dataset = {**ROLLING["dataset"], "infer_processors": ["Fillna"]}
    market = make_market(tmp_path / "tiny", {"dataset": dataset})
    stage = next(stage for stage in stages(market) if stage.name == "processors")
    assert stage.checks == ()
