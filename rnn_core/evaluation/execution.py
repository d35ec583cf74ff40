"""Execution of one session's orders: a pure step from one state of a book to the next.

A backtest is a fold over this step: the state after session D - 1, the orders that were decided
then, and the prices and refusals of D give the state after D, the figures of D and what was traded
or refused. The state is made of plain values that survive JSON and Parquet to the last bit, so a
book that is carried from day to day equals one that is run over the whole range.

Sales come first, in the order of the orders, so that purchases see their proceeds. A purchase gets
an equal share of the cash after the sales: cash * risk_degree / share_of, where `share_of` counts
all purchases of the session: the share of one that is refused stays cash. An order with an `amount`
buys that many adjusted shares instead, as far as the cash goes (qlib: backtest/exchange.py,
backtest/account.py, contrib/strategy/signal_strategy.py).

Shapes: `N` instruments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.account import (
    QLIB_ACCOUNT,
    SMALLEST_TRADE,
    Book,
    Fill,
    SessionPrices,
)
from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.portfolio_config import PortfolioConfig

Side: TypeAlias = Literal["buy", "sell"]
SUSPENDED, AT_LIMIT = "suspended", "price limit"
REFUSED = (SUSPENDED, AT_LIMIT)
"""Reasons for which an exchange takes no order; a book that lacks the cash has another one."""


@dataclass(frozen=True)
class Order:
    """An order for the session after the one whose scores decided it.

    Attributes:
        instrument: the name.
        side: `sell` closes the whole position, `buy` opens one.
        reason: why, in a word: `entered`, `dropped`.
        rank: place of its score among all of the session, 1 for the best; None without a score.
        share_of: of a purchase, the purchases that share the cash; 0 of a sale.
        risk_degree: of a purchase, the share of the cash after sales that all of them may use.
        amount: adjusted shares to buy whatever the price is; None to buy for a share of the cash.
    """

    instrument: str
    side: Side
    reason: str = ""
    rank: int | None = None
    share_of: int = 0
    risk_degree: float = 0.0
    amount: float | None = None


@dataclass(frozen=True)
class Trade:
    """The outcome of an order.

    Attributes:
        order: the order.
        amount: adjusted shares traded; 0 of an order that was not filled.
        price: price at which it was filled, adjusted; NaN if it was not.
        value: amount * price, in currency.
        cost: in currency.
        refusal: why it was not filled: `suspended`, `price limit` or `too little cash or value`;
            empty if it was.
        at_close: True if it was filled at the close because the deal price is absent.
    """

    order: Order
    amount: float = 0.0
    price: float = float("nan")
    value: float = 0.0
    cost: float = 0.0
    refusal: str = ""
    at_close: bool = False


@dataclass(frozen=True)
class BookState:
    """A book after a close, in plain values.

    Attributes:
        cash: currency.
        account: worth at the close, the base of the next session's figures.
        traded: value bought and sold since the book was opened.
        paid: costs since then.
        instruments: names held, sorted.
        amounts: adjusted shares of each.
        prices: latest adjusted price of each.
        ages: sessions that each has been held, the one that bought it included.
    """

    cash: float
    account: float
    traded: float = 0.0
    paid: float = 0.0
    instruments: tuple[str, ...] = ()
    amounts: tuple[float, ...] = ()
    prices: tuple[float, ...] = ()
    ages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # JSON gives lists back.
        for name in ("instruments", "amounts", "prices", "ages"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @classmethod
    def opened(cls, account: float) -> BookState:
        """A book of cash alone."""
        return cls(cash=account, account=account)


@dataclass(frozen=True)
class Figures:
    """The figures of a session, qlib's report columns.

    Attributes:
        account: worth at the close.
        ret: simple return before costs.
        total_turnover: value bought and sold since the book was opened.
        turnover: value bought and sold / last account.
        total_cost: costs since the book was opened.
        cost: costs / last account.
        value: worth of the positions at the close.
        cash: currency.
    """

    account: float
    ret: float
    total_turnover: float
    turnover: float
    total_cost: float
    cost: float
    value: float
    cash: float


@dataclass(frozen=True)
class Executed:
    """The result of a step: the state after the session, its figures, and every order's outcome."""

    state: BookState
    figures: Figures
    trades: tuple[Trade, ...]


