"""Errors of means; oracles: statsmodels' recorded HAC errors, hand calculation, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.evaluation import bootstrap_interval, holm, mean_test, newey_west_error
from rnn_core.evaluation.inference import block_length, lag_length

# An autocorrelated series and its errors by statsmodels 0.15.0:
# OLS(x, ones).fit(cov_type="HAC", cov_kwds={"maxlags": L, "use_correction": True}).bse[0]
SERIES = [
    0.201, 0.4995, 0.0755, -0.828, -0.7005, -1.0195, -0.236, 1.57, 0.378, -0.666, 0.38, 0.802,
    0.4835, -0.6775, -0.294, 0.8805, -0.7965, -0.93, -1.93, -2.0405, -2.287, -0.956, -1.1845,
    -0.1625, 0.4925, 0.0915, -2.4105, -1.5975, -0.1185, 0.2885, -1.2735, -1.043, -1.018, -1.0985,
    0.8565, -0.0775, -0.237, 1.0675, 0.058, -0.204,
]  # fmt: skip
RECORDED = {
    0: 0.1485684884799963,
    1: 0.17800936313515106,
    3: 0.1929473752072285,
    8: 0.20691240013190992,
}


@pytest.mark.parametrize("lags", RECORDED)
def test_newey_west_agrees_with_statsmodels(lags: int) -> None:
    assert newey_west_error(np.array(SERIES), lags) == pytest.approx(RECORDED[lags], rel=1e-12)


def test_newey_west_by_hand() -> None:
    """x = 1, 2, 4, mean 7/3: γ₀ = 14/9, γ₁ = -1/27 (·3 = -1/9), weight 1/2."""
    x = np.array([1.0, 2.0, 4.0])
    total = 14 / 3 + 2 * 0.5 * ((-1 / 3) * (-4 / 3) + (5 / 3) * (-1 / 3))
    assert newey_west_error(x, 1) == pytest.approx(math.sqrt(total / 3 / 2))
    assert newey_west_error(x, 0) == pytest.approx(x.std(ddof=1) / math.sqrt(3))
    assert newey_west_error(x, 99) == newey_west_error(x, 2)
    with pytest.raises(ValueError, match="lags=-1: expected 0 or more, or None"):
        newey_west_error(x, -1)


@pytest.mark.parametrize(("count", "lags"), [(0, 0), (1, 0), (2, 1), (100, 4), (2520, 8)])
def test_automatic_lags(count: int, lags: int) -> None:
    """floor(4 (T / 100)^(2/9)): 4 · 25.2^(2/9) = 8.19."""
    assert lag_length(count) == lags


def test_mean_test_by_hand() -> None:
    got = mean_test(pd.Series([0.1, np.nan, 0.3, 0.2]), lags=0)
    assert got["days"] == 3
    assert got["mean"] == pytest.approx(0.2)
    assert got["std"] == pytest.approx(0.1)
    assert got["ir"] == pytest.approx(2)
    assert got["se"] == pytest.approx(0.1 / math.sqrt(3))
    assert got["se_nw"] == pytest.approx(got["se"])
    assert got["t"] == pytest.approx(2 * math.sqrt(3))
    assert got["t_nw"] == pytest.approx(2 * math.sqrt(3))
    assert got["p_nw"] == pytest.approx(0.00053, abs=1e-5)  # 2 Φ(-3.4641)
    assert got["ci_high"] - got["mean"] == pytest.approx(1.959964 * got["se"])


def test_values_that_look_ahead_take_as_many_lags() -> None:
    """At least h - 1 of them, at most T - 1, and the automatic ones where there are more."""
    x = np.random.default_rng(2).normal(size=100)
    assert mean_test(x, horizon=1) == mean_test(x)
    assert mean_test(x, horizon=5) == mean_test(x)  # the automatic 4 are enough
    assert mean_test(x, horizon=20) == mean_test(x, lags=19)
    assert mean_test(x, lags=2, horizon=4) == mean_test(x, lags=3)
    assert mean_test(x[:3], horizon=20)["lags"] == 2
    with pytest.raises(ValueError, match="horizon=0: expected the sessions of the label, 1 or"):
        mean_test(x, horizon=0)
    with pytest.raises(ValueError, match="lags=-1"):
        mean_test(x, lags=-1, horizon=3)


@pytest.mark.parametrize("values", [[], [np.nan], [0.1], [0.1, 0.1, 0.1]])
def test_undefined_is_nan(values: list[float]) -> None:
    got = mean_test(np.array(values))
    there = [v for v in values if not math.isnan(v)]
    assert got["days"] == len(there)
    assert math.isnan(got["mean"]) == (not there)
    for name in ("std", "ir", "se", "t", "se_nw", "t_nw", "p_nw", "ci_low", "ci_high"):
        assert math.isnan(got[name]), name


def test_bootstrap_of_independent_values_is_the_normal_interval() -> None:
    x = np.random.default_rng(3).normal(0.5, 1.0, 2000)
    low, high = bootstrap_interval(x, draws=4000, block=1)
    error = x.std(ddof=1) / math.sqrt(len(x))
    assert low == pytest.approx(x.mean() - 1.96 * error, abs=0.12 * error)
    assert high == pytest.approx(x.mean() + 1.96 * error, abs=0.12 * error)


def test_bootstrap_in_blocks_sees_the_autocorrelation() -> None:
    """AR(1) with 0.7: the true error is √(1.7 / 0.3) = 2.4 times the plain one."""
    rng = np.random.default_rng(5)
    x = np.zeros(4000)
    for k in range(1, len(x)):
        x[k] = 0.7 * x[k - 1] + rng.normal()
    plain = np.diff(bootstrap_interval(x, block=1))[0]
    blocks = np.diff(bootstrap_interval(x, block=60))[0]
    assert blocks / plain == pytest.approx(math.sqrt(1.7 / 0.3), rel=0.2)
    assert 2 * 1.96 * newey_west_error(x, 60) == pytest.approx(blocks, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30), st.integers(1, 40), st.integers(0, 5))
def test_bootstrap_is_seeded_and_inside_the_values(
    values: list[float], block: int, seed: int
) -> None:
    x = np.array(values)
    low, high = bootstrap_interval(x, draws=50, block=block, seed=seed)
    assert (low, high) == bootstrap_interval(np.r_[x, np.nan], draws=50, block=block, seed=seed)
    assert x.min() - 1e-9 <= low <= high <= x.max() + 1e-9
    if block >= len(x):  # one circular block holds every value once
        assert low == pytest.approx(x.mean(), abs=1e-9)
        assert high == pytest.approx(x.mean(), abs=1e-9)


def test_bootstrap_edges_and_errors() -> None:
    assert all(math.isnan(v) for v in bootstrap_interval(np.array([1.0])))
    assert block_length(1000) == 10
    assert block_length(1000, lags=19) == 20
    assert block_length(3, lags=19) == 3
    with pytest.raises(ValueError, match="draws=0: expected 1 or more"):
        bootstrap_interval(np.ones(3), draws=0)
    with pytest.raises(ValueError, match="level=95: expected a share"):
        bootstrap_interval(np.ones(3), level=95)
    with pytest.raises(ValueError, match="block=0: expected 1 session or more"):
        bootstrap_interval(np.ones(3), block=0)


def test_holm_by_hand() -> None:
    """Holm (1979): 5 · 0.01, 4 · 0.02, 3 · 0.03, then the largest so far; NaN is no test."""
    p = np.array([0.04, math.nan, 0.01, 0.03, 0.05, 0.02])
    assert holm(p) == pytest.approx([0.09, math.nan, 0.05, 0.09, 0.09, 0.08], nan_ok=True)
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float], level: float) -> None:
    """The procedure as Holm states it: smallest first, until one is above level / (tests left)."""
    rejected = set()
    for done, k in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[k] * (len(p) - done) > level:
            break
        rejected.add(k)
    assert {k for k, one in enumerate(holm(p)) if one <= level} == rejected
