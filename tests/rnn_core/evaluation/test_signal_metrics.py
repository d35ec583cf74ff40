"""Signal metrics; oracles: pyqlib's recorded outputs, pandas per session, and hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.evaluation import (
    calc_ic,
    calc_long_short_return,
    evaluate_session,
    summarize_ic,
)


def _close(got: pd.Series, expected: pd.Series) -> None:
    assert list(got.index) == list(expected.index)
    np.testing.assert_array_equal(got.isna().to_numpy(), expected.isna().to_numpy())
    np.testing.assert_allclose(got.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-10)


def test_calc_ic_agrees_with_qlib(pairs: tuple[pd.Series, pd.Series], daily: pd.DataFrame) -> None:
    """Oracle: qlib.contrib.eva.alpha.calc_ic on ties, NaN, constant and one-name sessions."""
    ic, rank_ic = calc_ic(*pairs)
    assert daily["ic"].isna().sum() >= 4
    _close(ic, daily["ic"])
    _close(rank_ic, daily["rank_ic"])


def test_calc_long_short_return_agrees_with_qlib(
    pairs: tuple[pd.Series, pd.Series], daily: pd.DataFrame
) -> None:
    """Oracle: qlib.contrib.eva.alpha.calc_long_short_return."""
    long_short, mean = calc_long_short_return(*pairs)
    _close(long_short, daily["long_short"])
    _close(mean, daily["mean"])


def test_order_of_rows_and_levels_does_not_change_a_bit(
    pairs: tuple[pd.Series, pd.Series],
) -> None:
    pred, label = pairs
    for a, b in zip(
        calc_ic(pred, label), calc_ic(pred.swaplevel().sort_index(), label), strict=True
    ):
        pd.testing.assert_series_equal(a, b, check_exact=True)


def test_equal_scores_have_no_ic_where_round_off_would_make_one() -> None:
    """0.1 * 3 summed and divided is not 0.1: a mean-centred constant need not be zero."""
    index = pd.MultiIndex.from_product(
        [[pd.Timestamp("2024-01-01")], list("ABCDEFG")], names=["datetime", "instrument"]
    )
    pred = pd.Series(0.1, index=index)
    label = pd.Series(np.arange(7.0), index=index)
    assert all(series.isna().all() for series in calc_ic(pred, label))
    assert all(series.isna().all() for series in calc_ic(label, pred))


def test_min_names_and_infinite_scores() -> None:
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=2), list("ABC")], names=["datetime", "instrument"]
    )
    pred = pd.Series([1.0, 2, 3, 1, 2, np.inf], index=index)
    label = pd.Series([1.0, 2, np.nan, 3, 4, 5], index=index)
    ic, rank_ic = calc_ic(pred, label)
    assert ic.iloc[0] == pytest.approx(1.0)
    assert math.isnan(ic.iloc[1])  # infinity has no deviation
    assert rank_ic.iloc[1] == pytest.approx(1.0)  # but a rank
    assert calc_ic(pred, label, min_names=3)[0].isna().all()
    with pytest.raises(ValueError, match="min_names=1: a correlation needs 2 names"):
        calc_ic(pred, label, min_names=1)
    with pytest.raises(ValueError, match=r"quantile=0.6: expected a share"):
        calc_long_short_return(pred, label, 0.6)


def test_evaluate_session_has_the_bits_of_calc_ic(pairs: tuple[pd.Series, pd.Series]) -> None:
    pred, label = pairs
    ic, rank_ic = calc_ic(pred, label)
    for day in ic.index[:19]:
        row = evaluate_session(pred.xs(day, level="datetime"), label.xs(day, level="datetime"))
        for name, series in (("ic", ic), ("rank_ic", rank_ic)):
            assert row[name] == series[day] or (math.isnan(row[name]) and math.isnan(series[day]))


def test_evaluate_session_by_hand() -> None:
    names = list("ABCDEFGHIJ")
    score = pd.Series(np.arange(10.0), index=names)
    label = pd.Series([-2.0, -1, 0, 1, 0, 1, 2, 3, 4, 5], index=names) / 100
    label["K"] = 9.0  # no score: not counted
    row = evaluate_session(score, label)
    assert list(row) == [
        "n", "ic", "rank_ic", "mean_label", "q1", "q2", "q3", "q4", "q5", "long_short", "hit_rate",
    ]  # fmt: skip
    assert row["n"] == 10
    assert row["mean_label"] == pytest.approx(0.013)
    means = [row[f"q{k}"] for k in range(1, 6)]
    assert means == pytest.approx([-0.015, 0.005, 0.005, 0.025, 0.045])
    assert row["long_short"] == pytest.approx(0.06)
    # Median return is 1%, two names lie on it; of the other eight all are on the score's side.
    assert row["hit_rate"] == 1.0
    assert evaluate_session(-score, label)["hit_rate"] == 0.0


@pytest.mark.parametrize(
    ("scores", "filled"),
    [
        ([1.0, 2, 3], [1, 3, 5]),
        ([1.0, 2, 3, 4], [1, 2, 4, 5]),
        ([5.0, 5, 5, 5, 5], [3]),
        ([1.0, 1, 2, 2], [2, 4]),
        ([7.0], [3]),
        ([], []),
    ],
)
def test_quantiles_of_few_names_and_ties(scores: list[float], filled: list[int]) -> None:
    names = list("ABCDE")[: len(scores)]
    row = evaluate_session(pd.Series(scores, names, dtype=float), pd.Series(0.01, names))
    assert [k for k in range(1, 6) if not math.isnan(row[f"q{k}"])] == filled
    both = {1, 5} <= set(filled)
    assert math.isnan(row["long_short"]) is not both
    assert row["n"] == len(scores)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-4, 4), min_size=1, max_size=40),
    quantiles=st.integers(2, 10),
    seed=st.integers(0, 9),
)
def test_quantiles_are_balanced_and_monotone(values: list[int], quantiles: int, seed: int) -> None:
    """Oracle: pandas' average ranks and the bucket formula in exact fractions."""
    names = [f"N{k:02d}" for k in range(len(values))]
    score = pd.Series(values, names, dtype=float)
    label = pd.Series(np.random.default_rng(seed).normal(size=len(values)), names)
    ranks = score.rank(method="average")
    bucket = ((2 * ranks - 1).astype(int) * quantiles) // (2 * len(values))
    expected = label.groupby(bucket).mean()
    row = evaluate_session(score.sample(frac=1, random_state=seed), label, quantiles=quantiles)
    got = {k: row[f"q{k + 1}"] for k in range(quantiles) if not math.isnan(row[f"q{k + 1}"])}
    assert got == pytest.approx(expected.to_dict())


