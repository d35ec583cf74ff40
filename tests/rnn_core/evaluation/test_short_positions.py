"""Partial sales, additions and short positions. Oracle: accounts worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import BookState, Order, PortfolioConfig, decide, execute, expected
from rnn_core.evaluation.account import Market

DAYS = pd.bdate_range("2024-01-01", periods=6)
FREE = PortfolioConfig(
    account=1000.0, open_cost=0.0, close_cost=0.0, min_cost=0.0, limit_threshold=None
)
FEES = replace(FREE, open_cost=0.001, close_cost=0.002, min_cost=1.0)


def market_of(**closes):
    """A market of some names; None is a session without a bar."""
    table = pd.DataFrame(closes, DAYS[: len(next(iter(closes.values())))], dtype=float)
    rows = table.stack(future_stack=True).dropna()  # noqa: PD013
    return Market.from_bars(
        rows.rename("close").rename_axis(["datetime", "instrument"]).to_frame(),
        limit_threshold=None,
        more_names=closes,
    )


def step(state, orders, prices, config=FREE):
    done = execute(state, orders, prices, config)
    return done.state, done


def test_a_position_is_reduced_and_increased():
    """30 of 50 shares at 10 are sold, then 10 are bought: 300 in, 100 out; the age goes on."""
    prices = market_of(A=[10.0, 10.0]).at(1)
    state = BookState(500.0, 1000.0, instruments=("A",), amounts=(50.0,), prices=(10.0,), ages=(3,))
    state, done = step(state, [Order("A", "sell", amount=30.0)], prices)
    assert (state.cash, state.amounts, state.ages) == (800.0, (20.0,), (4,))
    assert (done.trades[0].amount, done.trades[0].value) == (30.0, 300.0)
    state, done = step(state, [Order("A", "buy", amount=10.0)], prices)
    assert (state.cash, state.amounts, state.ages) == (700.0, (30.0,), (5,))
    assert (done.trades[0].amount, done.figures.turnover) == (10.0, 0.1)
    state, done = step(state, [Order("A", "sell", amount=31.0)], prices)
    assert (state.cash, state.instruments) == (1000.0, ()), "no more than is held is sold"
    assert done.trades[0].amount == 30.0


def test_a_short_sale_gains_what_the_price_loses():
    """20 are sold short at 10 and bought back at 8: 40 are gained, less 1 and 1 of least cost."""
    market = market_of(A=[10.0, 10.0, 8.0])
    state, done = step(
        BookState.opened(1000.0), [Order("A", "short", amount=20.0)], market.at(1), FEES
    )
    assert (state.cash, state.account, state.amounts) == (1199.0, 999.0, (-20.0,))
    assert (done.figures.value, done.figures.ret, done.figures.cost) == (-200.0, 0.0, 0.001)
    state, done = step(state, [Order("A", "cover", amount=5.0)], market.at(2), FEES)
    assert (state.amounts, state.ages) == ((-15.0,), (2,))
    assert state.cash == 1199.0 - 40.0 - 1.0
    state, done = step(state, [Order("A", "cover")], market.at(2), FEES)
    assert (state.cash, state.account, state.instruments) == (1037.0, 1037.0, ())
    assert done.figures.total_turnover == 200.0 + 40.0 + 120.0


def test_what_is_short_costs_the_rate_of_the_night_before():
    """36.5 percent a year of 365 sessions on 200 are 0.20 a session, before anything is traded."""
    config = replace(FREE, borrow_rate=0.365, periods_per_year=365)
    state = BookState(1200.0, 1000.0, 0.0, 0.0, ("A",), (-20.0,), (10.0,), (1,))
    after, done = step(state, [], market_of(A=[10.0, 11.0]).at(1), config)
    assert after.cash == 1199.8
    assert done.figures.cost == pytest.approx(0.0002)
    assert done.figures.ret == pytest.approx(-0.02), "before costs"
    estimate = expected(after, [Order("A", "cover")], market_of(A=[10.0, 11.0]).at(1), config)
    assert estimate.state.cash == 1199.8 - 220.0, "the estimate pays for no second night"


def test_the_gross_exposure_has_a_limit():
    """With 1000 and a limit of 1.5 at most 1500 are sold short; then nothing more is added."""
    config = replace(FREE, max_gross=1.5)
    prices = market_of(A=[10.0], B=[5.0]).at(0)
    _, done = step(
        BookState.opened(1000.0),
        [Order("A", "short", amount=200.0), Order("B", "buy", amount=10.0)],
        prices,
        config,
    )
    assert [trade.value for trade in done.trades] == [1500.0, 0.0]
    assert done.trades[1].refusal == "limit of the gross exposure"


def test_proceeds_of_a_short_sale_pay_for_purchases():
    """130/30: 300 are sold short, 1300 bought."""
    prices = market_of(A=[10.0], B=[5.0]).at(0)
    orders = [Order("B", "buy", amount=260.0), Order("A", "short", amount=30.0)]
    state, _ = step(BookState.opened(1000.0), orders, prices)
    assert state.amounts == (-30.0, 260.0)
    assert (state.cash, state.account) == (0.0, 1000.0)


def test_a_cover_goes_as_far_as_the_cash():
    """550 in cash buy back 55 of 100 at 10; the rest stays short."""
    state = BookState(550.0, 1000.0, 0.0, 0.0, ("A", "B"), (-100.0, 145.0), (10.0, 10.0), (1, 1))
    after, done = step(state, [Order("A", "cover")], market_of(A=[10.0], B=[10.0]).at(0))
    assert after.amounts == (-45.0, 145.0)
    assert (after.cash, done.trades[0].amount) == (0.0, 55.0)


def test_a_position_changes_sides_only_once_it_is_closed():
    """A is sold and sold short on one session; if it is suspended both are refused."""
    market = market_of(A=[10.0, 10.0, None], B=[1.0, 1.0, 1.0])
    state = BookState(0.0, 100.0, instruments=("A",), amounts=(10.0,), prices=(10.0,), ages=(1,))
    orders = [Order("A", "short", amount=10.0), Order("A", "sell")]
    after, done = step(state, orders, market.at(1))
    assert after.amounts == (-10.0,)
    assert [trade.order.side for trade in done.trades] == ["sell", "short"]
    after, done = step(state, orders, market.at(2))
    assert after.amounts == (10.0,)
    assert {trade.refusal for trade in done.trades} == {"suspended"}
    (trade,) = step(state, orders[:1], market.at(1))[1].trades
    assert trade.refusal == "still held on the other side"


def test_partial_trades_are_of_whole_lots_and_odd_lots_can_be_closed():
    """Lots of 100 as traded, factor 2: 130 adjusted are 260 as traded, 200 of which are sold."""
    bars = pd.DataFrame(
        {"close": [10.0], "factor": [2.0]},
        pd.MultiIndex.from_tuples([(DAYS[0], "A")], names=["datetime", "instrument"]),
    )
    prices = Market.from_bars(bars, limit_threshold=None, lots=True).at(0)
    config = replace(FREE, trade_unit=100)
    state = BookState(0.0, 2550.0, 0.0, 0.0, ("A",), (255.0,), (10.0,), (1,))
    after, done = step(state, [Order("A", "sell", amount=130.0)], prices, config)
    assert (done.trades[0].amount, after.amounts) == (100.0, (155.0,))
    after, done = step(after, [Order("A", "sell")], prices, config)
    assert (done.trades[0].amount, after.cash) == (155.0, 2550.0)
    after, done = step(after, [Order("A", "short", amount=130.0)], prices, config)
    assert after.amounts == (-100.0,)
    after, done = step(after, [Order("A", "cover", amount=99.97)], prices, config)
    assert (after.instruments, after.cash) == ((), 2550.0), "rounded up to the whole position"


def test_an_account_that_is_lost_ends_with_words():
    state = BookState(1200.0, 1000.0, 0.0, 0.0, ("A",), (-20.0,), (10.0,), (1,))
    with pytest.raises(ValueError, match=r"worth -1,200.00 after losses of its short positions"):
        execute(state, [], market_of(A=[10.0, 120.0]).at(1), FREE)


def test_a_target_becomes_the_amount_at_the_close():
    """Of 1000 with 10 A at 10: 30 percent are 30 shares, so 20 are bought; of B 5 are short."""

    class Fixed:
        def __init__(self, *orders):
            self._orders = orders

        def orders(self, at):
            return self._orders

    prices = market_of(A=[10.0], B=[20.0], C=[5.0], D=[None]).at(0)
    state = BookState(850.0, 1000.0, 0.0, 0.0, ("A", "C"), (10.0, 10.0), (10.0, 5.0), (1, 1))
    given = Fixed(
        Order("A", "buy", target=0.3), Order("B", "short", target=-0.1),
        Order("C", "sell", target=0.02), Order("D", "buy", target=0.1),
    )  # fmt: skip
    orders = decide(given, state, prices, np.ones(4), np.ones(4, dtype=bool), FREE)
    assert [(o.instrument, o.side, o.amount, o.target) for o in orders] == [
        ("C", "sell", 6.0, None),
        ("B", "short", 5.0, None),
        ("A", "buy", 20.0, None),
    ], "D has no price"
    change = Fixed(Order("C", "sell", target=0.0), Order("C", "short", target=-0.01))
    orders = decide(change, state, prices, np.ones(4), np.ones(4, dtype=bool), FREE)
    assert [(o.side, o.amount) for o in orders] == [("sell", None), ("short", 2.0)]
    assert execute(state, orders, prices, FREE).state.amounts == (10.0, -2.0)


def test_an_order_of_another_side_is_refused():
    with pytest.raises(ValueError, match=r"order of A has side 'long', expected one of sell, sh"):
        Order("A", "long", amount=1.0)


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([Order("A", "cover")], "A is to be covered, and the book is not short of it"),
        ([Order("A", "short", amount=1.0)], "is to be sold short, and the book holds it"),
        ([Order("B", "short")], "B is to be sold short; expected an amount or a target"),
        ([Order("C", "buy", amount=1.0)], "the book is short of it: cover it first"),
        ([Order("B", "buy", amount=-1.0)], "has the amount -1.0 .* expected an amount above 0"),
        ([Order("B", "buy", amount=1.0, target=0.1)], "or a target, or neither"),
        ([Order("B", "buy", target=0.0)], "to buy towards the weight 0.0; expected one above 0"),
        ([Order("B", "short", target=0.1)], "to short towards the weight 0.1; expected one"),
        ([Order("A", "sell", amount=1.0), Order("A", "short", amount=1.0)], "A is ordered twice"),
        ([Order("Z", "buy", target=0.1)], "Z is held or ordered, and no name of the prices"),
    ],
)
def test_orders_that_contradict_the_book_are_refused(orders, said):
    class Fixed:
        def orders(self, at):
            return orders

    prices = market_of(A=[10.0], B=[10.0], C=[10.0]).at(0)
    state = BookState(100.0, 100.0, 0.0, 0.0, ("A", "C"), (1.0, -1.0), (10.0, 10.0), (1, 1))
    with pytest.raises(ValueError, match=said):
        decide(Fixed(), state, prices, np.ones(3), np.ones(3, dtype=bool), FREE)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"borrow_rate": -0.1}, "yearly rate"), ({"max_gross": 0.9}, "1 or more times")],
)
def test_wrong_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        PortfolioConfig(**settings)
