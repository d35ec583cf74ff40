"""The two reports: models side by side over every session, as tables and pictures.

Each writes its table (`signal.csv`, `portfolio.csv`) and its PNGs into the market's reports
folder, every file moved into place whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.bundles import find_bundle, histories_of
from pipelines.errors import MissingSessionsError
from pipelines.market import Market
from pipelines.store import atomic_write

SIGNAL_TABLE = "signal.csv"
PORTFOLIO_TABLE = "portfolio.csv"


@dataclass(frozen=True)
class Report:
    """A table by model, PNGs by name, and remarks for the log."""

    table: pd.DataFrame
    pictures: dict[str, bytes]
    notes: list[str]


def signal_report(market: Market) -> Report:
    """Summarise the evaluations of every model and draw them.

    Loss curves are those of each model's newest training; the others are with their sessions.

    Raises:
        MissingSessionsError: no session has been evaluated yet.
    """
    from rnn_core.evaluation import (
        plot_ic,
        plot_loss_curves,
        plot_quantile_returns,
        png_bytes,
        summarize_ic,
    )

    evaluations: dict[str, pd.DataFrame] = {}
    histories: dict[str, pd.DataFrame] = {}
    for spec in market.models:
        rows = _rows(market, f"{spec.name}_evaluation", "signal_report")
        if rows is None or rows.empty:
            continue
        evaluations[spec.name] = rows.set_index("date")
        newest = f"{rows['as_of'].max():%Y-%m-%d}"
        bundle = find_bundle(market, spec.name, newest)
        if bundle is not None:
            histories |= histories_of(f"{spec.name} {newest}", bundle)
    if not evaluations:
        raise MissingSessionsError(
            "signal_report: no session has been evaluated yet; materialize the evaluations of "
            f"sessions from {market.plan.first_trained} plus {market.label_lag} sessions on"
        )
    table = pd.DataFrame(
        {name: {**summarize_ic(rows), **seed_figures(rows)} for name, rows in evaluations.items()}
    ).T
    table.index.name = "model"
    pictures = {
        "ic": png_bytes(plot_ic(evaluations)),
        "quantile_returns": png_bytes(plot_quantile_returns(evaluations)),
    }
    if histories:
        pictures["loss_curves"] = png_bytes(plot_loss_curves(histories))
    _publish(market, SIGNAL_TABLE, table, pictures)
    days = {name: int(table.loc[name, "days"]) for name in table.index}
    return Report(table, pictures, [f"signal_report: evaluated sessions {days}"])


def seed_figures(rows: pd.DataFrame) -> dict[str, float]:
    """Mean and standard deviation over the seeds of each network's mean IC and rank IC.

    Sessions are those that have as many networks as the newest one: a model whose `seeds` changed
    is described as it is now.

    Args:
        rows: evaluations with `seed_ic` and `seed_rank_ic`.

    Returns:
        seeds, seed_ic_mean, seed_ic_std, seed_rank_ic_mean, seed_rank_ic_std; the last four are
        NaN where there is one network.
    """
    figures: dict[str, float] = {"seeds": 1}
    for name in ("seed_ic", "seed_rank_ic"):
        known = rows[name].dropna()
        counts = known.map(len)
        if known.empty:
            figures |= {f"{name}_mean": math.nan, f"{name}_std": math.nan}
            continue
        each = np.stack(known[counts == counts.iloc[-1]].to_list())  # [T, K]
        of_seed = np.nanmean(each, axis=0)  # [K]
        figures |= {
            "seeds": each.shape[1],
            f"{name}_mean": float(of_seed.mean()),
            f"{name}_std": float(of_seed.std(ddof=1)),
        }
    return figures


def portfolio_report(market: Market) -> Report:
    """Backtest TopkDropout on the predictions of every model and draw the curves.

    Raises:
        MissingSessionsError: no session has predictions yet.
    """
    from rnn_core.evaluation import (
        PortfolioConfig,
        equal_weight_benchmark,
        plot_portfolio,
        png_bytes,
        portfolio_summary,
        topk_dropout,
    )

    signals = {}
    for spec in market.models:
        rows = _rows(market, f"{spec.name}_prediction", "portfolio_report")
        if rows is not None and not rows.empty:
            signals[spec.name] = rows.set_index(["date", "instrument"])["score"].rename_axis(
                ["datetime", "instrument"]
            )
    if not signals:
        raise MissingSessionsError(
            "portfolio_report: no session has predictions yet; materialize the predictions of "
            f"sessions from {market.plan.first_trained} on"
        )
    first = min(s.index.get_level_values("datetime").min() for s in signals.values())
    start = market.sessions.window(f"{first:%Y-%m-%d}", 2)[0]
    keys = tuple(k for k in market.warehouse.sessions("ohlcv") if k >= start)
    bars, parts = market.load_bars(keys, "portfolio_report")
    bars = bars.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])
    members = bars[parts.frame["member"].to_numpy(dtype=bool)]
    settings = market.config.portfolio
    config = PortfolioConfig(**settings.model_dump(exclude={"periods_per_year"}))
    benchmark = equal_weight_benchmark(members).reindex(sessions_of(bars), fill_value=0.0)
    results = {
        name: topk_dropout(signal, bars, config, benchmark=benchmark)
        for name, signal in signals.items()
    }
    table = pd.DataFrame(
        {
            name: portfolio_summary(result, periods_per_year=settings.periods_per_year)
            for name, result in results.items()
        }
    ).T
    table.index.name = "model"
    pictures = {"portfolio": png_bytes(plot_portfolio(results))}
    _publish(market, PORTFOLIO_TABLE, table, pictures)
    sessions = int(table["sessions"].max())
    return Report(table, pictures, [f"portfolio_report: {sessions} sessions, topk {config.topk}"])


def sessions_of(bars: pd.DataFrame) -> pd.DatetimeIndex:
    """The sessions of a long frame, in order."""
    return pd.DatetimeIndex(bars.index.get_level_values("datetime").unique()).sort_values()


def _rows(market: Market, table: str, needed_by: str) -> pd.DataFrame | None:
    keys = market.warehouse.sessions(table)
    return market.warehouse.read(table, keys, needed_by=needed_by).frame if keys else None


def _publish(market: Market, name: str, table: pd.DataFrame, pictures: dict[str, bytes]) -> None:
    folder = market.paths.reports
    atomic_write(folder / name, table.to_csv().encode())
    for picture, png in pictures.items():
        atomic_write(folder / f"{picture}.png", png)


def read_table(market: Market, name: str) -> pd.DataFrame | None:
    """A report's table from disk, or None where it was not made yet."""
    path = market.paths.reports / name
    return pd.read_csv(path, index_col="model") if path.is_file() else None


def markdown_table(table: pd.DataFrame) -> str:
    """A frame as a Markdown table, figures to four digits."""
    header = ["model", *map(str, table.columns)]
    lines = [_row(header), _row(["---"] * len(header))]
    for name, values in table.iterrows():
        lines.append(_row([str(name), *(_figure(v) for v in values)]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4f}"
