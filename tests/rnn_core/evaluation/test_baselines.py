"""Trivial scores; oracles: pandas' shifts, and numpy's least squares on an augmented system."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import baselines, calc_ic, momentum, reversal, ridge_scores
from tests.rnn_core.evaluation.simulated import Planted, planted


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(30, 120, 1)


def test_reversal_and_momentum_are_past_returns(market: Planted) -> None:
    close = market.bars["close"].unstack("instrument")  # noqa: PD010
    for got, wide in (
        (reversal(market.bars), -(close / close.shift(5) - 1)),
        (reversal(market.bars, sessions=1), -(close / close.shift(1) - 1)),
        (momentum(market.bars), close.shift(5) / close.shift(60) - 1),
        (momentum(market.bars, sessions=20, skip=0), close / close.shift(20) - 1),
    ):
        expected = wide.where(close.notna()).stack(future_stack=True).dropna()  # noqa: PD013
        pd.testing.assert_series_equal(got, expected, check_names=False)
        assert len(got) > 1000


def test_baselines_know_nothing_of_the_future(market: Planted) -> None:
    cut = market.bars.index.levels[0][80]
    past = market.bars[market.bars.index.get_level_values(0) <= cut]
    for score in (reversal, momentum):
        whole = score(market.bars)
        known = whole[whole.index.get_level_values(0) <= cut]
        pd.testing.assert_series_equal(score(past), known, check_exact=True)


def test_short_bars_have_no_baseline(market: Planted) -> None:
    short = market.bars[market.bars.index.get_level_values(0) <= market.bars.index.levels[0][4]]
    assert reversal(short).empty
    assert momentum(short).empty
    with pytest.raises(ValueError, match="sessions=0: expected a look-back"):
        reversal(short, sessions=0)
    with pytest.raises(ValueError, match="sessions=5, skip=5: expected 0 <= skip < sessions"):
        momentum(short, sessions=5, skip=5)


def _rows(rows: int, seed: int, noise: float = 0.1) -> tuple[pd.DataFrame, pd.Series]:
    """Labels that are linear in two of six features of unlike scales."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2020-01-01", periods=rows), [f"S{k}" for k in range(20)]],
        names=["datetime", "instrument"],
    )
    x = pd.DataFrame(rng.normal(5, [1, 10, 0.1, 1, 1, 1], (len(index), 6)), index, list("abcdef"))
    y = 0.3 * x["a"] - 0.02 * x["b"] + noise * rng.normal(size=len(index))
    return x, y.rename("label")


@pytest.mark.parametrize("alpha", [0.01, 1.0, 50.0])
def test_ridge_is_least_squares_with_penalty_rows(alpha: float) -> None:
    """Rows √(αS) I with target 0 make ordinary least squares the ridge solution."""
    x, y = _rows(30, 0)
    y[::7] = np.nan
    test, _ = _rows(5, 1)
    got = ridge_scores(x, y, test[list("fedcba")], alpha=alpha)
    seen = y.notna()
    mean, std = x[seen].mean(), x[seen].std(ddof=0)
    z, t = (x[seen] - mean) / std, y[seen] - y[seen].mean()
    system = np.vstack([z.to_numpy(), math.sqrt(alpha * len(z)) * np.eye(6)])
    weights = np.linalg.lstsq(system, np.r_[t.to_numpy(), np.zeros(6)], rcond=None)[0]
    np.testing.assert_allclose(got, ((test - mean) / std) @ weights, rtol=1e-9, atol=1e-12)
    assert got.name == "ridge"
    assert got.index.equals(test.index)


def test_ridge_in_chunks_is_the_ridge_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of a float32 array no float64 copy is made: at its peak it takes less than that."""
    x, y = _rows(4_000, 3)
    y[::7], x.iloc[::11, 2] = np.nan, np.inf
    matrix = x.to_numpy(dtype=np.float32)
    held = pd.DataFrame(matrix, index=x.index, columns=x.columns, copy=False)
    monkeypatch.setattr(baselines, "_CHUNK_CELLS", 1 << 30)
    expected = ridge_scores(held, y, held)
    monkeypatch.setattr(baselines, "_CHUNK_CELLS", 6_000)
    tracemalloc.start()
    (fit,) = baselines.Ridge.path(held, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * matrix.nbytes  # a float64 copy; labels and row numbers are half of it
    np.testing.assert_allclose(fit.scores(held), expected, rtol=1e-9, atol=1e-12)


def test_ridge_recovers_a_linear_signal() -> None:
    x, y = _rows(60, 2)
    test, label = _rows(20, 3)
    scores = ridge_scores(x, y, test)
    assert calc_ic(scores, label)[0].mean() > 0.9


def test_ridge_chooses_the_penalty_on_validation_rows() -> None:
    x, y = _rows(3, 4, noise=3.0)  # few and noisy rows: a strong penalty is better
    valid, target = _rows(40, 5)
    test, _ = _rows(5, 6)
    tried = (1e-6, 1.0, 1e4)
    single = [ridge_scores(x, y, valid, alpha=a) for a in tried]
    best = int(np.argmax([calc_ic(s, target)[1].mean() for s in single]))
    got = ridge_scores(x, y, test, x_valid=valid, y_valid=target, alphas=tried)
    pd.testing.assert_series_equal(got, ridge_scores(x, y, test, alpha=tried[best]))
    given = ridge_scores(x, y, test, x_valid=valid, y_valid=target, alpha=1.0)
    pd.testing.assert_series_equal(given, ridge_scores(x, y, test))


def test_missing_features_count_as_their_mean_and_dead_ones_for_nothing() -> None:
    x, y = _rows(30, 7)
    x["dead"] = 0.1
    x["void"] = np.nan
    test, _ = _rows(2, 8)
    test["dead"], test["void"] = 99.0, 1.0
    expected = ridge_scores(x[list("abcdef")], y, test)
    pd.testing.assert_series_equal(ridge_scores(x, y, test), expected)
    holes = test.copy()
    holes.iloc[0, 0], holes.iloc[1, 1] = np.nan, np.inf
    filled = test.copy()
    filled.iloc[0, 0], filled.iloc[1, 1] = x["a"].mean(), x["b"].mean()
    pd.testing.assert_series_equal(ridge_scores(x, y, holes), ridge_scores(x, y, filled))


def test_ridge_errors() -> None:
    x, y = _rows(5, 9)
    with pytest.raises(ValueError, match=r"use y_train.reindex\(x_train.index\)"):
        ridge_scores(x, y.iloc[::-1], x)
    with pytest.raises(ValueError, match=r"x_test lacks \['a'\] of the training columns"):
        ridge_scores(x, y, x[list("bcdef")])
    with pytest.raises(ValueError, match="pass both or neither"):
        ridge_scores(x, y, x, x_valid=x)
    with pytest.raises(ValueError, match=r"alpha=\[0.0\]: expected positive penalties"):
        ridge_scores(x, y, x, alpha=0.0)
    with pytest.raises(ValueError, match="y_train has no label on any of its 100 rows"):
        ridge_scores(x, y * np.nan, x)
    with pytest.raises(ValueError, match="no validation session has a rank IC: pass alpha"):
        ridge_scores(x, y, x, x_valid=x, y_valid=y * np.nan)
