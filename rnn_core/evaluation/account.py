"""The market of a portfolio, and its account: prices, refusals, cash and costs.

`Market` turns bars into dense tables that answer in one look-up whether a name can be traded
on a session and at what price; `Book` holds cash and positions and applies the fee rules.
They stand apart from the strategy, because they are the rules of exchange and broker (qlib:
backtest/exchange.py, backtest/position.py, backtest/account.py), the same for any strategy.
Amounts are adjusted shares, fractions unless a lot is given. Lots count shares as
traded, so they need each bar's adjustment factor (adjusted price / price as traded), as in qlib.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.align import FloatArray, by_session_and_name, session_axis, to_table
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.session_labels import session_labels

BoolArray = NDArray[np.bool_]

# An order worth less than this is not executed and costs nothing (qlib: exchange.py deal_order); it
# is in the currency of qlib's account, and in strict semantics a share of the account at hand.
SMALLEST_TRADE = 1e-5
QLIB_ACCOUNT = 1e8
# Added to the shares before they are cut to lots, against round-off (qlib: exchange.py
# round_amount_by_trade_unit).
LOT_SLACK = 0.1
# A deal price at or below this is taken for absent (qlib: exchange.py get_deal_price); in strict
# semantics one at or below 0, because pairs of crypto currencies have prices of 1e-8.
SMALLEST_PRICE = 1e-8


@dataclass(frozen=True, eq=False)
class Market:
    """Dense tables of one market.

    Attributes:
        sessions: the T sessions that have bars, sorted.
        instruments: the N names, sorted; ties between scores are settled in this order.
        close: [T, N] adjusted closes, NaN where suspended.
        deal: [T, N] prices at which orders are filled, the close if the deal price is absent.
        can_buy: [T, N] True if not suspended and not at a limit that refuses a purchase.
        can_sell: [T, N] the same for a sale.
        factor: [T, N] adjusted price / price as traded, where lots need it.
        filled_at_close: [T, N] True where the deal price is absent and the close replaces it.
    """

    sessions: pd.DatetimeIndex
    instruments: pd.Index
    close: FloatArray
    deal: FloatArray
    can_buy: BoolArray
    can_sell: BoolArray
    factor: FloatArray | None
    filled_at_close: BoolArray

    @classmethod
    def from_bars(
        cls,
        bars: pd.DataFrame,
        *,
        deal_price: str = "close",
        limit_threshold: float | None = 0.095,
        forbid_all_trade_at_limit: bool = True,
        lots: bool = False,
        smallest_price: float = 0.0,
        more_names: Iterable[str] = (),
    ) -> Market:
        """Build the tables.

        change_t = close_t / (close of the name's previous bar) - 1; a purchase is refused where
        change >= limit, a sale where change <= -limit, and with `forbid_all_trade_at_limit` both
        at either limit. A name's first bar has no change and no limit.

        Args:
            bars: adjusted bars, one row per (datetime, instrument) as index or as columns.
            deal_price: the column orders are filled at: "close", "open" or "vwap".
            limit_threshold: the limit as a simple return, or None for a market without one.
            forbid_all_trade_at_limit: refuse sales at limit up and purchases at limit down too.
            lots: read the column `factor`.
            smallest_price: a deal price at or below it is absent.
            more_names: names to have in the tables that may be without a bar.

        Raises:
            ValueError: no bars, a missing column, duplicated rows, a close that is not positive, or
                a bar without a positive factor where lots need it.
        """
        # The axes, and the closes, which must be positive.
        bars = as_frame(bars)
        index = bars_index(bars)
        for column in ("close", deal_price):
            if column not in bars.columns:
                raise ValueError(
                    f"bars has no column {column!r}, only {list(bars.columns)}: add it, or choose "
                    "another deal_price"
                )
        sessions, instruments = bars_axes(index)
        if absent_names := set(more_names).difference(instruments):
            instruments = instruments.append(pd.Index(sorted(absent_names))).sort_values()
        close = to_table(bars["close"], index, sessions, instruments)
        if (close <= 0).any():
            row, name = np.argwhere(close <= 0)[0]
            raise ValueError(
                f"bars has a close of {close[row, name]} for {instruments[name]} on "
                f"{sessions[row]:%Y-%m-%d}: expected a positive price, or no row if suspended"
            )
        # The price of orders; the close replaces an absent deal price.
        deal, trading = close, ~np.isnan(close)
        absent = np.zeros_like(trading)
        if deal_price != "close":
            prices = to_table(bars[deal_price], index, sessions, instruments)
            absent = trading & (np.isnan(prices) | (prices <= smallest_price))
            deal = np.where(absent, close, prices)
        factor = _factor(bars, index, sessions, instruments, trading) if lots else None
        # The limits, from the change since the previous bar of a name.
        limit_up = limit_down = np.zeros_like(trading)
        if limit_threshold is not None:
            change = _change(close)
            limit_up, limit_down = change >= limit_threshold, change <= -limit_threshold
        if forbid_all_trade_at_limit:
            limit_up = limit_down = limit_up | limit_down
        return cls(
            sessions,
            instruments,
            close,
            deal,
            trading & ~limit_up,
            trading & ~limit_down,
            factor,
            absent,
        )

    @cached_property
    def position(self) -> dict[str, int]:
        """The place of each name in `instruments`."""
        return {name: i for i, name in enumerate(self.instruments)}

    def at(self, row: int) -> SessionPrices:
        """The prices and refusals of one session.

        Args:
            row: position of the session in `sessions`.
        """
        return SessionPrices(
            self._names,
            self.position,
            self.close[row],
            self.deal[row],
            self.can_buy[row],
            self.can_sell[row],
            None if self.factor is None else self.factor[row],
            self.filled_at_close[row],
        )

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.instruments)


@dataclass(frozen=True, eq=False)
class SessionPrices:
    """Prices and refusals of one session; arrays as in `Market`, of its N names.

    Attributes:
        instruments: the N names, sorted.
        position: the place of each.
        close: [N] adjusted closes, NaN where suspended.
        deal: [N] prices at which orders are filled.
        can_buy: [N] True where a purchase is taken.
        can_sell: [N] True where a sale is taken.
        factor: [N] adjusted price / price as traded, where lots need it.
        filled_at_close: [N] True where the close replaces an absent deal price.
    """

    instruments: Sequence[str]
    position: Mapping[str, int]
    close: FloatArray
    deal: FloatArray
    can_buy: BoolArray
    can_sell: BoolArray
    factor: FloatArray | None
    filled_at_close: BoolArray


def _factor(
    bars: pd.DataFrame,
    index: pd.MultiIndex,
    sessions: pd.DatetimeIndex,
    instruments: pd.Index,
    trading: BoolArray,
) -> FloatArray:
    """Return [T, N] adjusted price / price as traded."""
    if "factor" not in bars.columns:
        raise ValueError(
            f"trade_unit needs the column 'factor' (adjusted price / price as traded), bars has "
            f"only {list(bars.columns)}: add it, or set trade_unit=None for fractions of shares"
        )
    factor = to_table(bars["factor"], index, sessions, instruments)
    errors = trading & ~(factor > 0)
    if errors.any():
        row, name = np.argwhere(errors)[0]
        raise ValueError(
            f"bars has a factor of {factor[row, name]} for {instruments[name]} on "
            f"{sessions[row]:%Y-%m-%d}: expected a positive number on every bar"
        )
    return factor


def bars_index(bars: pd.DataFrame) -> pd.MultiIndex:
    """Read the (datetime, instrument) rows of bars from their index or their columns.

    Raises:
        ValueError: no bars, or neither an index nor columns of that kind.
    """
    if not len(bars):
        raise ValueError("bars is empty, expected one row per (datetime, instrument)")
    date = next((name for name in ("datetime", "date") if name in bars.columns), None)
    if date is not None and "instrument" in bars.columns:
        index: pd.Index = pd.MultiIndex.from_arrays(
            [session_labels(bars[date], f"`{date}` of bars"), bars["instrument"]],
            names=["datetime", "instrument"],
        )
    else:
        index = bars.index
    return by_session_and_name(index, "bars").remove_unused_levels()


def bars_axes(index: pd.MultiIndex) -> tuple[pd.DatetimeIndex, pd.Index]:
    """Return the sorted sessions and instruments of `bars_index`."""
    return session_axis(index.levels[0]), index.levels[1].sort_values()


def _change(close: FloatArray) -> FloatArray:
    """Compute returns [T, N] since a name's previous bar; NaN on its first and if suspended."""
    row = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), 0, row), axis=0)  # (T, N) latest bar
    closes = np.take_along_axis(close, last, axis=0)
    change = np.full_like(close, np.nan)
    change[1:] = close[1:] / closes[:-1] - 1
    return change