def execute(
    state: BookState, orders: Sequence[Order], prices: SessionPrices, config: PortfolioConfig
) -> Executed:
    """Execute the orders of a session and mark the book to its close.

    Args:
        state: the book after the session before.
        orders: the orders that were decided then, sales before purchases.
        prices: prices and refusals of the session; its names include those held and ordered.
        config: costs, lots and semantics.

    Raises:
        ValueError: a name that is held or ordered is not among those of the prices, or a sale of a
            name that is not held.
    """
    book = _book(state, prices, config)
    last, traded, paid = state.account, book.traded, book.paid
    trades = _trade(book, orders, prices, config)
    book.close_session(prices.close)
    value = book.value()
    account = value + book.cash
    cost = book.paid - paid
    figures = Figures(
        account, (account - last + cost) / last, book.traded, (book.traded - traded) / last,
        book.paid, cost / last, value, book.cash,
    )  # fmt: skip
    held = np.flatnonzero(book.held)
    after = BookState(
        book.cash,
        account,
        book.traded,
        book.paid,
        tuple(prices.instruments[i] for i in held.tolist()),
        tuple(book.amount[held].tolist()),
        tuple(book.price[held].tolist()),
        tuple(book.age[held].tolist()),
    )
    return Executed(after, figures, trades)


def expected(
    state: BookState, orders: Sequence[Order], prices: SessionPrices, config: PortfolioConfig
) -> Executed:
    """Execute orders at the close at which they were decided, as if nothing were refused.

    It estimates amounts, proceeds and the weights that the orders aim at. A name without a bar
    trades at its latest price.

    Args:
        state: the book after the session.
        orders: the orders for the next one.
        prices: prices of the session.
        config: costs, lots and semantics.
    """
    close = prices.close.copy()
    for name, price in zip(state.instruments, state.prices, strict=True):
        close[prices.position[name]] = price
    priced = ~np.isnan(close)
    at_close = SessionPrices(
        prices.instruments, prices.position, close, close, priced, priced, prices.factor,
        np.zeros_like(priced),
    )  # fmt: skip
    return execute(state, orders, at_close, config)


def held_arrays(
    state: BookState, prices: SessionPrices
) -> tuple[NDArray[np.intp], FloatArray, NDArray[np.int64]]:
    """The positions [K] of the names held among the prices' names, their worth and their ages."""
    at = np.array([_at(prices, name) for name in state.instruments], dtype=np.intp)
    worth = np.array(state.amounts) * np.array(state.prices)
    return at, worth, np.array(state.ages, dtype=np.int64)


def _book(state: BookState, prices: SessionPrices, config: PortfolioConfig) -> Book:
    """The book as arrays over the names of the prices."""
    scale = 1.0 if config.semantics == "qlib" else config.account / QLIB_ACCOUNT
    book = Book.empty(
        len(prices.instruments),
        cash=state.cash,
        open_cost=config.open_cost,
        close_cost=config.close_cost,
        min_cost=config.min_cost,
        smallest_trade=SMALLEST_TRADE * scale,
    )
    book.traded, book.paid = state.traded, state.paid
    at, _, ages = held_arrays(state, prices)
    book.held[at], book.age[at] = True, ages
    book.amount[at], book.price[at] = state.amounts, state.prices
    return book


def _at(prices: SessionPrices, name: str) -> int:
    try:
        return prices.position[name]
    except KeyError:
        raise ValueError(
            f"{name} is held or ordered, and no name of the prices: pass prices whose instruments "
            "include it, without a close if it is suspended"
        ) from None


def _trade(
    book: Book, orders: Sequence[Order], prices: SessionPrices, config: PortfolioConfig
) -> tuple[Trade, ...]:
    """Execute sales, then purchases."""
    trades: list[Trade] = []
    for order in (order for order in orders if order.side == "sell"):
        i = _at(prices, order.instrument)
        if not book.held[i]:
            raise ValueError(f"{order.instrument} is to be sold, and the book does not hold it")
        if not prices.can_sell[i]:
            trades.append(Trade(order, refusal=_refusal(prices, i)))
            continue
        amount, price = float(book.amount[i]), float(prices.deal[i])
        trades.append(_filled(order, book.sell_all(i, price), amount, price))
    cash = book.cash  # after the sales
    for order in (order for order in orders if order.side == "buy"):
        i = _at(prices, order.instrument)
        if not prices.can_buy[i]:
            trades.append(Trade(order, refusal=_refusal(prices, i)))
            continue
        price = float(prices.deal[i])
        factor = 1.0 if prices.factor is None else float(prices.factor[i])
        wished = order.amount
        if wished is None:
            wished = cash * order.risk_degree / order.share_of / price
        fill = book.buy(i, wished, price, factor=factor, lot=config.lot)
        trade = _filled(order, fill, float(book.amount[i]), price)
        trades.append(replace(trade, at_close=bool(prices.filled_at_close[i])))
    return tuple(trades)


def _filled(order: Order, fill: Fill | None, amount: float, price: float) -> Trade:
    if fill is None:
        return Trade(order, refusal="too little cash or value")
    return Trade(order, amount, price, fill.value, fill.cost)


def _refusal(prices: SessionPrices, at: int) -> str:
    return SUSPENDED if np.isnan(prices.close[at]) else AT_LIMIT
