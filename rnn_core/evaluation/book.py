"""The account of a portfolio: cash, positions and the rules of a broker.

`Book` knows four trades. A sale reduces or closes what is held, a purchase opens or increases it;
a short sale opens or increases a negative amount, and a cover reduces or closes that. Each answers
with its value and cost, or with nothing if the book cannot take it (qlib: backtest/position.py,
backtest/account.py, which know whole sales and purchases of what is not held).
Amounts are adjusted shares, fractions unless a lot is given. Lots count shares as
traded, so they need each bar's adjustment factor (adjusted price / price as traded), as in qlib.

The proceeds of a short sale are cash like any other; `room` says how much may be added before
the gross exposure, the sum of |amount| * price, exceeds its limit.

Shapes: `N` instruments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.align import BoolArray, FloatArray

# An order worth less than this is not executed and costs nothing (qlib: exchange.py deal_order); it
# is in the currency of qlib's account, and in strict semantics a share of the account at hand.
SMALLEST_TRADE = 1e-5
QLIB_ACCOUNT = 1e8
# Added to the shares before they are cut to lots, against round-off (qlib: exchange.py
# round_amount_by_trade_unit).
LOT_SLACK = 0.1
# Strict semantics cut what the cash pays for with this share of the shares in its place, since a
# tenth of a share more may leave a debt.
ROUND_OFF = 1e-12

Extra: TypeAlias = Callable[[float], float]
"""The cost of a trade beside its fees, as a share of its value; it never falls with the value."""


def whole_lots(amount: float, factor: float, lot: int | None, slack: float = LOT_SLACK) -> float:
    """Cut an amount of adjusted shares to whole lots of shares as traded."""
    if lot is None:
        return amount
    return (amount * factor + slack) // lot * lot / factor


class Fill(NamedTuple):
    """The value of a trade and its cost, in currency, and its adjusted shares."""

    value: float
    cost: float
    amount: float


@dataclass(eq=False)
class Book:
    """Cash and positions of one account.

    Attributes:
        cash: currency.
        amount: [N] adjusted shares held, below 0 of a short position, 0 where none.
        price: [N] latest price of each position: its close, its fill before the first close.
        held: [N] True where there is a position.
        smallest_trade: value up to which an order is not executed.
        overspends: True of qlib's rule, which cuts what the cash pays for with `LOT_SLACK`, too.
        age: [N] sessions since the position was opened, this one included once it has closed.
        traded: value bought and sold so far.
        paid: costs so far.
    """

    cash: float
    amount: FloatArray
    price: FloatArray
    held: BoolArray
    age: NDArray[np.int64]
    open_cost: float
    close_cost: float
    min_cost: float
    smallest_trade: float
    overspends: bool = False
    traded: float = 0.0
    paid: float = 0.0

    @classmethod
    def empty(
        cls,
        names: int,
        *,
        cash: float,
        open_cost: float,
        close_cost: float,
        min_cost: float,
        smallest_trade: float = SMALLEST_TRADE,
        overspends: bool = False,
    ) -> Book:
        """Open an account of cash alone."""
        return cls(
            cash=cash,
            amount=np.zeros(names),
            price=np.full(names, np.nan),
            held=np.zeros(names, dtype=bool),
            age=np.zeros(names, dtype=np.int64),
            open_cost=open_cost,
            close_cost=close_cost,
            min_cost=min_cost,
            smallest_trade=smallest_trade,
            overspends=overspends,
        )

    def sell(
        self,
        name: int,
        price: float,
        amount: float | None = None,
        *,
        factor: float = 1.0,
        lot: int | None = None,
        extra: Extra | None = None,
    ) -> Fill | None:
        """Reduce or close a position: proceeds = value - max(value * close_cost, min_cost).

        Nothing happens if what is sold is worth next to nothing, or if cash and proceeds
        together would not cover the cost; then the answer is None.

        Args:
            name: the position of the name.
            price: of the trade.
            amount: adjusted shares, cut to whole lots; None, or all that is held, for the whole
                position.
            factor: adjusted price / price as traded.
            lot: shares as traded of a lot.
            extra: more cost.
        """
        held = float(self.amount[name])
        whole = amount is None or amount >= held  # then odd lots go, too
        sold = held if amount is None or whole else min(held, whole_lots(amount, factor, lot))
        value = sold * price
        cost = self._cost(value, self.close_cost, extra)
        if value <= self.smallest_trade or self.cash + value < cost:
            return None
        if sold == held:
            self._forget(name)
        else:
            self.amount[name], self.price[name] = held - sold, price
        return self._settle(value - cost, value, cost, sold)

    def buy(
        self,
        name: int,
        amount: float,
        price: float,
        *,
        factor: float = 1.0,
        lot: int | None = None,
        room: float = math.inf,
        extra: Extra | None = None,
    ) -> Fill | None:
        """Open or increase a position, cut to what the cash allows after the cost.

        cost = max(value * open_cost, min_cost); with too little cash for value + cost the value is
        the one that spends all of it; with too little for the cost alone nothing happens
        and the answer is None.
        With `lot` the shares as traded, amount * factor, are cut to its multiples before and after.

        Args:
            name: the position of the name.
            amount: adjusted shares.
            price: of the trade.
            factor: adjusted price / price as traded.
            lot: shares as traded of a lot.
            room: largest value that the limit of the gross exposure leaves.
            extra: more cost.
        """
        value = whole_lots(amount, factor, lot) * price
        if value > room:
            value = whole_lots(room / price, factor, lot) * price
        fill = self._pay(value, price, factor, lot, extra)
        if fill is not None:
            self.amount[name] += fill.amount
            self.price[name], self.held[name] = price, True
        return fill

    def short(
        self,
        name: int,
        amount: float,
        price: float,
        *,
        factor: float = 1.0,
        lot: int | None = None,
        room: float = math.inf,
        extra: Extra | None = None,
    ) -> Fill | None:
        """Open or increase a short position, cut to the room; a sale in costs and lots.

        Args:
            name: the position of the name.
            amount: adjusted shares, above 0.
            price: of the trade.
            factor: adjusted price / price as traded.
            lot: shares as traded of a lot.
            room: largest value that the limit of the gross exposure leaves.
            extra: more cost.
        """
        sold = whole_lots(min(amount, room / price), factor, lot)
        value = sold * price
        cost = self._cost(value, self.close_cost, extra)
        if value <= self.smallest_trade or self.cash + value < cost:
            return None
        self.amount[name] -= sold
        self.price[name], self.held[name] = price, True
        return self._settle(value - cost, value, cost, sold)

    def cover(
        self,
        name: int,
        price: float,
        amount: float | None = None,
        *,
        factor: float = 1.0,
        lot: int | None = None,
        extra: Extra | None = None,
    ) -> Fill | None:
        """Buy back a short position or a part of it, as far as the cash goes; costs of a purchase.

        Args:
            name: the position of the name.
            price: of the trade.
            amount: adjusted shares; None, or all that is short, for the whole position.
            factor: adjusted price / price as traded.
            lot: shares as traded of a lot.
            extra: more cost.
        """
        owed = -float(self.amount[name])
        whole = amount is None or amount >= owed
        wished = owed if amount is None or whole else min(owed, whole_lots(amount, factor, lot))
        fill = self._pay(wished * price, price, factor, lot, extra)
        if fill is None:
            return None
        if fill.value == owed * price:
            self._forget(name)
            return fill._replace(amount=owed)
        self.amount[name] += fill.amount
        self.price[name] = price
        return fill

    def room(self, limit: float) -> float:
        """The value that may be bought or sold short until gross exposure / account is `limit`."""
        worth = self.amount[self.held] * self.price[self.held]
        return limit * (float(np.sum(worth)) + self.cash) - float(np.sum(np.abs(worth)))

    def borrow(self, rate: float) -> None:
        """Pay for a session's borrowing of what is short: rate * its worth."""
        worth = self.amount[self.held] * self.price[self.held]
        fee = -float(np.sum(worth[worth < 0])) * rate
        self.cash -= fee
        self.paid += fee

    def close_session(self, close: FloatArray) -> None:
        """Mark positions to the session's closes [N] (suspended ones keep theirs) and age them."""
        quotes = self.held & ~np.isnan(close)
        self.price[quotes] = close[quotes]
        self.age[self.held] += 1

    def value(self) -> float:
        """Return the worth of all positions at their latest prices, that of short ones negative."""
        return float(np.sum(self.amount[self.held] * self.price[self.held]))

    def _cost(self, value: float, rate: float, extra: Extra | None) -> float:
        cost = max(value * rate, self.min_cost)
        return cost if extra is None else cost + value * extra(value)

    def _pay(
        self, value: float, price: float, factor: float, lot: int | None, extra: Extra | None
    ) -> Fill | None:
        """Pay for a value, cut to what the cash allows after the cost."""
        if value <= self.smallest_trade:
            return None
        cost = self._cost(value, self.open_cost, extra)
        if self.cash < cost and extra is None:
            return None
        if self.cash < value + cost:
            amount = min(self._affordable(value, extra), value) / price
            slack = LOT_SLACK if self.overspends else amount * factor * ROUND_OFF
            value = whole_lots(amount, factor, lot, slack) * price
            if value <= self.smallest_trade:  # before the cost, which none below 0 has
                return None
            cost = self._cost(value, self.open_cost, extra)
        return self._settle(-(value + cost), value, cost, value / price)

    def _affordable(self, value: float, extra: Extra | None) -> float:
        """Return the largest value that the cash covers with its cost.

        The rate of `extra` is that of the whole value, which a smaller one does not exceed.
        """
        rate = 0.0 if extra is None else extra(value)
        if rate:
            least = (self.cash - self.min_cost) / (1 + rate)
            return min(least, self.cash / (1 + self.open_cost + rate))
        # Below this the least cost binds.
        bound = self.min_cost / self.open_cost + self.min_cost if self.open_cost else math.inf
        if self.cash < bound:
            return self.cash - self.min_cost
        return self.cash / (1 + self.open_cost)

    def _forget(self, name: int) -> None:
        self.amount[name], self.held[name], self.age[name] = 0.0, False, 0

    def _settle(self, flow: float, value: float, cost: float, amount: float) -> Fill:
        self.cash += flow
        self.traded += value
        self.paid += cost
        return Fill(value, cost, amount)
