"""What a portfolio holds, day by day, and what its reader must be told about it.

What: concentration (Herfindahl index, largest weight, names held), and the notes of a backtest:
sessions without predictions, refused orders, names that no longer trade, an absent benchmark.
Why notes: each of these changes the figures without leaving a mark in them. A name that is never
traded again, say, keeps its last close for ever, which hides a loss.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import Market
from rnn_core.evaluation.align import IntArray

if TYPE_CHECKING:
    from rnn_core.evaluation.portfolio import PortfolioResult

_MOST_NAMED = 5


@dataclass
class Refusals:
    """Orders that did not go as intended, counted during a backtest.

    Attributes:
        purchases: refused, the name suspended or at a limit.
        sales: the same.
        at_close: purchases filled at the close because the chosen deal price is absent.
    """

    purchases: int = 0
    sales: int = 0
    at_close: int = 0


def concentration(result: PortfolioResult) -> pd.DataFrame:
    """How concentrated the portfolio is at each close.

    With v_i the value of position i: herfindahl = Σ (v_i / Σ v)², 1 for a single name and 1 / n for
    n equal ones (Hirschman 1945, Herfindahl 1950); effective = 1 / herfindahl.

    Args:
        result: of `topk_dropout`.

    Returns:
        One row a session of the report: held (names); herfindahl and effective, NaN where nothing
        is held; top_weight (largest position) and invested (all of them), shares of the account;
        suspended (names without a bar that session) and suspended_weight, their share.
    """
    days = pd.DatetimeIndex(result.daily.index)
    positions = result.positions
    row = days.get_indexer(pd.DatetimeIndex(positions["datetime"]))
    weight = positions["weight"].to_numpy(dtype=np.float64)
    idle = positions["suspended"].to_numpy(dtype=bool)
    count = len(days)
    held = np.bincount(row, minlength=count)
    invested = np.bincount(row, weights=weight, minlength=count)
    squares = np.bincount(row, weights=weight**2, minlength=count)
    top = np.zeros(count)
    np.maximum.at(top, row, weight)
    index = np.full(count, np.nan)
    np.divide(squares, invested**2, out=index, where=invested > 0)
    return pd.DataFrame(
        {
            "held": held,
            "herfindahl": index,
            "effective": 1 / index,
            "top_weight": top,
            "invested": invested,
            "suspended": np.bincount(row, weights=idle, minlength=count).astype(np.int64),
            "suspended_weight": np.bincount(row, weights=weight * idle, minlength=count),
        },
        index=days,
    )


def portfolio_notes(
    market: Market,
    rows: IntArray,
    positions: pd.DataFrame,
    silent: Sequence[int],
    refused: Refusals,
    *,
    benchmark: bool,
) -> tuple[str, ...]:
    """Sentences about a finished backtest.

    Args:
        market: its market.
        rows: positions of its sessions in the market's.
        positions: its positions frame.
        silent: rows of sessions without predictions inside the backtest.
        refused: its refused orders.
        benchmark: whether there was one.
    """
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
    """Holdings without a bar, and which of them never traded again."""
    idle = positions[positions["suspended"]]
    if idle.empty:
        return []
    notes = [
        f"{_count(len(idle), 'holding')} of {len(positions)} (names times sessions) had no bar and "
        "kept the last close"
    ]
    end = int(rows[-1])
    held = positions.loc[positions["datetime"] == market.sessions[end], "instrument"]
    names = market.instruments.get_indexer(pd.Index(held))
    last = len(market.close) - 1 - np.argmax(~np.isnan(market.close[::-1, names]), axis=0)
    gone = [(int(at), str(name)) for name, at in zip(held, last, strict=True) if at < end]
    if gone:
        shown = ", ".join(
            f"{name} since {market.sessions[at]:%Y-%m-%d}"
            for at, name in sorted(gone)[:_MOST_NAMED]
        )
        more = f" and {len(gone) - _MOST_NAMED} more" if len(gone) > _MOST_NAMED else ""
        notes.append(
            f"{_count(len(gone), 'name')} still held at the end without any later bar, delisted or "
            f"suspended, valued at the last close: {shown}{more}"
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
