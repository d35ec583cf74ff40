"""Tables of other libraries where a frame goes in. Oracle: the same call with the pandas frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rnn_core.data import Alpha158, DataHandlerLP, TSDataSampler
from rnn_core.evaluation import (
    calc_ic,
    compare_signals,
    equal_weight_benchmark,
    forward_returns,
    momentum,
    signal_analysis,
    topk_dropout,
)
from rnn_core.features import compute_features
from rnn_core.panel import Panel, as_frame, to_arrow, to_polars
from tests.rnn_core.evaluation.simulated import Planted, planted

pl = pytest.importorskip("polars")
KINDS = {"polars": to_polars, "arrow": to_arrow}


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(12, 120, 1, signal=0.2)


@pytest.fixture(scope="module", params=KINDS)
def other(request):
    """The way to write a frame for another library."""
    return KINDS[request.param]


def test_a_frame_that_goes_out_and_in_again_is_the_same(market: Planted, other) -> None:
    back = as_frame(other(market.bars))
    pd.testing.assert_frame_equal(back, market.bars, check_index_type=False, check_freq=False)
    scores = market.scores.rename("score")
    pd.testing.assert_series_equal(
        as_frame(other(scores))["score"], scores, check_index_type=False, check_freq=False
    )


def test_what_speaks_no_arrow_comes_back_as_it_is(market: Planted) -> None:
    for value in (market.bars, market.scores, None, 3, "x", pl.Series("a", [1, 2])):
        assert as_frame(value) is value


def test_dates_and_categories_are_read_as_they_are_meant() -> None:
    """Date, text and category of polars, and a nanosecond stamp of Arrow."""
    frame = pl.DataFrame({
        "date": ["2020-01-02", "2020-01-03"], "instrument": ["A", "B"], "close": [1.0, 2.0]
    })  # fmt: skip
    days = frame.with_columns(pl.col("date").str.to_date())
    expected = pd.MultiIndex.from_arrays([pd.to_datetime(["2020-01-02", "2020-01-03"]), ["A", "B"]])
    for table in (
        days.with_columns(pl.col("instrument").cast(pl.Categorical)),
        days.to_arrow(),
        frame.with_columns(pl.col("date").str.to_datetime()),
    ):
        panel = Panel.from_frame(table)
        assert list(panel.sessions) == list(expected.levels[0])
        assert list(panel.instruments) == ["A", "B"]
        np.testing.assert_array_equal(panel.fields["close"], [[1.0, np.nan], [np.nan, 2.0]])


def test_bars_scores_and_labels_may_be_of_another_library(market: Planted, other) -> None:
    bars, scores = market.bars, market.scores.rename("score")
    labels = market.labels.rename("label")
    pd.testing.assert_frame_equal(
        compute_features(other(bars), [("R", "Ref($close, 1) / $close")]),
        compute_features(bars, [("R", "Ref($close, 1) / $close")]),
    )
    for function in (forward_returns, momentum, equal_weight_benchmark):
        pd.testing.assert_series_equal(function(other(bars)), function(bars))
    for mine, theirs in zip(
        calc_ic(other(scores), other(labels)), calc_ic(scores, labels), strict=True
    ):
        pd.testing.assert_series_equal(mine, theirs)
    mine = signal_analysis(other(scores), other(labels), bars=other(bars))
    theirs = signal_analysis(scores, labels, bars=bars)
    pd.testing.assert_frame_equal(mine.summary, theirs.summary)
    pd.testing.assert_frame_equal(mine.decay, theirs.decay)
    benchmark = equal_weight_benchmark(bars).rename("mean")
    pd.testing.assert_frame_equal(
        topk_dropout(other(scores), other(bars), benchmark=other(benchmark.to_frame())).daily,
        topk_dropout(scores, bars, benchmark=benchmark).daily,
    )
    pair = {"a": other(scores), "b": [other(-scores)]}
    pd.testing.assert_frame_equal(
        compare_signals(pair, other(labels), draws=50).summary,
        compare_signals({"a": scores, "b": -scores}, labels, draws=50).summary,
    )


def test_handlers_and_samplers_take_them_too(market: Planted, other) -> None:
    flat = market.bars[["close", "volume"]].assign(LABEL0=market.labels).dropna()
    kinds = ["feature", "feature", "label"]
    grouped = flat.set_axis(pd.MultiIndex.from_arrays([kinds, flat.columns]), axis=1)
    mine, theirs = DataHandlerLP(other(flat)), DataHandlerLP(grouped)
    pd.testing.assert_frame_equal(mine.fetch(), theirs.fetch(), check_index_type=False)
    windows = TSDataSampler(other(flat), None, None, 5), TSDataSampler(flat, None, None, 5)
    np.testing.assert_array_equal(windows[0][7], windows[1][7])
    bars = market.bars.assign(vwap=market.bars["close"])
    span = {"start_time": None, "end_time": None, "infer_processors": [], "learn_processors": []}
    pd.testing.assert_frame_equal(
        Alpha158(bars=other(bars), **span).fetch(),
        Alpha158(bars=bars, **span).fetch(),
    )


def test_the_way_out_has_one_column_a_name() -> None:
    index = pd.MultiIndex.from_product([pd.to_datetime(["2020-01-02"]), ["A"]],
                                       names=["datetime", "instrument"])  # fmt: skip
    columns = pd.MultiIndex.from_tuples([("feature", "X"), ("label", "LABEL0")])
    frame = pd.DataFrame([[1.0, 2.0]], index, columns)
    assert to_polars(frame).columns == ["datetime", "instrument", "X", "LABEL0"]
    assert isinstance(to_arrow(frame), pa.Table)
    twice = frame.set_axis(pd.MultiIndex.from_tuples([("a", "X"), ("b", "X")]), axis=1)
    with pytest.raises(ValueError, match="two columns are called 'X': choose a group"):
        to_arrow(twice)
