"""`portfolio_report`: TopkDropout on the scores of every model, as a table and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.errors import NothingToReportError
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import PORTFOLIO_TABLE, Report, publish

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioResult


def portfolio_report(market: Market, stages: Sequence[Stage]) -> Report:
    """Backtest TopkDropout on the predictions of every model and of their rank average.

    Args:
        market: the market.
        stages: its stages.

    Raises:
        NothingToReportError: no session has predictions yet.
    """
    from rnn_core.evaluation import plot_concentration, plot_portfolio, png_bytes, portfolio_summary
    from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS, yearly_note

    data = ReportData(market, stages, "portfolio_report")
    if not data.scores:
        raise NothingToReportError(
            "portfolio_report: no session has predictions yet; materialize the predictions of "
            f"sessions from {market.plan.first_trained} on"
        )
    settings = market.config.portfolio
    results = portfolios(data)
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
    tables = {PORTFOLIO_TABLE: table}
    publish(market, tables, pictures)
    sessions, names = int(table["sessions"].max()), int(table["names"].max())
    remarks = [f"{sessions} sessions, {names} names held in all"]
    if note := yearly_note(table):
        remarks = [note] if sessions < YEAR_SESSIONS else [*remarks, note]
    notes = [f"portfolio_report: {sessions} sessions, topk {settings.topk}"]
    notes += [f"{name}: {note}" for name, result in results.items() for note in result.notes]
    return Report(tables, pictures, notes, {PORTFOLIO_TABLE: remarks})


def portfolios(data: ReportData) -> dict[str, PortfolioResult]:
    """TopkDropout of every model and, of several of the default label, of their rank average."""
    from rnn_core.evaluation import (
        equal_weight_benchmark,
        rank_average,
        topk_dropout,
    )

    settings, signals = data.market.config.portfolio, {n: o.score for n, o in data.scores.items()}
    averaged = [signals[name] for name in data.market.ensemble_models if name in signals]
    if len(averaged) > 1:
        mixed = rank_average(averaged)
        signals |= {"ensemble": mixed} if len(mixed) else {}
    start = data.market.sessions.window(f"{data.first:%Y-%m-%d}", 2)[0]
    bars = data.bars.loc[pd.Timestamp(start) :]
    config = settings.backtest
    members = bars[bars["member"]]
    benchmark = equal_weight_benchmark(members).reindex(sessions_of(bars), fill_value=0.0)
    benchmark = benchmark.rename("the members at equal weight")
    return {
        name: topk_dropout(signal, bars, config, benchmark=benchmark)
        for name, signal in signals.items()
    }


def sessions_of(bars: pd.DataFrame) -> pd.DatetimeIndex:
    """The sessions of a long frame, in order."""
    return pd.DatetimeIndex(bars.index.get_level_values("datetime").unique()).sort_values()