def _whole_lots(amount: float, factor: float, lot: int | None) -> float:
    """Cut an amount of adjusted shares to whole lots of shares as traded."""
    if lot is None:
        return amount
    return (amount * factor + LOT_SLACK) // lot * lot / factor


class Fill(NamedTuple):
    """The value of a trade and its cost, in currency."""

    value: float
    cost: float


@dataclass(eq=False)
class Book:
    """Cash and positions of one account.

    Attributes:
        cash: currency.
        amount: [N] adjusted shares held, 0 where none.
        price: [N] latest price of each position: its close, its fill before the first close.
        held: [N] True where there is a position.
        smallest_trade: value up to which an order is not executed.
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
        )

    def sell_all(self, name: int, price: float) -> Fill | None:
        """Close a position: proceeds = value - max(value * close_cost, min_cost).

        Nothing happens if the position is worth next to nothing, or if cash and proceeds
        together would not cover the cost; then the answer is None.
        """
        value = float(self.amount[name]) * price
        cost = max(value * self.close_cost, self.min_cost)
        if value <= self.smallest_trade or self.cash + value < cost:
            return None
        self.amount[name], self.held[name], self.age[name] = 0.0, False, 0
        return self._settle(value - cost, value, cost)

    def buy(
        self, name: int, amount: float, price: float, *, factor: float = 1.0, lot: int | None = None
    ) -> Fill | None:
        """Open a position, cut to what the cash allows after the cost.

        cost = max(value * open_cost, min_cost); with too little cash for value + cost the value is
        the one that spends all of it; with too little for the cost alone nothing happens
        and the answer is None.
        With `lot` the shares as traded, amount * factor, are cut to its multiples before and after.
        """
        value = _whole_lots(amount, factor, lot) * price
        cost = max(value * self.open_cost, self.min_cost)
        if self.cash < cost:
            return None
        if self.cash < value + cost:
            value = _whole_lots(min(self._affordable(), value) / price, factor, lot) * price
            cost = max(value * self.open_cost, self.min_cost)
        if value <= self.smallest_trade:
            return None
        self.amount[name], self.price[name], self.held[name] = value / price, price, True
        return self._settle(-(value + cost), value, cost)

    def _affordable(self) -> float:
        """Return the largest purchase whose value and cost the cash covers."""
        # Below this the least cost binds.
        bound = self.min_cost / self.open_cost + self.min_cost if self.open_cost else math.inf
        if self.cash < bound:
            return self.cash - self.min_cost
        return self.cash / (1 + self.open_cost)

    def _settle(self, flow: float, value: float, cost: float) -> Fill:
        self.cash += flow
        self.traded += value
        self.paid += cost
        return Fill(value, cost)

    def close_session(self, close: FloatArray) -> None:
        """Mark positions to the session's closes [N] (suspended ones keep theirs) and age them."""
        quotes = self.held & ~np.isnan(close)
        self.price[quotes] = close[quotes]
        self.age[self.held] += 1

    def value(self) -> float:
        """Return the worth of all positions at their latest prices."""
        return float(np.sum(self.amount[self.held] * self.price[self.held]))
