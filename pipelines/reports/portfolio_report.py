"""`portfolio_report`: the portfolio of every model, as a table and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.errors import NothingToReportError
from pipelines.market.books import book_stages
from pipelines.market.market import ENSEMBLE, Market
from pipelines.market.stage import Stage
from pipelines.reports.capacity_table import bars_looking_back, capacity_curves, capacity_words
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import CAPACITY_TABLE, PORTFOLIO_TABLE, Report, publish
from pipelines.reports.stored_books import BENCHMARK, stored_book

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioResult


def portfolio_report(market: Market, stages: Sequence[Stage]) -> Report:
    """Show the portfolio of every model and of the rank average of several.

    Args:
        market: the market.
        stages: its stages.

    Raises:
        NothingToReportError: no session has predictions yet.
    """
    from rnn_core.evaluation import (
        plot_capacity,
        plot_concentration,
        plot_portfolio,
        png_bytes,
        portfolio_summary,
    )
    from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS, yearly_note

    data = ReportData(market, stages, "portfolio_report")
    if not data.scores:
        raise NothingToReportError(
            "portfolio_report: no session has predictions yet; materialize the predictions of "
            f"sessions from {market.plan.first_trained} on"
        )
    settings = market.config.portfolio
    results = portfolios(data, stages)
    table = pd.DataFrame(
        {
            name: portfolio_summary(
                result, periods_per_year=settings.periods_per_year, least_sessions=YEAR_SESSIONS
            )
            for name, result in results.items()
        }
    ).T
    table.index.name = "model"
    pictures = {
        "portfolio": png_bytes(plot_portfolio(results)),
        "concentration": png_bytes(plot_concentration(results)),
    }
    tables, more_remarks = {PORTFOLIO_TABLE: table}, {}
    if settings.impact is not None:
        curves = capacity_curves(data, results)
        tables[CAPACITY_TABLE] = pd.concat(curves, names=["model"]).reset_index("account")
        pictures["capacity"] = png_bytes(plot_capacity(curves))
        more_remarks[CAPACITY_TABLE] = [capacity_words(curves)]
    publish(market, tables, pictures)
    sessions, names = int(table["sessions"].max()), int(table["names"].max())
    remarks = [f"{sessions} sessions, {names} names held in all"]
    if note := yearly_note(table):
        remarks = [note] if sessions < YEAR_SESSIONS else [*remarks, note]
    notes = [f"portfolio_report: {sessions} sessions, {settings.words}"]
    notes += data.gaps
    notes += [f"{name}: {note}" for name, result in results.items() for note in result.notes]
    return Report(tables, pictures, notes, {PORTFOLIO_TABLE: remarks, **more_remarks})


def portfolios(data: ReportData, stages: Sequence[Stage]) -> dict[str, PortfolioResult]:
    """The portfolio of every model and, of several of the default label, of their rank average.

    Those with a stage are read from its partitions; the others, and a model whose partitions are
    not complete, are backtested here, with the same figures.

    Args:
        data: the market's data.
        stages: its stages.
    """
    from rnn_core.evaluation import backtest, equal_weight_benchmark
    from rnn_core.evaluation.account import Market as Prices

    settings, signals = data.market.config.portfolio, {n: o.score for n, o in data.scores.items()}
    signals |= {} if data.ensemble is None else {ENSEMBLE: data.ensemble}
    start = data.market.sessions.window(f"{data.first:%Y-%m-%d}", 2)[0]
    bars = data.bars.loc[pd.Timestamp(start) :]
    prices, books = Prices.from_bars(bars, limit_threshold=None), book_stages(stages)
    results, signals_left = {}, dict(signals)
    for name in signals.keys() & books.keys():
        stored = stored_book(data, books[name], signals[name], prices)
        data.gaps += [f"{name}: {note}" for note in stored.notes]
        if stored.result is not None:
            results[name] = stored.result
            del signals_left[name]
    if signals_left:
        members = bars[bars["member"]]
        benchmark = equal_weight_benchmark(members).reindex(sessions_of(bars), fill_value=0.0)
        benchmark = benchmark.rename(BENCHMARK)
        rule, config = settings.rule(), settings.backtest
        if settings.window_sessions or settings.columns:
            bars = bars_looking_back(data)
        for name, signal in signals_left.items():
            results[name] = backtest(signal, bars, rule, config, benchmark=benchmark)
    return {name: results[name] for name in signals}


def sessions_of(bars: pd.DataFrame) -> pd.DatetimeIndex:
    """The sessions of a long frame, in order."""
    return pd.DatetimeIndex(bars.index.get_level_values("datetime").unique()).sort_values()
