"""Costs of impact, and figures against the account. Oracles: sums by hand, and whole backtests."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    BookState,
    Impact,
    LongShort,
    Order,
    PortfolioConfig,
    TopkDropout,
    backtest,
    capacity_curve,
    edge_gone_at,
    equal_weight_benchmark,
    execute,
    plot_capacity,
    png_bytes,
)
from rnn_core.evaluation.account import Market

DAYS = pd.bdate_range("2024-01-01", periods=90)
NAMES = [f"N{i:02}" for i in range(20)]
IMPACT = Impact(half_spread_bps=2.0, coefficient=0.8, sessions=20)


def long(table):
    rows = table.stack(future_stack=True)  # noqa: PD013
    return rows.rename_axis(["datetime", "instrument"])


@pytest.fixture(scope="module")
def bars():
    """Twenty names, each with a turnover of some 50 million a session."""
    rng = np.random.default_rng(4)
    moves = rng.normal(0, 0.02, (len(DAYS), len(NAMES)))
    close = pd.DataFrame(20 * np.exp(np.cumsum(moves, axis=0)), DAYS, NAMES)
    amount = pd.DataFrame(rng.lognormal(17.7, 0.3, close.shape), DAYS, NAMES)
    return pd.DataFrame({"close": long(close), "amount": long(amount)})


@pytest.fixture(scope="module")
def signal(bars):
    """Scores that know a part of the move from the next session on."""
    close = bars["close"].unstack()  # noqa: PD010
    ahead = close.shift(-2) / close.shift(-1) - 1
    noise = np.random.default_rng(5).normal(0, 0.06, ahead.shape)
    return long((ahead + noise).iloc[25:-2]).rename("score")


CONFIG = PortfolioConfig(topk=5, n_drop=2, account=1e6, limit_threshold=None, impact=IMPACT)


def test_the_cost_of_a_trade_is_the_formula(bars):
    """By hand: spread and square root of the share of the median, of 20 sessions before."""
    market = Market.from_bars(bars, limit_threshold=None, impact=IMPACT)
    prices, name = market.at(40), NAMES[3]
    config = replace(CONFIG, account=1e8)
    done = execute(BookState.opened(1e8), [Order(name, "buy", amount=1e5)], prices, config)
    (trade,) = done.trades
    own = bars.xs(name, level="instrument")
    sigma = float(own["close"].pct_change().iloc[20:40].std())
    usual = float(own["amount"].iloc[20:40].median())
    value = 1e5 * float(own["close"].iloc[40])
    share = 2e-4 + 0.8 * sigma * math.sqrt(value / usual)
    assert trade.value == pytest.approx(value, rel=1e-12)
    assert trade.cost == pytest.approx(value * (0.0005 + share), rel=1e-12)
    # A purchase of all the cash leaves a little: the rate is that of the whole wish.
    done = execute(BookState.opened(1e6), [Order(name, "buy", amount=1e5)], prices, config)
    assert 0 <= done.state.cash < 0.02 * 1e6
    assert done.trades[0].value + done.trades[0].cost + done.state.cash == pytest.approx(1e6)


def test_the_session_of_the_trade_decides_nothing(bars):
    """Another turnover of the session itself, and of later ones, changes no cost."""
    other = bars.copy()
    other.loc[other.index.get_level_values(0) >= DAYS[40], "amount"] *= 7
    costs = []
    for rows in (bars, other):
        prices = Market.from_bars(rows, limit_threshold=None, impact=IMPACT).at(40)
        order = Order(NAMES[0], "buy", amount=100.0)
        costs.append(execute(BookState.opened(1e6), [order], prices, CONFIG).trades[0].cost)
    assert costs[0] == costs[1]


def test_a_name_without_a_past_pays_the_spread():
    assert IMPACT.rate(1e6, math.nan, math.nan) == 2e-4
    assert IMPACT.rate(1e6, 0.02, 0.0) == 2e-4


@pytest.mark.parametrize("rule", [TopkDropout(5, 2), LongShort(0.2)], ids=["topk", "long_short"])
def test_at_its_own_size_the_curve_is_the_portfolio(bars, signal, rule):
    """Oracle: the mean net return and the Sharpe ratio of the backtest's own report."""
    config = replace(CONFIG, borrow_rate=0.03)
    whole = backtest(signal, bars, rule, config, benchmark=equal_weight_benchmark(bars))
    curve = capacity_curve(whole, bars, accounts=[1e5, 1e6], periods_per_year=250)
    net = whole.daily["return"] - whole.daily["cost"]
    row = curve.loc[1e6]
    assert row["annualized_return"] == pytest.approx(net.mean() * 250, rel=1e-9)
    assert row["sharpe"] == pytest.approx(net.mean() / net.std() * math.sqrt(250), rel=1e-9)
    excess = (net - whole.daily["bench"]).mean() * 250
    assert row["annualized_excess_return"] == pytest.approx(excess, rel=1e-9)
    assert row["annualized_cost"] == pytest.approx(whole.daily["cost"].mean() * 250, rel=1e-9)


