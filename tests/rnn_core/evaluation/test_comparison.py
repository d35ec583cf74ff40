"""Comparisons; oracles: `calc_ic` and `mean_test` of each signal, a planted order of signals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    Comparison,
    against,
    bootstrap_interval,
    calc_ic,
    compare_signals,
    holm,
    mean_test,
    momentum,
    rank_average,
    reversal,
    trailing_weights,
)
from tests.rnn_core.evaluation.simulated import Planted, planted


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(50, 260, 2, signal=0.1)


@pytest.fixture(scope="module")
def signals(market: Planted) -> dict[str, list[pd.Series]]:
    """Two models that know the planted score, the first better; three and one trainings."""
    rng = np.random.default_rng(0)

    def noisy(weight: float) -> pd.Series:
        return weight * market.scores + rng.normal(size=len(market.scores))

    return {"good": [noisy(2.0) for _ in range(3)], "weak": [noisy(0.3)]}


@pytest.fixture(scope="module")
def comparison(market: Planted, signals: dict[str, list[pd.Series]]) -> Comparison:
    baselines = {"reversal": reversal(market.bars), "momentum": momentum(market.bars)}
    return compare_signals(signals, market.labels, baselines=baselines, draws=500)


def test_a_horizon_reaches_every_test_and_block(market: Planted) -> None:
    """Oracle: the same call with the lags of the overlap."""
    pair = {"a": market.scores, "b": -market.scores.groupby(level=1).shift(1).dropna()}
    aware = compare_signals(pair, market.labels, horizon=20, draws=50)
    given = compare_signals(pair, market.labels, lags=19, draws=50)
    plain = compare_signals(pair, market.labels, draws=50)
    pd.testing.assert_frame_equal(aware.summary, given.summary)
    pd.testing.assert_frame_equal(aware.differences, given.differences)
    assert set(aware.differences["lags"]) == {19}
    assert set(aware.differences["block"]) == {20}
    assert (aware.differences["se_nw"] != plain.differences["se_nw"]).all()
    assert (aware.horizon, plain.horizon) == (20, 1)


def _shared(signals: dict[str, list[pd.Series]], market: Planted) -> pd.Index:
    rows = momentum(market.bars).index.intersection(reversal(market.bars).index)
    return rows.intersection(signals["weak"][0].index)


def test_signals_are_compared_on_the_rows_they_share(
    market: Planted, signals: dict[str, list[pd.Series]], comparison: Comparison
) -> None:
    assert list(comparison.summary.index) == ["good", "weak", "ensemble", "reversal", "momentum"]
    assert comparison.summary["kind"].tolist() == ["model"] * 2 + ["ensemble"] + ["baseline"] * 2
    assert comparison.summary["seeds"].tolist() == [3, 1, 1, 1, 1]
    rows = _shared(signals, market)
    ic, rank_ic = calc_ic(signals["weak"][0].reindex(rows), market.labels.reindex(rows))
    row = comparison.summary.loc["weak"]
    for name, series in (("ic", ic), ("rank_ic", rank_ic)):
        test = mean_test(series)
        assert row[name] == pytest.approx(test["mean"], abs=1e-14)
        assert row[f"{name}_ir"] == pytest.approx(test["ir"])
        assert row[f"{name}_t_nw"] == pytest.approx(test["t_nw"])
    lost = len(signals["weak"][0]) - len(rows)
    assert f"{lost} of {len(signals['weak'][0])} of weak" in comparison.notes[0]
    assert math.isnan(row["rank_ic_seed_std"])


def test_seeds_are_summed_up_by_mean_and_deviation(
    market: Planted, signals: dict[str, list[pd.Series]], comparison: Comparison
) -> None:
    rows = _shared(signals, market)
    labels = market.labels.reindex(rows)
    each = [calc_ic(run.reindex(rows), labels)[1] for run in signals["good"]]
    means = np.array([ic.mean() for ic in each])
    row = comparison.seeds.set_index(["signal", "statistic"]).loc[("good", "rank_ic")]
    assert row["seeds"] == 3
    assert row["mean"] == pytest.approx(means.mean())
    assert row["std"] == pytest.approx(means.std(ddof=1))
    assert (row["lowest"], row["highest"]) == pytest.approx((means.min(), means.max()))
    summary = comparison.summary.loc["good"]
    assert summary["rank_ic"] == pytest.approx(means.mean())
    assert summary["rank_ic_seed_std"] == row["std"]
    # The ratio is a training's, not that of the smoother mean of three.
    assert summary["rank_ic_ir"] == pytest.approx(np.mean([ic.mean() / ic.std() for ic in each]))
    np.testing.assert_allclose(comparison.rank_ic["good"], sum(each) / 3, atol=1e-14)


def test_the_tests_of_a_statistic_are_corrected_for_their_number(comparison: Comparison) -> None:
    for _, pairs in comparison.differences.groupby("statistic"):
        assert len(pairs) == 10
        assert pairs["p_holm"].to_list() == holm(pairs["p_nw"].to_numpy()).tolist()
        smallest = pairs.loc[pairs["p_nw"].idxmin()]
        assert smallest["p_holm"] == pytest.approx(min(10 * smallest["p_nw"], 1.0))


def test_differences_are_paired(comparison: Comparison) -> None:
    table = comparison.differences
    assert len(table) == 2 * 10
    row = table[(table["a"] == "good") & (table["b"] == "weak") & (table["statistic"] == "ic")]
    daily = comparison.ic["good"] - comparison.ic["weak"]
    test = mean_test(daily)
    row = row.iloc[0]
    assert row["difference"] == pytest.approx(daily.mean())
    assert row["t_nw"] == pytest.approx(test["t_nw"])
    block = row["block"]
    assert block == max(math.ceil(test["days"] ** (1 / 3)), test["lags"] + 1)
    expected = bootstrap_interval(daily, draws=500, block=int(block))
    assert (row["boot_low"], row["boot_high"]) == pytest.approx(expected)
    # The planted order is found, by both tests.
    assert row["t_nw"] > 3
    assert row["boot_low"] > 0
    assert row["se_nw"] < math.hypot(
        *(mean_test(comparison.ic[n])["se_nw"] for n in ("good", "weak"))
    )


def test_references_are_taken_from_every_model_and_the_ensemble(
    market: Planted, signals: dict[str, list[pd.Series]]
) -> None:
    """A reference that comes first in the summary is subtracted all the same; each pair once."""
    comparison = compare_signals(signals, market.labels, baselines={"five": reversal(market.bars)})
    first = next(iter(signals))
    table = against(comparison, [first])
    others = [n for n, kind in comparison.summary["kind"].items() if kind != "baseline"]
    expected = [(n, first) for n in others if n != first for _ in range(2)]
    assert list(zip(table["signal"], table["reference"], strict=True)) == expected
    for row in table.itertuples():
        daily = {"ic": comparison.ic, "rank_ic": comparison.rank_ic}[row.statistic]
        test = mean_test(daily[row.signal] - daily[row.reference])
        assert (row.difference, row.t_nw) == pytest.approx((test["mean"], test["t_nw"]))
        assert row.boot_low < row.difference < row.boot_high
    assert len(against(comparison, list(signals))) == 2 * (1 + 2)  # the pair, and the ensemble's
    with pytest.raises(ValueError, match="no signal is called 'ridge'"):
        against(comparison, ["ridge"])


def test_a_signal_is_no_better_than_itself(market: Planted) -> None:
    twin = {"a": market.scores, "b": 3 * market.scores + 1}
    row = compare_signals(twin, market.labels, ensemble=False).differences.iloc[1]
    assert row["statistic"] == "rank_ic"
    assert row["difference"] == 0
    assert math.isnan(row["t_nw"])
    assert (row["boot_low"], row["boot_high"]) == (0, 0)


def test_equal_skill_is_rarely_told_apart() -> None:
    """Signals of the same skill and noise of their own: a 5% test rejects about one in twenty."""
    rejected = outside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        index = pd.MultiIndex.from_product(
            [pd.bdate_range("2020-01-01", periods=120), range(25)], names=["datetime", "instrument"]
        )
        label = pd.Series(rng.normal(size=len(index)), index)
        pair = {n: 0.1 * label + rng.normal(size=len(index)) for n in ("a", "b")}
        row = compare_signals(pair, label, ensemble=False, draws=300, seed=seed).differences.iloc[0]
        rejected += row["p_nw"] < 0.05
        outside += not row["boot_low"] <= 0 <= row["boot_high"]
    assert rejected <= 9  # more has a chance below 1% if the rate is 5%
    assert outside <= 9


def test_ensemble_is_the_mean_of_cross_sectional_ranks(
    signals: dict[str, list[pd.Series]], comparison: Comparison
) -> None:
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=2), list("ABCD")], names=["datetime", "instrument"]
    )
    a = pd.Series([4.0, 3, 2, 1, 1, 1, 2, np.nan], index)
    b = pd.Series([10.0, 30, 20, 40, 5, 6, 7, 8], index)
    got = rank_average([a, b.sample(frac=1, random_state=0)])
    # Second session: a has ties and three names, b four.
    expected = [(7 + 1) / 16, (5 + 5) / 16, (3 + 3) / 16, (1 + 7) / 16]
    expected += [(2 / 6 + 1 / 8) / 2, (2 / 6 + 3 / 8) / 2, (5 / 6 + 5 / 8) / 2]
    assert got.tolist() == pytest.approx(expected)
    assert got.index.equals(index[:7])
    mixed = rank_average([rank_average(signals["good"]), rank_average(signals["weak"])])
    assert comparison.scores is not None
    pd.testing.assert_series_equal(comparison.scores, mixed)


def test_comparison_without_labels_and_without_an_ensemble(market: Planted) -> None:
    alone = compare_signals({"m": market.scores}, market.labels.iloc[:0])
    assert list(alone.summary.index) == ["m"]
    assert alone.scores is None
    assert alone.differences.empty
    assert alone.summary.loc["m", "days"] == 0
    assert alone.summary[["ic", "rank_ic_t_nw"]].isna().all(axis=None)
    assert alone.notes == ("no session has an IC: the labels cover none of the scored rows (yet)",)
    apart = market.scores[market.scores.index.get_level_values(1) < "S0020"]
    both = compare_signals({"a": market.scores, "b": apart}, market.labels, common_rows=False)
    assert "ensemble" in both.summary.index
    other = market.scores[market.scores.index.get_level_values(1) >= "S0020"]
    disjoint = compare_signals({"a": other, "b": apart}, market.labels, common_rows=False)
    assert list(disjoint.summary.index) == ["a", "b"]
    assert disjoint.notes[0] == "no ensemble: the models share no row"
    assert both.summary.loc["a", "ic"] == calc_ic(market.scores, market.labels)[0].mean()


def test_a_given_ensemble_is_compared_as_it_is(market: Planted) -> None:
    """Oracle: its own IC; the rank average of the two models has another one."""
    draws = np.random.default_rng(5).normal(size=len(market.scores))
    other = pd.Series(draws, index=market.scores.index)
    traded = rank_average([market.scores, other], [1.0, 0.0])
    models = {"good": market.scores, "bad": other}
    given = compare_signals(models, market.labels, ensemble=traded, draws=9)
    assert list(given.summary["kind"]) == ["model", "model", "ensemble"]
    want = calc_ic(traded, market.labels)[1].mean()
    assert given.summary.loc["ensemble", "rank_ic"] == pytest.approx(want, rel=1e-12)
    plain = compare_signals(models, market.labels, draws=9).summary.loc["ensemble", "rank_ic"]
    assert abs(plain - want) > 0.01


def test_errors(market: Planted) -> None:
    scores, labels = market.scores, market.labels
    with pytest.raises(ValueError, match="scores is empty, expected one model or more"):
        compare_signals({}, labels)
    with pytest.raises(ValueError, match="the scores of 'm' are empty, expected a Series"):
        compare_signals({"m": []}, labels)
    with pytest.raises(ValueError, match=r"\['m'\] names two signals: rename one"):
        compare_signals({"m": scores}, labels, baselines={"m": scores})
    with pytest.raises(ValueError, match=r"'ensemble' is reserved"):
        compare_signals({"ensemble": scores}, labels)
    with pytest.raises(ValueError, match="m has 1 duplicated rows"):
        compare_signals({"m": pd.concat([scores, scores.iloc[:1]])}, labels)
    other = scores.rename(index=lambda name: f"X{name}", level="instrument")
    with pytest.raises(ValueError, match=r"no row in common \(rows: .*common_rows=False"):
        compare_signals({"a": scores, "b": other}, labels, ensemble=False)
    with pytest.raises(ValueError, match="scores is empty, expected one Series or more"):
        rank_average([])


def test_weighted_ranks_and_trailing_weights() -> None:
    """By hand: ranks 1, 2 and 2, 1 of two names are 0.25, 0.75 and the other way round."""
    index = pd.MultiIndex.from_product(
        [[pd.Timestamp("2024-01-02")], ["A", "B"]], names=["datetime", "instrument"]
    )
    one, other = pd.Series([1.0, 2.0], index), pd.Series([5.0, 3.0], index)
    assert rank_average([one, other], [3.0, 1.0]).tolist() == [0.375, 0.625]
    assert rank_average([one, other], [1.0, 0.0]).tolist() == [0.25, 0.75]
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="expected 2 numbers of 0 or more"):
            rank_average([one, other], weights)
    ics = pd.DataFrame({"a": [0.1, 0.2, np.nan], "b": [0.05, 0.05, 0.9], "c": [-0.1, 0.0, 0.0]})
    assert trailing_weights(ics, 2).tolist() == pytest.approx([0.75, 0.25, 0.0])
    assert trailing_weights(ics, 3).tolist() == pytest.approx([1 / 3] * 3), "two are common"
    assert trailing_weights(-ics.abs(), 1).tolist() == pytest.approx([1 / 3] * 3)
