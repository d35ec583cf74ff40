"""Execution of one session's orders: a pure step from one state of a book to the next.

A backtest is a fold over this step: the state after session D - 1, the orders that were decided
then, and the prices and refusals of D give the state after D, the figures of D and what was traded
or refused. The state is made of plain values that survive JSON and Parquet to the last bit, so a
book that is carried from day to day equals one that is run over the whole range.

Sales come first, then short sales, covers and purchases, each in the order of the orders, so that
what is paid for sees the proceeds. A purchase gets an equal share of the cash before the purchases:
cash * risk_degree / share_of, where `share_of` counts all purchases of the session: the share of
one that is refused stays cash (qlib: backtest/exchange.py, backtest/account.py,
contrib/strategy/signal_strategy.py). An order with an `amount` trades that many adjusted shares
instead: purchases and covers as far as the cash goes, short sales and purchases of a book with
short positions as far as `max_gross` goes. What is short costs `borrow_rate` a year, charged each
session on its worth at the close before.

Shapes: `N` instruments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.account import SessionPrices
from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.book import QLIB_ACCOUNT, SMALLEST_TRADE, Book, Extra, Fill
from rnn_core.evaluation.portfolio_config import PortfolioConfig

Side: TypeAlias = Literal["buy", "sell", "short", "cover"]
IN_TURN: tuple[Side, ...] = ("sell", "short", "cover", "buy")
"""The sides in the order of execution."""
SALES: tuple[Side, ...] = ("sell", "short")
"""The sides that an exchange takes for a sale, in costs and refusals."""
SUSPENDED, AT_LIMIT = "suspended", "price limit"
REFUSED = (SUSPENDED, AT_LIMIT)
"""Reasons for which an exchange takes no order; those of a book stand below."""
TOO_LITTLE, OTHER_SIDE = "too little cash or value", "still held on the other side"
OVER_GROSS = "limit of the gross exposure"


@dataclass(frozen=True)
class Order:
    """An order for the session after the one whose scores decided it.

    Attributes:
        instrument: the name.
        side: `sell` reduces or closes a position, `buy` opens or increases one; `short` and `cover`
            do so below zero: `short` sells what is borrowed, `cover` buys it back.
        reason: why, in a word: `entered`, `dropped`, `rebalanced`.
        rank: place of its score among all of the session, 1 for the best; None without a score.
        share_of: of a purchase, the purchases that share the cash; 0 of others.
        risk_degree: of a purchase, the share of the cash after sales that all of them may use.
        amount: adjusted shares to trade whatever the price is, above 0; None to sell or cover the
            whole position, or to buy for a share of the cash.
        target: weight of the account at the close of the decision, which `decide` turns into an
            amount; negative of a short position. None for one of the other sizes.

    Raises:
        ValueError: another side.

    Examples:
        >>> Order("A", "buy", reason="entered", rank=1, share_of=1, risk_degree=0.95).side
        'buy'
    """

    instrument: str
    side: Side
    reason: str = ""
    rank: int | None = None
    share_of: int = 0
    risk_degree: float = 0.0
    amount: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        if self.side not in IN_TURN:
            raise ValueError(
                f"the order of {self.instrument} has side {self.side!r}, "
                f"expected one of {', '.join(IN_TURN)}"
            )


@dataclass(frozen=True)
class Trade:
    """The outcome of an order.

    Attributes:
        order: the order.
        amount: adjusted shares traded; 0 of an order that was not filled.
        price: price at which it was filled, adjusted; NaN if it was not.
        value: amount * price, in currency.
        cost: in currency.
        refusal: why it was not filled: `suspended`, `price limit`, `too little cash or value`,
            `still held on the other side` or `limit of the gross exposure`; empty if it was.
        at_close: True of a purchase or cover that was filled at the close because the deal price is
            absent.
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
        amounts: adjusted shares of each, negative of a short position.
        prices: latest adjusted price of each.
        ages: sessions that each has been held, the one that opened it included.

    Examples:
        >>> BookState(cash=1e6, account=1e6).instruments
        ()
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
        orders: the orders that were decided then, in the order of `IN_TURN`.
        prices: prices and refusals of the session; its names include those held and ordered.
        config: costs, lots, limits and semantics.

    Raises:
        ValueError: a name that is held or ordered is not among those of the prices, a sale of a
            name that is not held, or short positions have cost all that the account was worth.

    Examples:
        >>> order = Order("A", "buy", share_of=1, risk_degree=0.95)
        >>> done = execute(empty, [order], prices, config)
        >>> done.state.instruments, done.state.cash < 1e6
        (('A',), True)
    """
    book = _book(state, prices, config)
    last, traded, paid = state.account, book.traded, book.paid
    if config.borrow_rate:
        book.borrow(config.borrow_rate / config.periods_per_year)
    trades = _trade(book, orders, prices, config)
    book.close_session(prices.close)
    value = book.value()
    account = value + book.cash
    if account <= 0 and (book.amount < 0).any():
        raise ValueError(
            f"the account is worth {account:,.2f} after losses of its short positions; lower the "
            f"gross exposure of the strategy, or open a new book"
        )
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

    Examples:
        >>> order = Order("A", "buy", share_of=1, risk_degree=0.95)
        >>> expected(empty, [order], prices, config).state.instruments
        ('A',)
    """
    close = prices.close.copy()
    for name, price in zip(state.instruments, state.prices, strict=True):
        close[position_of(prices, name)] = price
    priced = ~np.isnan(close)
    at_close = replace(
        prices, close=close, deal=close, can_buy=priced, can_sell=priced,
        filled_at_close=np.zeros_like(priced),
    )  # fmt: skip
    # Another night's borrowing is no part of the estimate.
    return execute(state, orders, at_close, replace(config, borrow_rate=0.0))


