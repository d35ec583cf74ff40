"""Stages of the two reports, over every session of every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from pipelines.assets.pictures import picture_metadata
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Run, Stage, by_model
from pipelines.reports.portfolio_report import portfolio_report
from pipelines.reports.report_tables import PORTFOLIO_TABLE, SIGNAL_TABLE, Report, shown_table
from pipelines.reports.signal_report import signal_report

CODE_VERSION = "2"


def signal_report_stage(market: Market, stages: Sequence[Stage]) -> Stage:
    """The stage `signal_report`.

    Args:
        market: the market.
        stages: the stages upstream of the report.
    """

    def make(run: Run) -> Report:
        served = {model: run.served(model) for model in by_model(stages, Kind.PREDICTION)}
        return signal_report(run.market, stages, served)

    return _report_stage(
        "signal_report",
        make,
        reads=[stage.name for stage in by_model(stages, Kind.EVALUATION).values()],
        description=(
            "All models and their rank average side by side over every evaluated session, against "
            "reversal, momentum and a ridge regression: IC with Newey-West errors, tests of the "
            "differences, quantile returns, decay, turnover, loss curves. The whole page is "
            f"`reports/{market.paths.page.name}` in the data folder."
        ),
    )


def portfolio_report_stage(market: Market, stages: Sequence[Stage]) -> Stage:
    """The stage `portfolio_report`.

    Args:
        market: the market.
        stages: the stages upstream of the report.
    """
    settings = market.config.portfolio
    return _report_stage(
        "portfolio_report",
        lambda run: portfolio_report(run.market, stages),
        reads=[stage.name for stage in by_model(stages, Kind.PREDICTION).values()],
        description=(
            f"TopkDropout of each model: the best {settings.topk} names, at most {settings.n_drop} "
            f"replaced a session, after costs of {settings.open_cost:.2%} to buy and "
            f"{settings.close_cost:.2%} to sell, against the equally weighted members."
        ),
    )


def _report_stage(
    name: str, make: Callable[[Run], Report], *, reads: Sequence[str], description: str
) -> Stage:
    """The stage of a report over one kind of partition of every model."""
    titles = {SIGNAL_TABLE: "models", PORTFOLIO_TABLE: "models"}  # the table by model comes first

    def publish(run: Run) -> None:
        report = make(run)
        for line in report.notes:
            run.log.info(line)
        tables = {}
        for file, table in report.tables.items():
            title = titles.get(file, file.removesuffix(".csv"))
            name = f"{title}_table" if title in report.pictures else title
            tables[name] = dg.MetadataValue.md(
                shown_table(file, table, report.remarks.get(file, ()))
            )
        folder = dg.MetadataValue.path(run.market.paths.reports)
        run.publish(None, **tables, **picture_metadata(report.pictures), folder=folder)

    return Stage(
        name=name,
        kind=Kind.REPORT,
        group="evaluation",
        deps=("ohlcv", *reads),
        code_version=CODE_VERSION,
        make=publish,
        description=description,
        kinds=("python", "matplotlib"),
    )
