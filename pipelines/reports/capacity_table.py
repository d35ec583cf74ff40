"""The capacity of the portfolios: their figures against the size of the account, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.bars.adjustment import load_bars, traded_value
from pipelines.reports.report_data import ReportData

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioResult


def bars_looking_back(data: ReportData) -> pd.DataFrame:
    """The bars with the sessions and columns that the strategy and its costs read besides.

    They begin before the session that precedes the first score; `amount` is the traded value.
    """
    market, settings = data.market, data.market.config.portfolio
    start = market.sessions.window(f"{data.first:%Y-%m-%d}", 2)[0]
    window = market.sessions.window(start, max(settings.window_sessions, 1))
    keys = [key for key in market.warehouse.sessions("ohlcv") if key >= window[0]]
    bars, parts = load_bars(market, keys, "portfolio_report", settings.columns)
    bars["factor"] = parts.frame["adj_factor"].to_numpy()
    bars["amount"] = traded_value(parts.frame)
    return bars.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])


def capacity_curves(
    data: ReportData, results: Mapping[str, PortfolioResult]
) -> dict[str, pd.DataFrame]:
    """The figures of each portfolio against the size of its account."""
    from rnn_core.evaluation import capacity_curve

    periods, bars = data.market.config.portfolio.periods_per_year, bars_looking_back(data)
    return {
        name: capacity_curve(result, bars, periods_per_year=periods)
        for name, result in results.items()
    }


def capacity_words(curves: Mapping[str, pd.DataFrame]) -> str:
    """Say at what account the edge of each portfolio is gone."""
    from rnn_core.evaluation import edge_gone_at
    from rnn_core.evaluation.plots_capacity import gone_words

    words = (f"{name} {gone_words(edge_gone_at(curve))}" for name, curve in curves.items())
    return f"The account at which the excess after costs is gone: {', '.join(words)}"


def capacity_on_page(
    data: ReportData, results: Mapping[str, PortfolioResult]
) -> tuple[dict[str, bytes], list[str]]:
    """The picture of the curves by its name on the page, and their answer; none without impact."""
    from rnn_core.evaluation import plot_capacity, png_bytes

    if data.market.config.portfolio.impact is None or not results:
        return {}, []
    curves = capacity_curves(data, results)
    return {"capacity": png_bytes(plot_capacity(curves))}, [capacity_words(curves)]
