"""Stages of the two reports, over every session of every model.

A report is compared like any other stage: it is made from all stored bars, predictions and
evaluations, whose digests its record names (`reports/report_record.py`). Features and labels
enter through the predictions and evaluations that were made from them. Before there is anything to
report it is made without tables, and its record says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.assets.pictures import markdown, path_metadata, picture_metadata
from pipelines.errors import NothingToReportError
from pipelines.market.books import book_stages
from pipelines.market.extra_table import stored_versions
from pipelines.market.input_versions import report_inputs
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Run, Stage, by_model
from pipelines.reports.portfolio_report import portfolio_report
from pipelines.reports.report_record import read_record, write_record
from pipelines.reports.report_tables import PORTFOLIO_TABLE, SIGNAL_TABLE, Report, shown_table
from pipelines.reports.signal_report import signal_report

CODE_VERSION = "3"


def signal_report_stage(market: Market, stages: Sequence[Stage]) -> Stage:
    """The stage `signal_report`.

    Args:
        market: the market.
        stages: the stages upstream of the report.
    """

    group = market.config.evaluation.by_group

    def make(run: Run) -> Report:
        served = {model: run.served(model) for model in by_model(stages, Kind.PREDICTION)}
        return signal_report(run.market, stages, served)

    return _report_stage(
        market,
        "signal_report",
        make,
        after=[*_named(stages, Kind.EVALUATION), *_books(stages)],
        reads=[*_named(stages, Kind.PREDICTION, Kind.EVALUATION), *_books(stages)],
        config={
            "quantiles": market.config.evaluation.quantiles,
            "portfolio": market.config.portfolio.identity,
            **({} if group is None else {"by_group": group}),
        },
        columns=() if group is None else (group,),
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
    books = _books(stages)
    return _report_stage(
        market,
        "portfolio_report",
        lambda run: portfolio_report(run.market, stages),
        after=[*_named(stages, Kind.PREDICTION), *books],
        reads=[*_named(stages, Kind.PREDICTION), *books],
        config={"portfolio": settings.identity},
        description=(
            f"The portfolio of each model, as its partitions hold it ({settings.words}), after "
            f"costs of {settings.open_cost:.2%} to buy and {settings.close_cost:.2%} to sell, "
            f"against the equally weighted members."
        ),
    )


def _named(stages: Sequence[Stage], *kinds: Kind) -> list[str]:
    """The stages of some kinds that belong to a model."""
    return [stage.name for kind in kinds for stage in by_model(stages, kind).values()]


def _books(stages: Sequence[Stage]) -> list[str]:
    """The stages of the models' portfolios."""
    return [stage.name for stage in book_stages(stages).values()]


def _report_stage(
    market: Market,
    name: str,
    make: Callable[[Run], Report],
    *,
    after: Sequence[str],
    reads: Sequence[str],
    config: Mapping[str, Any],
    description: str,
    columns: Sequence[str] = (),
) -> Stage:
    """The stage of a report over the bars and some partitions of every model.

    Args:
        market: the market.
        name: name of the report.
        make: makes it.
        after: the stages that it is drawn after.
        reads: the stages that it is made from.
        config: the configuration that decides its figures.
        description: for the UI.
        columns: the columns beside the bars that it is made from.
    """
    titles = {SIGNAL_TABLE: "models", PORTFOLIO_TABLE: "models"}  # the table by model comes first
    tables_read = ("ohlcv", *reads)

    def publish(run: Run) -> None:
        warehouse = run.market.warehouse
        # The versions are taken first: what changes while the report is made makes it stale.
        versions = {
            table: warehouse.digests(table, warehouse.sessions(table), needed_by=name)
            for table in tables_read
        }
        versions |= stored_versions(run.market, columns, sorted(versions["ohlcv"]), name)
        try:
            report, status = make(run), "ok"
        except NothingToReportError as error:
            report, status = Report({}, {}, [str(error)]), str(error)
        record = write_record(run.market, run.provenance(WHOLE, versions, status), report.files)
        for line in report.notes:
            run.log.info(line)
        tables = {}
        for file, table in report.tables.items():
            title = titles.get(file, file.removesuffix(".csv"))
            shown_as = f"{title}_table" if title in report.pictures else title
            tables[shown_as] = markdown(shown_table(file, table, report.remarks.get(file, ())))
        folder = path_metadata(run.market.reports.url())
        pictures = picture_metadata(report.pictures)
        run.publish(record.digest, status=status, **tables, **pictures, folder=folder)

    return Stage(
        name=name,
        kind=Kind.REPORT,
        group="evaluation",
        deps=("ohlcv", *after),
        first=market.plan.first_trained,
        code_version=CODE_VERSION,
        config=config,
        inputs=lambda key, versions: report_inputs(tables_read, columns, versions),
        recorded=lambda market: read_record(market, name),
        make=publish,
        description=description,
        kinds=("python", "matplotlib"),
    )
