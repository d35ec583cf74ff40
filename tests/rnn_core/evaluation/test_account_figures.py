"""Figures of an account, held against those of quantstats 0.0.86 on the same series, recorded."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    PortfolioResult,
    net_returns,
    performance,
    returns_by_period,
    worst_drawdowns,
)

COST = 0.0002


def account(net: pd.Series, bench: pd.Series | float = np.nan) -> PortfolioResult:
    """A result with these returns after costs of a constant share."""
    worth = (1 + net).cumprod()
    daily = pd.DataFrame(
        {
            "account": worth,
            "return": net + COST,
            "turnover": 0.1,
            "cost": COST,
            "value": 0.9 * worth,
            "cash": 0.1 * worth,
            "bench": bench,
        }
    )
    columns = ["datetime", "instrument", "amount", "price", "weight", "suspended"]
    return PortfolioResult(PortfolioConfig(), daily, pd.DataFrame(columns=columns))


@pytest.fixture(scope="module")
def simulated() -> PortfolioResult:
    rng = np.random.default_rng(11)
    days = pd.bdate_range("2020-01-02", periods=500)
    net = pd.Series(rng.normal(0.0006, 0.011, 500), index=days)
    return account(net, pd.Series(rng.normal(0.0003, 0.009, 500), index=days))


@pytest.mark.parametrize(
    ("figure", "recorded"),
    [
        ("volatility", 0.1694162606784463),
        ("sharpe", 1.4032651667060152),
        ("sortino", 2.103110504044108),
        ("max_drawdown", -0.09122935313318148),
        ("growth", 0.25022371718138436),
        ("calmar", 2.7427983273770935),
        ("beta", 0.02731382660169162),
        ("hit_rate", 0.544),
    ],
)
def test_figures_are_those_of_quantstats(simulated, figure, recorded):
    found = performance(simulated, periods_per_year=252)[figure]
    assert found == pytest.approx(recorded, rel=1e-9)


def test_drawdowns_are_those_of_quantstats(simulated):
    """It names the first session below the high as the start; here the high itself is named."""
    recorded = [
        ("2020-01-30", "2020-03-06", -0.09122935),
        ("2020-11-05", "2020-11-18", -0.08217246),
        ("2021-08-11", "2021-09-15", -0.07909241),
        ("2020-09-14", "2020-10-02", -0.05869971),
        ("2020-07-15", "2020-07-29", -0.05680667),
    ]
    found = worst_drawdowns(simulated)
    days = simulated.daily.index
    for (start, low, depth), row in zip(recorded, found.itertuples(), strict=True):
        assert days[days.get_loc(row.high) + 1] == pd.Timestamp(start)
        assert row.low == pd.Timestamp(low)
        assert row.depth == pytest.approx(depth, abs=1e-8)


def test_months_compound_to_the_whole(simulated):
    net = net_returns(simulated)
    months, years = returns_by_period(simulated), returns_by_period(simulated, "%Y")
    assert months.loc["2020-01", "return"] == pytest.approx(0.029873, abs=1e-6)  # quantstats
    assert years.loc["2020", "return"] == pytest.approx(0.278278, abs=1e-6)
    assert (1 + months["return"]).prod() == pytest.approx((1 + net).prod(), rel=1e-12)
    assert months["sessions"].sum() == len(net)
    assert months["cost"].sum() == pytest.approx(COST * len(net))


def test_a_loss_on_the_first_session_is_a_drawdown():
    days = pd.bdate_range("2020-01-02", periods=4)
    found = worst_drawdowns(account(pd.Series([-0.1, 0.05, -0.02, 0.01], index=days)))
    (row,) = found.itertuples()
    assert pd.isna(row.high)
    assert row.low == days[0]
    assert pd.isna(row.recovered)
    assert row.depth == pytest.approx(-0.1)
    assert row.sessions == 4


def test_a_recovery_is_the_session_that_reaches_the_high_again():
    days = pd.bdate_range("2020-01-02", periods=4)
    found = worst_drawdowns(account(pd.Series([0.1, -0.1, 0.2, 0.0], index=days)))
    (row,) = found.itertuples()
    assert (row.high, row.low, row.recovered) == (days[0], days[1], days[2])
    assert row.sessions == 2


def test_what_is_undefined_is_missing():
    """Without losses there is no downside and no drawdown, without a benchmark no beta."""
    days = pd.bdate_range("2020-01-02", periods=3)
    figures = performance(account(pd.Series([0.01, 0.02, 0.01], index=days)))
    assert math.isnan(figures["sortino"])
    assert math.isnan(figures["calmar"])
    assert math.isnan(figures["beta"])
    assert figures["max_drawdown"] == 0.0
    flat = performance(account(pd.Series([0.0, 0.0], index=days[:2])))
    assert math.isnan(flat["sharpe"])
    assert worst_drawdowns(account(pd.Series([0.01], index=days[:1]))).empty
