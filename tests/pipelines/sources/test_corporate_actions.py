"""Every price basis says the same events. Oracle: the events themselves (conftest.traded)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bars.adjustment import adjustment_factors
from pipelines.errors import SourceError
from pipelines.sources.corporate_actions import event_ratios, level_ratios, preclose_ratios
from tests.pipelines.sources.conftest import DAYS, DIVIDEND, SPLIT

TOLERANCE = 1e-6


def rows(close: list[float], **columns: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"date": DAYS[: len(close)], "instrument": "A", "close": close})
    return frame.assign(volume=100.0, **columns)


def test_factor_adjusted_close_and_preclose_agree(market):
    level = level_ratios(market, market["factor"].to_numpy(), tolerance=TOLERANCE)
    step = (market["adj_close"] / market["close"]).to_numpy()
    adjusted = level_ratios(market, step, tolerance=TOLERANCE)
    preclose = preclose_ratios(market, market["preclose"].to_numpy(), tolerance=TOLERANCE)
    for given_ratio in (level, adjusted, preclose):
        np.testing.assert_allclose(given_ratio, market["adj_ratio"], rtol=1e-11)
        assert (given_ratio[market["adj_ratio"] == 1.0] == 1.0).all(), "no event is exactly 1"


def test_tables_of_events_agree(market):
    """BBB's event falls into its suspension: it acts on the next row."""
    splits = pd.DataFrame(
        {
            "date": [DAYS[3], DAYS[3], "2023-01-02", "2025-01-02"],
            "instrument": ["AAA", "BBB", "AAA", "AAA"],
            "value": [SPLIT, 1.25, 7.0, 7.0],
        }
    )
    dividends = pd.DataFrame({"date": [DAYS[5]], "instrument": ["AAA"], "value": [DIVIDEND]})
    ratio = event_ratios(market, splits, dividends)
    np.testing.assert_allclose(ratio, market["adj_ratio"], rtol=1e-12)


def test_a_dividend_and_a_split_of_one_day_multiply():
    """100 pays 10, then 3:1: (100 / 90) x 3 restates 100 to 30."""
    frame = rows([100.0, 31.0])
    splits = pd.DataFrame({"date": [DAYS[1]], "instrument": ["A"], "value": [3.0]})
    dividends = pd.DataFrame({"date": [DAYS[1]], "instrument": ["A"], "value": [10.0]})
    assert event_ratios(frame, splits, dividends).tolist() == [1.0, pytest.approx(100 / 30)]
    assert event_ratios(frame, None, dividends)[1] == pytest.approx(100 / 90)


def test_a_dividend_above_the_price_is_named():
    dividends = pd.DataFrame({"date": [DAYS[1]], "instrument": ["A"], "value": [100.0]})
    with pytest.raises(SourceError, match=r"A pays 100\.0 a share on 2024-01-03 after a close of"):
        event_ratios(rows([100.0, 31.0]), None, dividends)


def test_what_cannot_be_known_is_no_event():
    """A bar without factor or preclose is NaN, one after a bar without a close is 1."""
    level = level_ratios(rows([1.0] * 4), np.array([2.0, np.nan, 0.0, 4.0]), tolerance=TOLERANCE)
    np.testing.assert_array_equal(level, [1.0, np.nan, np.nan, 2.0])
    frame = rows([10.0, np.nan, 8.0, 8.0])
    ratio = preclose_ratios(frame, np.array([9.0, 5.0, 7.0, np.nan]), tolerance=TOLERANCE)
    np.testing.assert_array_equal(ratio, [1.0, 2.0, 1.0, np.nan])


def test_a_suspended_row_without_a_close_is_passed_over():
    frame = rows([10.0, np.nan, 8.0])
    frame["volume"] = [5.0, 0.0, 5.0]
    ratio = preclose_ratios(frame, np.array([9.0, np.nan, 5.0]), tolerance=TOLERANCE)
    assert ratio.tolist() == [1.0, 1.0, 2.0]


def test_contradicting_rows_are_passed_over():
    frame = pd.concat([rows([10.0, 10.0, 10.0]), rows([10.0, 10.0])[1:]], ignore_index=True)
    ratio = level_ratios(frame, np.array([1.0, 2.0, 4.0, 3.0]), tolerance=TOLERANCE)
    assert ratio.tolist() == [1.0, 1.0, 4.0, 1.0]


def test_rounding_of_published_figures_is_no_event():
    frame = rows([50.0] * 3)
    level = np.array([1.0, 1.0 + 5e-7, 1.01])
    assert level_ratios(frame, level, tolerance=1e-6)[1] == 1.0
    assert level_ratios(frame, level, tolerance=0.0)[1] != 1.0


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.sampled_from([1.0, 1.0, 1.01, 2.0, 0.5]), min_size=2, max_size=8),
    scale=st.floats(1e-3, 1e3),
)
def test_a_rescaled_history_leaves_every_factor_unchanged(steps, scale):
    """A vendor multiplies its adjusted history at the next dividend: same bits as before."""
    frame = rows([10.0] * len(steps))
    level = np.cumprod(steps)
    none = pd.Series(dtype="float64")
    before, after = (
        adjustment_factors(
            frame.assign(adj_ratio=level_ratios(frame, x, tolerance=TOLERANCE)), none
        )
        for x in (level, level * scale)
    )
    assert before.tolist() == after.tolist()
    np.testing.assert_allclose(before, level / level[0], rtol=1e-11)