def test_other_sizes_are_near_a_backtest_of_that_size(bars, signal):
    """Oracle: the same strategy run with ten times the account."""
    rule, bench = TopkDropout(5, 2), equal_weight_benchmark(bars)
    one = backtest(signal, bars, rule, CONFIG, benchmark=bench)
    ten = backtest(signal, bars, rule, replace(CONFIG, account=1e7), benchmark=bench)
    row = capacity_curve(one, bars, accounts=[1e7], periods_per_year=250).iloc[0]
    net = ten.daily["return"] - ten.daily["cost"]
    assert row["annualized_return"] == pytest.approx(net.mean() * 250, rel=0.03)
    assert row["annualized_cost"] == pytest.approx(ten.daily["cost"].mean() * 250, rel=0.03)


def test_the_edge_ends_where_the_curve_crosses_zero(bars, signal):
    """Oracle: the curve at the account that is named, and counts by hand."""
    whole = backtest(
        signal, bars, TopkDropout(5, 2), CONFIG, benchmark=equal_weight_benchmark(bars)
    )
    accounts = np.geomspace(1e5, 1e11, 25).tolist()
    curve = capacity_curve(whole, bars, accounts=accounts)
    assert curve["sharpe"].iloc[1:].is_monotonic_decreasing
    end = edge_gone_at(curve)
    at = capacity_curve(whole, bars, accounts=[end])["annualized_excess_return"].iloc[0]
    start = curve["annualized_excess_return"].iloc[1]
    assert abs(at) < 0.1 * start, "interpolated"
    table = pd.DataFrame({"annualized_excess_return": [0.2, -0.2]}, index=[1e6, 1e8])
    assert edge_gone_at(table) == pytest.approx(1e7)
    assert edge_gone_at(table.iloc[:1]) != edge_gone_at(table.iloc[:1]), "NaN"
    assert edge_gone_at(table.iloc[1:]) == 0.0
    lonely = table.assign(annualized_return=[0.1, -0.3], annualized_excess_return=np.nan)
    assert edge_gone_at(lonely) == pytest.approx(10**6.5)
    figure = plot_capacity({"gru": curve, "lstm": curve * 0.5})
    assert png_bytes(figure) == png_bytes(plot_capacity({"gru": curve, "lstm": curve * 0.5}))
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend[0] == f"gru {end:.2g}"


def test_what_is_missing_is_named(bars, signal):
    with pytest.raises(ValueError, match="impact needs the column 'amount'"):
        backtest(signal, bars[["close"]], TopkDropout(5, 2), CONFIG)
    plain = backtest(signal, bars, TopkDropout(5, 2), replace(CONFIG, impact=None))
    with pytest.raises(ValueError, match="expected positive amounts"):
        capacity_curve(plain, bars, accounts=[0.0])
    prices = Market.from_bars(bars, limit_threshold=None).at(5)
    with pytest.raises(ValueError, match="needs the traded values of the sessions before"):
        execute(BookState.opened(1e6), [Order("N00", "buy", amount=1.0)], prices, CONFIG)
    for settings in ({"coefficient": -1.0}, {"half_spread_bps": math.inf}, {"sessions": 1}):
        with pytest.raises(ValueError, match=f"impact.{next(iter(settings))}="):
            Impact(**settings)


def test_the_least_costs_of_small_accounts_do_not_end_the_edge():
    """By hand: below zero at 1e4, above at 1e6, below again at 1e8, halfway at 1e7."""
    table = pd.DataFrame(
        {"annualized_excess_return": [-0.3, 0.2, -0.2]}, index=pd.Index([1e4, 1e6, 1e8])
    )
    assert edge_gone_at(table) == pytest.approx(1e7)
    assert edge_gone_at(-table.abs()) == 0.0


def test_accounts_may_be_an_array_and_none_is_an_error(bars, signal):
    """Oracle: the same accounts as a list."""
    whole = backtest(signal, bars, TopkDropout(5, 2), CONFIG)
    accounts = [1e5, 1e6]
    got = capacity_curve(whole, bars, accounts=np.array(accounts))
    pd.testing.assert_frame_equal(got, capacity_curve(whole, bars, accounts=accounts))
    with pytest.raises(ValueError, match=r"accounts=\[\]: expected positive amounts"):
        capacity_curve(whole, bars, accounts=[])


@pytest.mark.parametrize("lost", ["session", "name"])
def test_bars_of_another_time_or_without_a_name_are_an_error(bars, signal, lost):
    """The last session in the table would else stand for one that the bars lack."""
    whole = backtest(signal, bars, TopkDropout(5, 2), CONFIG)
    first = whole.trades[whole.trades["value"] > 0].iloc[0]
    level, value = {"session": (0, first["datetime"]), "name": (1, first["instrument"])}[lost]
    part = bars[bars.index.get_level_values(level) != value]
    place = f"{first['instrument']} on {first['datetime']:%Y-%m-%d}"
    with pytest.raises(ValueError, match=f"bars lack .* trades, the first is {place}"):
        capacity_curve(whole, part)
