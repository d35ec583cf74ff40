"""The market of a portfolio: prices and refusals of every session.

`Market` turns bars into dense tables that answer in one look-up whether a name can be traded
on a session and at what price. Its rules are the exchange's, the same for any strategy (qlib:
backtest/exchange.py); those of the broker are in `book.py`.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.align import (
    BoolArray,
    FloatArray,
    by_session_and_name,
    session_axis,
    to_table,
)
from rnn_core.evaluation.impact import Impact, Liquidity
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.session_labels import session_labels

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
        liquidity: what the costs of market impact are measured from; None without them.
    """

    sessions: pd.DatetimeIndex
    instruments: pd.Index
    close: FloatArray
    deal: FloatArray
    can_buy: BoolArray
    can_sell: BoolArray
    factor: FloatArray | None
    filled_at_close: BoolArray
    liquidity: Liquidity | None = None

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
        limit_on_close: bool = False,
        more_names: Iterable[str] = (),
        impact: Impact | None = None,
    ) -> Market:
        """Build the tables.

        change_t = deal_t / (close of the name's previous bar) - 1; a purchase is refused where
        change >= limit, a sale where change <= -limit, and with `forbid_all_trade_at_limit` both
        at either limit. A name's first bar has no change and no limit. An order at the open knows
        that session's open, and no close yet; of a vwap, a mean of a session's prices, the rule is
        an approximation.

        Args:
            bars: adjusted bars, one row per (datetime, instrument) as index or as columns.
            deal_price: the column orders are filled at: "close", "open" or "vwap".
            limit_threshold: the limit as a simple return, or None for a market without one.
            forbid_all_trade_at_limit: refuse sales at limit up and purchases at limit down too.
            lots: read the column `factor`.
            smallest_price: a deal price at or below it is absent.
            limit_on_close: change_t = close_t / (that close) - 1 whatever orders are filled at
                (qlib: exchange.py `_update_limit`).
            more_names: names to have in the tables that may be without a bar.
            impact: the cost that reads the column `amount`, traded value in currency.

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
            change = _change(close, close if limit_on_close else deal)
            limit_up, limit_down = change >= limit_threshold, change <= -limit_threshold
        if forbid_all_trade_at_limit:
            limit_up = limit_down = limit_up | limit_down
        liquidity = None
        if impact is not None:
            liquidity = _liquidity(bars, index, close, sessions, instruments, impact)
        return cls(
            sessions,
            instruments,
            close,
            deal,
            trading & ~limit_up,
            trading & ~limit_down,
            factor,
            absent,
            liquidity,
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
            None if self.liquidity is None else self.liquidity.before(row),
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
        liquidity: of the sessions before; None without costs of market impact.
    """

    instruments: Sequence[str]
    position: Mapping[str, int]
    close: FloatArray
    deal: FloatArray
    can_buy: BoolArray
    can_sell: BoolArray
    factor: FloatArray | None
    filled_at_close: BoolArray
    liquidity: Liquidity | None = None


def _liquidity(
    bars: pd.DataFrame,
    index: pd.MultiIndex,
    close: FloatArray,
    sessions: pd.DatetimeIndex,
    instruments: pd.Index,
    impact: Impact,
) -> Liquidity:
    """Returns and traded values of all sessions."""
    if "amount" not in bars.columns:
        raise ValueError(
            f"impact needs the column 'amount' (traded value in currency), bars has only "
            f"{list(bars.columns)}: add it, or set impact=None"
        )
    traded = to_table(bars["amount"], index, sessions, instruments)
    return Liquidity.of(close, traded, impact.sessions)


def columns_of(
    bars: pd.DataFrame, names: Sequence[str], market: Market
) -> dict[str, NDArray[np.object_]]:
    """Columns beside the bars as [T, N] tables of objects, None without a value.

    Args:
        bars: as of `Market.from_bars`.
        names: the columns.
        market: the axes.

    Raises:
        ValueError: a column is missing.
    """
    bars = as_frame(bars)
    index = bars_index(bars)
    rows = market.sessions.get_indexer(index.get_level_values(0))
    at = market.instruments.get_indexer(index.get_level_values(1))
    known, tables = (rows >= 0) & (at >= 0), {}
    for name in names:
        if name not in bars.columns:
            raise ValueError(
                f"the strategy reads the column {name!r}, bars has only {list(bars.columns)}: add "
                f"it, or leave the group out"
            )
        table = np.full((len(market.sessions), len(market.instruments)), None, dtype=object)
        given = bars[name].astype(object)
        values = given.where(given.notna(), None).to_numpy()
        table[rows[known], at[known]] = values[known]
        tables[name] = table
    return tables


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


def _change(close: FloatArray, price: FloatArray) -> FloatArray:
    """Compute returns [T, N] of a price since the close of a name's previous bar, else NaN."""
    row = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), 0, row), axis=0)  # (T, N) latest bar
    closes = np.take_along_axis(close, last, axis=0)
    change = np.full_like(close, np.nan)
    change[1:] = price[1:] / closes[:-1] - 1
    return change
