"""The account's fee rules and the market's limits, by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import PortfolioConfig, topk_dropout
from rnn_core.evaluation.account import Market
from rnn_core.evaluation.book import Book
from rnn_core.evaluation.impact import Impact
from rnn_core.panel.frames import Semantics


def _book(cash: float, **rules: float) -> Book:
    fees = {"open_cost": 0.001, "close_cost": 0.002, "min_cost": 5.0} | rules
    return Book.empty(2, cash=cash, **fees)


@pytest.mark.parametrize(
    ("cash", "rules", "value", "cost"),
    [
        (1e6, {}, 1e5, 100.0),  # the share
        (1e6, {"min_cost": 500.0}, 1e5, 500.0),  # the least cost
        (1e5, {}, 1e5 / 1.001, 1e5 - 1e5 / 1.001),  # too little cash: all of it is spent
        (105.0, {}, 100.0, 5.0),  # too little cash, and the least cost binds
        (105.0, {"open_cost": 0.0}, 100.0, 5.0),
        (4.0, {}, 0.0, 0.0),  # not even the cost
        (5.0, {}, 0.0, 0.0),  # the cost and nothing else
    ],
)
def test_buy(cash: float, rules: dict[str, float], value: float, cost: float) -> None:
    book = _book(cash, **rules)
    book.buy(1, 1e4, 10.0)
    assert book.traded == pytest.approx(value)
    assert book.paid == pytest.approx(cost)
    assert book.cash == pytest.approx(cash - value - cost, abs=1e-6)
    assert book.held.tolist() == [False, value > 0]
    assert book.value() == pytest.approx(value)


@pytest.mark.parametrize("lot", [None, 100])
@pytest.mark.parametrize("cash", [5.0, 4.0, 0.0, -100.0])
def test_impact_without_cash_for_the_least_cost_buys_nothing(cash: float, lot: int | None) -> None:
    """As without impact, whose square root knows no value below 0."""
    extra = partial(Impact(half_spread_bps=2).rate, volatility=0.02, usual_value=1e7)
    book = _book(cash)
    assert book.buy(0, 100.0, 10.0, lot=lot, extra=extra) is None
    assert book.buy(0, -100.0, 10.0, lot=lot, extra=extra) is None, "a share of cash below 0"
    book.amount[1], book.price[1], book.held[1] = -100.0, 10.0, True
    assert book.cover(1, 10.0, lot=lot, extra=extra) is None
    assert (book.cash, book.traded, book.paid) == (cash, 0.0, 0.0)


@pytest.mark.parametrize(
    ("cash", "price", "min_cost", "bought"),
    [
        (4995.0, 500.0, 0.0, 9),  # 9.98 shares: the tenth would leave a debt of 7.50
        (1004.5, 100.0, 5.0, 9),  # 9.995 shares, and the least cost binds
        (5002.5, 500.0, 0.0, 10),  # to the last unit
        (1005.0, 100.0, 5.0, 10),
    ],
)
def test_lots_are_cut_to_what_the_cash_pays_for(
    cash: float, price: float, min_cost: float, bought: int
) -> None:
    """By hand; qlib's rule, a tenth of a share more, overspends."""
    book = _book(cash, open_cost=0.0005, min_cost=min_cost)
    fill = book.buy(0, 12.0 / 1.3, price * 1.3, factor=1.3, lot=1)
    assert fill is not None
    assert fill.amount * 1.3 == pytest.approx(bought)
    assert book.cash >= -1e-9
    qlib = Book.empty(
        2, cash=cash, open_cost=0.0005, close_cost=0.002, min_cost=min_cost, overspends=True
    )
    qlib.buy(0, 12.0, price, lot=1)
    assert qlib.amount[0] == 10


def test_sell_pays_the_share_or_the_least_cost() -> None:
    book = _book(1e6)
    book.buy(0, 1e4, 10.0)
    cash = book.cash
    book.sell(0, 11.0)
    assert book.cash - cash == pytest.approx(1.1e5 * 0.998)
    assert not book.held.any()
    assert book.value() == 0


def test_sell_refuses_what_the_cash_cannot_pay() -> None:
    """A position worth less than its cost, and no cash: nothing happens."""
    book = _book(0.0)
    book.amount[0], book.price[0], book.held[0] = 1.0, 3.0, True
    book.sell(0, 3.0)
    assert book.held[0]
    assert book.cash == 0
    book.cash = 2.0
    book.sell(0, 3.0)
    assert not book.held[0]
    assert book.cash == 0


def test_close_session_marks_what_traded_and_ages_what_is_held() -> None:
    book = _book(1e6)
    book.buy(0, 10, 10.0)
    book.buy(1, 10, 20.0)
    book.close_session(np.array([12.0, np.nan]))
    assert book.price.tolist() == [12.0, 20.0]
    assert book.age.tolist() == [1, 1]
    book.sell(0, 12.0)
    book.close_session(np.array([13.0, 21.0]))
    assert book.age.tolist() == [0, 2]
    assert book.value() == 210


def test_the_limit_is_judged_by_the_price_of_the_order() -> None:
    """An open at the limit is refused whatever the close, and a close at it refuses no open."""
    days = pd.bdate_range("2024-01-01", periods=2)
    names = ["AT_CLOSE", "AT_OPEN"]
    index = pd.MultiIndex.from_product([days, names], names=["datetime", "instrument"])
    prices = {"open": [10, 10, 10.0, 11.0], "close": [10, 10, 11.0, 10.5]}
    bars = pd.DataFrame(prices, index=index)

    def taken(**options: object) -> list[bool]:
        market = Market.from_bars(bars, limit_threshold=0.095, **options)  # type: ignore[arg-type]
        return market.at(1).can_buy.tolist()

    assert taken(deal_price="open") == [True, False]
    assert taken(deal_price="close") == [False, True]
    assert taken(deal_price="open", limit_on_close=True) == [False, True]
    bars.loc[(days[1], "AT_OPEN"), "open"] = np.nan  # the close replaces it, and is judged
    assert taken(deal_price="open") == [True, True]


@pytest.mark.parametrize(("semantics", "bought"), [("strict", "A"), ("qlib", "B")])
def test_qlibs_limit_stays_that_of_the_close(semantics: Semantics, bought: str) -> None:
    """Name A closes at the limit and opens inside of it, name B the other way."""
    days = pd.bdate_range("2024-01-01", periods=2)
    index = pd.MultiIndex.from_product([days, ["A", "B"]], names=["datetime", "instrument"])
    prices = {"open": [10, 10, 10.0, 11.0], "close": [10, 10, 11.0, 10.5]}
    config = PortfolioConfig(topk=2, n_drop=0, deal_price="open", semantics=semantics)
    result = topk_dropout(pd.Series(1.0, index), pd.DataFrame(prices, index=index), config)
    assert result.positions["instrument"].unique().tolist() == [bought]
