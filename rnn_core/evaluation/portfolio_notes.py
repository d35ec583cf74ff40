"""Notes of a backtest: refused orders, sessions without predictions, names that stopped trading.

Each of these changes the figures without leaving a mark in them. A name that is never traded
again, say, keeps its last close for ever, which hides a loss.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import Market
from rnn_core.evaluation.align import IntArray
from rnn_core.evaluation.execution import REFUSED, SALES, Trade

_MOST_NAMED = 5


@dataclass
class Refusals:
    """Orders that did not go as intended, counted during a backtest.

    Attributes:
        purchases: refused, the name suspended or at a limit; covers count as purchases.
        sales: the same; short sales count as sales.
        at_close: purchases filled at the close because the chosen deal price is absent.
    """

    purchases: int = 0
    sales: int = 0
    at_close: int = 0

    def count(self, trades: Iterable[Trade]) -> None:
        """Count those among the outcomes of a session's orders."""
        for trade in trades:
            if trade.refusal in REFUSED:
                self.purchases += trade.order.side not in SALES
                self.sales += trade.order.side in SALES
            self.at_close += trade.at_close


def portfolio_notes(
    market: Market,
    rows: IntArray,
    positions: pd.DataFrame,
    silent: Sequence[int],
    refused: Refusals,
    *,
    benchmark: bool,
) -> tuple[str, ...]:
    """Write sentences about a finished backtest.

    Args:
        market: of the backtest.
        rows: positions of the backtest's sessions in the market's.
        positions: frame of the positions.
        silent: rows of sessions without predictions inside the backtest.
        refused: the refused orders.
        benchmark: True if there was one.

    Returns:
        The sentences.
    """
    # Each sentence is about something that leaves no other mark in the figures.
    notes = []
    if not benchmark:
        notes.append("no benchmark: its return and every excess figure is undefined (NaN)")
    if silent:
        day = market.sessions[silent[0]]
        notes.append(
            f"{_count(len(silent), 'session')} without predictions (first {day:%Y-%m-%d}): nothing "
            "was traded on the next"
        )
    if refused.purchases or refused.sales:
        notes.append(
            f"{_count(refused.purchases, 'purchase')} and {_count(refused.sales, 'sale')} refused: "
            "suspended or at a price limit"
        )
    if refused.at_close:
        notes.append(
            f"{_count(refused.at_close, 'purchase')} filled at the close: the deal price is absent"
        )
    return (*notes, *_stale(market, rows, positions))


def _stale(market: Market, rows: IntArray, positions: pd.DataFrame) -> list[str]:
    """Note the holdings without a bar, and those that never traded again."""
    idle = positions[positions["suspended"]]
    if idle.empty:
        return []
    notes = [
        f"{_count(len(idle), 'holding')} of {len(positions)} (names times sessions) had no bar and "
        "kept the last close"
    ]
    end = int(rows[-1])
    holdings = positions.loc[positions["datetime"] == market.sessions[end], "instrument"]
    names = market.instruments.get_indexer(pd.Index(holdings))
    last = len(market.close) - 1 - np.argmax(~np.isnan(market.close[::-1, names]), axis=0)
    stale_names = [
        (int(at), str(name)) for name, at in zip(holdings, last, strict=True) if at < end
    ]
    if stale_names:
        examples = ", ".join(
            f"{name} since {market.sessions[at]:%Y-%m-%d}"
            for at, name in sorted(stale_names)[:_MOST_NAMED]
        )
        rest = (
            f" and {len(stale_names) - _MOST_NAMED} more" if len(stale_names) > _MOST_NAMED else ""
        )
        notes.append(
            f"{_count(len(stale_names), 'name')} still held at the end without any later bar, "
            f"delisted or suspended, valued at the last close: {examples}{rest}"
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