def held_arrays(
    state: BookState, prices: SessionPrices
) -> tuple[NDArray[np.intp], FloatArray, NDArray[np.int64]]:
    """The positions [K] of the names held among the prices' names, their worth and their ages."""
    at = np.array([position_of(prices, name) for name in state.instruments], dtype=np.intp)
    worth = np.array(state.amounts) * np.array(state.prices)
    return at, worth, np.array(state.ages, dtype=np.int64)


def _book(state: BookState, prices: SessionPrices, config: PortfolioConfig) -> Book:
    """The book as arrays over the names of the prices."""
    qlib = config.semantics == "qlib"
    scale = 1.0 if qlib else config.account / QLIB_ACCOUNT
    book = Book.empty(
        len(prices.instruments),
        cash=state.cash,
        open_cost=config.open_cost,
        close_cost=config.close_cost,
        min_cost=config.min_cost,
        smallest_trade=SMALLEST_TRADE * scale,
        overspends=qlib,
    )
    book.traded, book.paid = state.traded, state.paid
    at, _, ages = held_arrays(state, prices)
    book.held[at], book.age[at] = True, ages
    book.amount[at], book.price[at] = state.amounts, state.prices
    return book


def position_of(prices: SessionPrices, name: str) -> int:
    """The position of a name among those of the prices.

    Raises:
        ValueError: it is none of them.
    """
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
    """Execute the orders, a side after the other."""
    trades: list[Trade] = []
    for side in IN_TURN:
        cash = book.cash  # all purchases share what the other sides have left
        own = (order for order in orders if order.side == side)
        trades.extend(_execute(book, order, prices, config, cash) for order in own)
    return tuple(trades)


def _execute(
    book: Book, order: Order, prices: SessionPrices, config: PortfolioConfig, cash: float
) -> Trade:
    """Execute one order.

    Args:
        book: which changes.
        order: the order.
        prices: of the session.
        config: lots, limits and semantics.
        cash: before the first order of its side.
    """
    i, side = position_of(prices, order.instrument), order.side
    held, name = float(book.amount[i]), order.instrument
    if side == "sell" and not held > 0:
        raise ValueError(f"{name} is to be sold, and the book does not hold it")
    if side == "cover" and not held < 0:
        raise ValueError(f"{name} is to be covered, and the book is not short of it")
    if not (prices.can_sell[i] if side in SALES else prices.can_buy[i]):
        return Trade(order, refusal=SUSPENDED if np.isnan(prices.close[i]) else AT_LIMIT)
    if (side == "buy" and held < 0) or (side == "short" and held > 0):
        return Trade(order, refusal=OTHER_SIDE)
    price = float(prices.deal[i])
    factor = 1.0 if prices.factor is None else float(prices.factor[i])
    # In an estimate a suspended name has no factor: its shares are cut when it trades.
    lot = None if np.isnan(factor) else config.lot
    extra = _extra_cost(prices, config, i)
    fill: Fill | None
    if side in ("sell", "cover"):
        close = book.sell if side == "sell" else book.cover
        fill = close(i, price, order.amount, factor=factor, lot=lot, extra=extra)
    else:
        wished, room = order.amount, math.inf
        if wished is None:
            wished = cash * order.risk_degree / order.share_of / price
        if side == "short" or (book.amount < 0).any():
            room = book.room(config.max_gross)
            if room <= 0:
                return Trade(order, refusal=OVER_GROSS)
        add = book.buy if side == "buy" else book.short
        fill = add(i, wished, price, factor=factor, lot=lot, room=room, extra=extra)
    if fill is None:
        return Trade(order, refusal=TOO_LITTLE)
    at_close = side not in SALES and bool(prices.filled_at_close[i])
    return Trade(order, fill.amount, price, fill.value, fill.cost, at_close=at_close)


def _extra_cost(prices: SessionPrices, config: PortfolioConfig, at: int) -> Extra | None:
    """The cost of spread and impact of a name, as a function of the value traded."""
    if config.impact is None:
        return None
    if prices.liquidity is None:
        raise ValueError(
            "impact needs the traded values of the sessions before: bars with a column `amount` "
            "(currency), or impact=None"
        )
    volatility, usual = prices.liquidity.figures(at)
    return partial(config.impact.rate, volatility=volatility, usual_value=usual)
