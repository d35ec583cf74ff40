"""The portfolio of a model as its partitions hold it, in the form of the library's backtest.

Reports show what the orders came from: the books that the stage `{name}_portfolio` carried from day
to day, with the settings of each day. The figures are those of a backtest over the whole range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.reports.report_data import ReportData
from pipelines.warehouse.portfolio_tables import portfolio_tables

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioResult
    from rnn_core.evaluation.account import Market as Prices

BENCHMARK = "the members at equal weight"


@dataclass(frozen=True)
class StoredBook:
    """The book of a model, if it is complete.

    Attributes:
        result: its figures and positions; None if sessions are missing.
        notes: which are missing, or were traded with other settings.
    """

    result: PortfolioResult | None
    notes: tuple[str, ...] = ()


def stored_book(data: ReportData, stage: Stage, score: pd.Series, prices: Prices) -> StoredBook:
    """Read the book of a model from the first session with a score to the one after the last.

    Args:
        data: the market's data.
        stage: the stage of its portfolio.
        score: the scores of the model.
        prices: the bars that the report reads.
    """
    from rnn_core.evaluation import PortfolioResult
    from rnn_core.evaluation.portfolio import REPORT_COLUMNS, TRADE_COLUMNS
    from rnn_core.evaluation.portfolio_notes import Refusals, portfolio_notes

    market = data.market
    keys = _span(market, stage, score, prices)
    stored_keys = set(market.warehouse.sessions(stage.name))
    missing = [key for key in keys if key not in stored_keys]
    if missing or not keys:
        way = market.command(f"backfill --start {stage.first} --end {(keys or [stage.first])[-1]}")
        gap = f"{len(missing)} sessions, the first {missing[0]}" if missing else "every session"
        return StoredBook(
            None,
            (f"{stage.name} lacks {gap}: the figures are of a backtest; `{way}` makes them",),
        )
    holdings, book, trades, _ = portfolio_tables(str(stage.model))
    read = market.warehouse.read
    rows = read(book.name, keys, needed_by="portfolio_report").frame.set_index("date")
    daily = rows[list(REPORT_COLUMNS)].rename_axis("datetime")
    positions = read(holdings.name, keys, needed_by="portfolio_report").frame
    columns = ["datetime", "instrument", "amount", "price", "weight", "suspended"]
    positions = positions.rename(columns={"date": "datetime"})[columns]
    traded = read(trades.name, keys, needed_by="portfolio_report").frame
    traded = traded.rename(columns={"date": "datetime"})[list(TRADE_COLUMNS)]
    at = prices.sessions.get_indexer(daily.index)
    silent = [int(t) for t, n in zip(at[:-1], rows["scored"], strict=False) if not n]
    counts = rows[["refused_purchases", "refused_sales", "filled_at_close"]].sum()
    refused = Refusals(*(int(count) for count in counts))
    notes = portfolio_notes(prices, at, positions, silent, refused, benchmark=True)
    other = _of_other_settings(market, stage, keys)
    if other:
        notes = (
            *notes,
            f"{len(other)} sessions from {other[0]} to {other[-1]} were traded with other settings "
            f"of the YAML, and stay as they were served",
        )
    config = market.config.portfolio.backtest
    return StoredBook(PortfolioResult(config, daily, positions, notes, BENCHMARK, traded))


def _span(market: Market, stage: Stage, score: pd.Series, prices: Prices) -> tuple[str, ...]:
    """The sessions that the scores are traded on, as the library's backtest chooses them."""
    days = score.index.get_level_values("datetime")
    first = max(f"{days.min():%Y-%m-%d}", str(stage.first))
    last = f"{days.max():%Y-%m-%d}"
    newest = f"{prices.sessions[-1]:%Y-%m-%d}"
    after = market.sessions.between(last, newest)[:2]
    return market.sessions.between(first, after[-1]) if after and first <= after[-1] else ()


def _of_other_settings(market: Market, stage: Stage, keys: tuple[str, ...]) -> list[str]:
    """The sessions whose partition was made with another configuration."""
    infos = ((key, market.warehouse.info(stage.name, key)) for key in keys)
    return [key for key, info in infos if info and info.provenance.config != stage.config_hash]
