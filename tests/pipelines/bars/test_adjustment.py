"""Factors and adjustment of bars; their rules are in test_quarantine.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bars.adjustment import adjusted, adjustment_factors
from pipelines.bars.quarantine import broken_rules
from tests.pipelines.good_bars import bars


def test_bars_that_disagree_on_the_ratio_count_for_none():
    """Whatever the order of rows: the factor goes on as if there had been no event."""
    rows = bars({"date": "d1"}, {"date": "d2", "adj_ratio": 2.0}, {"date": "d2"}, {"date": "d3"})
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        factors = adjustment_factors(rows.iloc[order], pd.Series(dtype="float64"))
        assert factors.tolist() == [1.0] * 4


def test_rows_without_a_name_have_no_factor():
    """A file whose column of names is empty: the rows are set aside by name, not by an error."""
    rows = pd.DataFrame(
        {"date": pd.to_datetime(["2024-01-02", "2024-01-03"]), "instrument": [None, None],
         "adj_ratio": 1.0}
    )  # fmt: skip
    for prior in (pd.Series(dtype="float64"), pd.Series({"A": 2.0})):
        assert adjustment_factors(rows, prior).isna().all()


def test_factors_multiply_from_the_first_bar():
    """A 2:1 split and a dividend; the first bar is the base whatever its ratio says."""
    rows = pd.DataFrame(
        {
            "date": ["d1", "d2", "d3", "d4"] * 2,
            "instrument": ["A"] * 4 + ["B"] * 4,
            "adj_ratio": [7.0, 1.0, 2.0, 1.01, 1.0, np.nan, 3.0, 1.0],
        }
    )
    factors = adjustment_factors(rows, pd.Series(dtype="float64"))
    assert factors.tolist() == [1.0, 1.0, 2.0, 2.02, 1.0, 1.0, 3.0, 3.0]
    later = adjustment_factors(rows[rows["date"] > "d2"], pd.Series({"A": 1.0}))
    assert later.tolist() == [2.0, 2.02, 1.0, 1.0], "B was never seen before: it starts here"


@settings(max_examples=100, deadline=None)
@given(
    ratios=st.lists(st.floats(0.1, 10.0), min_size=2, max_size=30),
    cut=st.integers(1, 29),
    data=st.randoms(use_true_random=False),
)
def test_factors_have_the_same_bits_alone_and_in_a_range(ratios, cut, data):
    """Continuing from a stored factor gives exactly what one pass gives. Oracle: one pass."""
    cut = min(cut, len(ratios) - 1)
    rows = pd.DataFrame(
        {
            "date": [f"d{i:03d}" for i in range(len(ratios))],
            "instrument": "A",
            "adj_ratio": ratios,
        }
    )
    whole = adjustment_factors(rows, pd.Series(dtype="float64"))
    order = list(range(cut, len(ratios)))
    data.shuffle(order)
    tail = adjustment_factors(rows.iloc[order], pd.Series({"A": whole.iloc[cut - 1]}))
    assert tail.sort_index().tolist() == whole.iloc[cut:].tolist()


def test_a_split_on_a_quarantined_bar_is_not_lost():
    rows = bars({"date": "d1"}, {"date": "d2", "adj_ratio": 2.0, "high": 1.0}, {"date": "d3"})
    assert broken_rules(rows)["high_below_low"].tolist() == [False, True, False]
    assert adjustment_factors(rows, pd.Series(dtype="float64")).tolist() == [1.0, 2.0, 2.0]


def test_adjustment_leaves_returns_and_turnover_continuous():
    raw = bars({"date": "d1", "close": 100.0, "volume": 10.0}, {"date": "d2", "close": 50.0})
    raw["volume"] = [10.0, 20.0]
    raw["adj_factor"] = [1.0, 2.0]
    out = adjusted(raw, "amount")
    assert out["close"].tolist() == [100.0, 100.0]
    assert out["volume"].tolist() == [10.0, 10.0]
    assert out["vwap"].tolist() == [102.0, 102.0]
    typical = (raw["high"] + raw["low"] + raw["close"]) / 3 * raw["adj_factor"]
    assert adjusted(raw, "typical")["vwap"].tolist() == typical.tolist()
    assert "vwap" not in adjusted(raw, "none")
    raw["volume"] = 0.0  # a suspended name that market.quarantine keeps
    assert adjusted(raw, "amount")["vwap"].isna().all()
