"""`signal_analysis`; oracles: `calc_ic`, `evaluate_session` and pandas, a session at a time."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    SignalAnalysis,
    calc_ic,
    evaluate_session,
    forward_returns,
    ic_decay,
    mean_test,
    signal_analysis,
)
from tests.rnn_core.evaluation.simulated import Planted, planted

GROUPS = ("big", "small")


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(40, 150, 3, signal=0.1)


@pytest.fixture(scope="module")
def groups(market: Planted) -> dict[str, str]:
    names = market.scores.index.get_level_values("instrument").unique().sort_values()
    return {str(name): GROUPS[k % 2] for k, name in enumerate(names)}


@pytest.fixture(scope="module")
def analysis(market: Planted, groups: dict[str, str]) -> SignalAnalysis:
    return signal_analysis(
        market.scores.sample(frac=1, random_state=1),
        market.labels,
        bars=market.bars,
        groups=groups,
        horizons=(1, 2, 7),
    )


def test_sessions_have_the_bits_of_evaluate_session(
    market: Planted, analysis: SignalAnalysis
) -> None:
    for day in analysis.sessions.index[[0, 30, 147, 148, 149]]:
        label = market.labels[market.labels.index.get_level_values(0) == day].droplevel(0)
        row = evaluate_session(market.scores.xs(day, level="datetime"), label)
        for name, value in row.items():
            got = analysis.sessions.loc[day, name]
            assert got == value or (math.isnan(got) and math.isnan(value)), (day, name)
    ic, rank_ic = calc_ic(market.scores, market.labels)
    for name, series in (("ic", ic), ("rank_ic", rank_ic)):
        np.testing.assert_array_equal(analysis.sessions[name], series)


def test_turnover_and_autocorrelation_are_pandas(market: Planted, analysis: SignalAnalysis) -> None:
    wide = market.scores.unstack("instrument")  # noqa: PD010
    top = wide.rank(axis=1).apply(lambda r: ((2 * r - 1) * 5) // (2 * r.count()) == 4, axis=1)
    for k in (1, 50, 149):
        now, before = set(top.columns[top.iloc[k]]), set(top.columns[top.iloc[k - 1]])
        assert analysis.sessions["turnover"].iloc[k] == pytest.approx(len(now - before) / len(now))
        both = wide.iloc[[k - 1, k]].dropna(axis=1).rank(axis=1)
        expected = both.iloc[0].corr(both.iloc[1])
        assert analysis.sessions["autocorrelation"].iloc[k] == pytest.approx(expected)
    assert analysis.sessions[["turnover", "autocorrelation"]].iloc[0].isna().all()


def test_summary_and_quantiles_are_tests_of_the_sessions(analysis: SignalAnalysis) -> None:
    for name in ("ic", "rank_ic", "long_short"):
        test = mean_test(analysis.sessions[name])
        for column in ("mean", "ir", "days", "se", "t", "lags", "se_nw", "t_nw", "ci_low"):
            assert analysis.summary.loc[name, column] == test[column]
    hit = analysis.summary.loc["hit_rate"]
    assert hit["t"] == pytest.approx((hit["mean"] - 0.5) / hit["se"])
    assert hit["ci_low"] < hit["mean"] < hit["ci_high"]
    defined = analysis.sessions["ic"].dropna()
    assert analysis.summary.loc["ic", "positive"] == (defined > 0).mean()
    assert analysis.summary.loc["turnover", ["t", "t_nw", "p_nw", "null"]].isna().all()
    assert list(analysis.quantiles.index) == ["q1", "q2", "q3", "q4", "q5", "long_short"]
    assert analysis.quantiles.loc["q5", "mean"] == pytest.approx(analysis.sessions["q5"].mean())


def test_lags_can_be_given(market: Planted, analysis: SignalAnalysis) -> None:
    again = signal_analysis(market.scores, market.labels, lags=0)
    pd.testing.assert_frame_equal(again.sessions, analysis.sessions, check_exact=True)
    assert (again.summary["lags"] == 0).all()
    np.testing.assert_allclose(again.summary["se_nw"], again.summary["se"])
    assert (again.quantiles["lags"] == 0).all()


def test_periods(analysis: SignalAnalysis) -> None:
    sessions = analysis.sessions
    assert list(analysis.by_year.index) == ["2018"]
    assert analysis.by_year.loc["2018", "ic"] == sessions["ic"].mean()
    assert analysis.by_month.index[0] == "2018-01"
    may = sessions.loc["2018-05"]
    row = analysis.by_month.loc["2018-05"]
    assert row["sessions"] == len(may) == 23
    assert row["rank_ic"] == may["rank_ic"].mean()
    assert row["rank_ic_t_nw"] == pytest.approx(mean_test(may["rank_ic"])["t_nw"])
    assert row["turnover"] == pytest.approx(may["turnover"].mean())


def test_groups_are_cross_sections_of_their_own(
    market: Planted, analysis: SignalAnalysis, groups: dict[str, str]
) -> None:
    member = market.scores.index.get_level_values("instrument").map(groups)
    for group in GROUPS:
        ic, rank_ic = calc_ic(market.scores[member == group], market.labels)
        row = analysis.by_group.loc[group]
        assert row["ic"] == pytest.approx(ic.mean(), abs=1e-14)
        assert row["rank_ic_t_nw"] == pytest.approx(mean_test(rank_ic)["t_nw"])
        assert row["ic_days"] == ic.notna().sum()
    changing = pd.Series(member, index=market.scores.index)
    again = signal_analysis(market.scores, market.labels, groups=changing).by_group
    pd.testing.assert_frame_equal(again, analysis.by_group)
    # A name that changes its group counts where it is on the session.
    late = changing.index.get_level_values("datetime") > changing.index.levels[0][75]
    swapped = changing.where(~late, changing.map({"big": "small", "small": "big"}))
    moved = signal_analysis(market.scores, market.labels, groups=swapped).by_group
    early = market.scores[~late & (member == "big")]
    later = market.scores[late & (member == "small")]
    expected = calc_ic(pd.concat([early, later]), market.labels)[0].mean()
    assert moved.loc["big", "ic"] == pytest.approx(expected, abs=1e-14)


def test_decay_is_calc_ic_of_each_horizon(market: Planted, analysis: SignalAnalysis) -> None:
    """h = 1 is the usual label; errors allow for h - 1 overlapping sessions at least."""
    assert list(analysis.decay.index) == [1, 2, 7]
    close = market.bars["close"].unstack("instrument")  # noqa: PD010
    for horizon, row in analysis.decay.iterrows():
        label = forward_returns(market.bars, int(str(horizon)))
        wide = close.shift(-1 - int(str(horizon))) / close.shift(-1) - 1
        expected = wide.stack(future_stack=True).dropna()  # noqa: PD013
        pd.testing.assert_series_equal(label, expected, check_names=False)
        ic, rank_ic = calc_ic(market.scores, label)
        assert row["ic"] == pytest.approx(ic.mean(), abs=1e-13)
        assert row["rank_ic"] == pytest.approx(rank_ic.mean(), abs=1e-13)
        assert row["rank_ic_days"] == rank_ic.notna().sum()
        assert row["lags"] >= int(str(horizon)) - 1
    far = ic_decay(market.scores, market.bars, horizons=[149, 30], lags=2)
    assert far.loc[30, "lags"] == 29
    assert math.isnan(far.loc[149, "ic"])
    assert far.loc[149, "ic_days"] == 0


def test_decay_with_equal_scores_and_equal_returns(market: Planted) -> None:
    """Ties on either side take the same ranks as in `calc_ic`; constants have no IC."""
    bars = market.bars.assign(close=market.bars["close"].round(0))
    scores = market.scores.round(1)
    scores[scores.index.get_level_values(0) == scores.index.levels[0][4]] = 1.0
    flat = bars.index.get_level_values(0) == bars.index.levels[0][12]
    same = bars.index.get_level_values(0) == bars.index.levels[0][11]
    bars.loc[flat | same, "close"] = 7.0  # no return from session 11 to 12
    for horizon in (1, 3):
        ic, rank_ic = calc_ic(scores, forward_returns(bars, horizon))
        row = ic_decay(scores, bars, horizons=[horizon]).loc[horizon]
        assert row["ic"] == pytest.approx(ic.mean(), abs=1e-13)
        assert row["rank_ic"] == pytest.approx(rank_ic.mean(), abs=1e-13)
        assert row["ic_days"] == ic.notna().sum()
        assert ic.isna().sum() >= 3


def _frame(rows: dict[str, list[float]], days: int) -> pd.Series:
    index = pd.bdate_range("2024-01-01", periods=days, name="datetime")
    table = pd.DataFrame(rows, index=index).rename_axis("instrument", axis=1)
    return table.stack(future_stack=True)  # noqa: PD013


def test_edges_are_defined_and_told() -> None:
    """A session each: fine, one name, constant scores, all NaN, infinite, no label yet."""
    nan, inf = np.nan, np.inf
    scores = _frame(
        {"A": [1, 1, 5, nan, 1, 1], "B": [2, nan, 5, nan, 2, 2], "C": [3, nan, 5, nan, inf, 3]}, 6
    )
    labels = _frame({n: [0.1 * k] * 5 for k, n in enumerate("ABC")}, 5)
    got = signal_analysis(scores, labels, quantiles=2)
    s = got.sessions
    assert s["n"].tolist() == [3, 1, 3, 0, 3, 0]
    assert s["scored"].tolist() == [3, 1, 3, 0, 3, 3]
    assert s["ic"].notna().tolist() == [True, False, False, False, False, False]
    assert s["rank_ic"].notna().tolist() == [True, False, False, False, True, False]
    assert s["turnover"].notna().tolist() == [False, True, True, False, False, True]
    assert got.summary.loc["ic", "days"] == 1
    assert got.notes == (
        "1 session (first 2024-01-04) with no predictions: nothing is evaluated and turnover "
        "starts afresh",
        "1 session (first 2024-01-08) with scores but no label (yet): they count in turnover, not "
        "in any IC",
        "1 session (first 2024-01-02) with fewer than 2 names with score and label: no IC",
        "1 session (first 2024-01-03) with scores or labels that are all equal: no IC",
        "1 session (first 2024-01-05) with infinite scores: no IC, but a rank IC",
    )
    assert got.decay.empty
    assert got.by_group.empty
    assert "rank_ic_t_nw" in got.decay.columns


def test_a_session_of_the_market_without_predictions_is_reported() -> None:
    scores = _frame({n: [1.0 * k] * 5 for k, n in enumerate("ABCD")}, 5)
    labels = _frame({n: [0.1 * k] * 9 for k, n in enumerate("ABCD")}, 9)
    gap = scores.drop(scores.index.levels[0][2], level=0)
    got = signal_analysis(gap, labels)
    assert len(got.sessions) == 5  # the missing one, and none after the last score
    assert got.sessions["scored"].tolist() == [4, 4, 0, 4, 4]
    assert math.isnan(got.sessions["autocorrelation"].iloc[3])
    assert got.sessions["turnover"].tolist()[4] == 0
    assert got.notes[0].startswith("1 session (first 2024-01-03) with no predictions")


def test_nothing_defined_at_all() -> None:
    scores = _frame({"A": [1.0, 2.0], "B": [2.0, 1.0]}, 2)
    got = signal_analysis(scores, scores.iloc[:0])
    assert got.sessions["n"].tolist() == [0, 0]
    assert got.summary["days"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert got.summary.loc["ic", ["mean", "t_nw"]].isna().all()
    assert got.by_month.loc["2024-01", "ic_days"] == 0
    blank = signal_analysis(scores * np.nan, scores)
    assert blank.sessions["scored"].tolist() == [0, 0]


def test_scores_without_label_or_group_are_counted(market: Planted) -> None:
    few = {"S0001": "a", "S0002": "a", "S0003": None}
    got = signal_analysis(market.scores, market.labels, groups=few)
    assert list(got.by_group.index) == ["a"]
    assert any("belong to names without a group" in note for note in got.notes)
    assert any("scores have no label on sessions that have labels" in note for note in got.notes)


def test_errors(market: Planted) -> None:
    scores, labels = market.scores, market.labels
    with pytest.raises(ValueError, match=r"scores has 1 duplicated rows, the first is"):
        signal_analysis(pd.concat([scores, scores.iloc[:1]]), labels)
    with pytest.raises(ValueError, match=r"labels has 2 duplicated rows"):
        signal_analysis(scores, pd.concat([labels, labels.iloc[:2]]))
    with pytest.raises(ValueError, match="scores is empty"):
        signal_analysis(scores.iloc[:0], labels)
    with pytest.raises(ValueError, match="quantiles=1: expected 2 buckets"):
        signal_analysis(scores, labels, quantiles=1)
    with pytest.raises(ValueError, match="min_names=1: a correlation needs 2"):
        signal_analysis(scores, labels, min_names=1)
    with pytest.raises(ValueError, match=r"horizons=\[0, 1\]: expected one or more numbers"):
        signal_analysis(scores, labels, bars=market.bars, horizons=(0, 1))
    with pytest.raises(ValueError, match=r"horizons=\[\]"):
        ic_decay(scores, market.bars, horizons=())
    with pytest.raises(ValueError, match=r"groups has no group for any of the 38 names"):
        signal_analysis(scores, labels, groups={"X": "a"})
    with pytest.raises(ValueError, match="groups holds 'S0001' twice"):
        signal_analysis(scores, labels, groups=pd.Series(["a", "b"], index=["S0001"] * 2))
    late = market.bars[market.bars.index.get_level_values(0) > pd.Timestamp("2018-01-03")]
    with pytest.raises(ValueError, match="scores has 3 days without any bar, the first is 2018-01"):
        ic_decay(scores, late)
    with pytest.raises(ValueError, match="bars has no column 'close'"):
        forward_returns(market.bars[["open"]])


def test_a_horizon_reaches_every_table(market: Planted) -> None:
    """Oracle: the same call with the lags of the overlap."""
    groups = {name: int(name[1:]) % 2 for name in market.scores.index.get_level_values(1)}
    arguments = {"groups": groups, "quantiles": 5}
    aware = signal_analysis(market.scores, market.labels, horizon=20, **arguments)
    given = signal_analysis(market.scores, market.labels, lags=19, **arguments)
    for table in ("sessions", "summary", "by_year", "by_month", "by_group", "quantiles"):
        pd.testing.assert_frame_equal(getattr(aware, table), getattr(given, table))
    assert (aware.horizon, given.horizon) == (20, 1)
