"""Figures of signals, held against those of alphalens-reloaded 0.5.1 on the same series, recorded.

`tests/fixtures/make_alphalens.py` records them. Where rows are missing two conventions differ, and
the tests say how; docs/evaluation.md explains them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import signal_analysis

FIXTURES = Path(__file__).parents[2] / "fixtures" / "evaluation"
QUANTILES = [f"q{k}" for k in range(1, 6)]


def both(case: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """The daily figures of this library and of alphalens, and the scores."""
    factor = pd.read_parquet(FIXTURES / "alphalens_factor.parquet")
    rows = factor[factor["case"] == case].set_index(["datetime", "instrument"])
    recorded = pd.read_parquet(FIXTURES / "alphalens_daily.parquet")
    theirs = recorded[recorded["case"] == case].set_index("datetime")
    return signal_analysis(rows["score"], rows["label"]).sessions, theirs, rows["score"]


@pytest.mark.parametrize("case", ["full", "holes"])
def test_rank_ic_is_that_of_alphalens(case):
    """Its information coefficient is Spearman's; the mean is that of the summary, too."""
    ours, theirs, _ = both(case)
    pd.testing.assert_index_equal(ours.index, theirs.index, check_names=False, exact=False)
    np.testing.assert_allclose(ours["rank_ic"], theirs["ic"], rtol=0, atol=1e-14)
    assert ours["rank_ic"].mean() == pytest.approx(theirs["ic"].mean(), abs=1e-14)
    assert theirs["ic"].mean() > 0.05  # a planted signal, so that a sign would show


def test_quantile_returns_turnover_and_autocorrelation_are_those_of_alphalens():
    ours, theirs, _ = both("full")
    for name in QUANTILES:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12)
        above = ours[name] - ours["mean_label"]  # its default, `demeaned`
        np.testing.assert_allclose(above, theirs[f"demeaned_{name}"], rtol=0, atol=1e-15)
    for name in ("turnover", "autocorrelation"):
        assert list(ours.index[ours[name].isna()]) == [ours.index[0]]
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12)


def test_buckets_differ_where_names_do_not_divide():
    """It cuts between interpolated quantiles of the values: 2 names too many go elsewhere."""
    ours, theirs, _ = both("holes")
    equal = np.isclose(ours["q5"], theirs["q5"], rtol=1e-12)
    np.testing.assert_array_equal(equal, ours["n"] % 5 != 2)
    exact = ours["n"] % 5 == 0
    assert exact.sum() > 10
    for name in QUANTILES:
        np.testing.assert_allclose(ours.loc[exact, name], theirs.loc[exact, name], rtol=1e-12)
    apart = np.abs(ours[QUANTILES].mean() - theirs[QUANTILES].mean())
    assert apart.max() < 5e-4  # basis points, of quantile means about 50 of them apart


def test_autocorrelation_differs_where_names_come_and_go():
    """It correlates ranks among all names of each session; the oracle here does so, too."""
    ours, theirs, scores = both("holes")
    ranks = scores.groupby("datetime").rank().unstack()  # noqa: PD010 - nothing to aggregate
    by_its_rule = ranks.T.corrwith(ranks.shift(1).T)
    np.testing.assert_allclose(by_its_rule.iloc[1:], theirs["autocorrelation"].iloc[1:], rtol=1e-12)
    difference = ours["autocorrelation"] - theirs["autocorrelation"]
    assert 0 < difference.abs().max() < 0.03
    assert abs(difference.mean()) < 0.001