def test_evaluate_session_errors() -> None:
    index = pd.MultiIndex.from_product([pd.bdate_range("2024-01-01", periods=1), ["A"]])
    with pytest.raises(ValueError, match=r"use score\.xs\(session, level='datetime'\)"):
        evaluate_session(pd.Series([1.0], index), pd.Series([1.0], ["A"]))
    with pytest.raises(ValueError, match="label holds 'A' twice"):
        evaluate_session(pd.Series([1.0], ["A"]), pd.Series([1.0, 2], ["A", "A"]))
    with pytest.raises(ValueError, match="quantiles=1: expected 2 buckets"):
        evaluate_session(pd.Series([1.0], ["A"]), pd.Series([1.0], ["A"]), quantiles=1)


def test_summarize_ic_by_hand() -> None:
    frame = pd.DataFrame({"ic": [0.1, 0.3, np.nan, 0.2], "rank_ic": [0.5, 0.5, np.nan, np.nan]})
    got = summarize_ic(frame)
    assert got["days"] == 3
    assert got["ic"] == pytest.approx(0.2)
    assert got["icir"] == pytest.approx(2.0)
    assert got["ic_se"] == pytest.approx(0.1 / math.sqrt(3))
    assert got["ic_t"] == pytest.approx(2 * math.sqrt(3))
    assert got["rank_ic"] == 0.5
    assert math.isnan(got["rank_icir"])  # no variation


def test_summarize_ic_without_days() -> None:
    got = summarize_ic(pd.DataFrame({"ic": [np.nan], "rank_ic": [np.nan]}))
    assert got.pop("days") == 0
    assert all(math.isnan(value) for value in got.values())
    with pytest.raises(ValueError, match=r"\['rank_ic'\] missing: pass rows of evaluate_session"):
        summarize_ic(pd.DataFrame({"ic": [1.0]}))
