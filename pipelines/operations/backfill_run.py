"""The runs of a backfill, by Dagster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
from rich.console import Console

from pipelines.assets.materialize import CURRENT_TAG, KEEP, RETRAIN, SERVED_TAG
from pipelines.build import build_definitions
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import RUN_TAG
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.backfill_plan import Backfill
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.mend import mend_files
from pipelines.operations.runs import Runs, waiting_line
from pipelines.operations.serving_notice import make_served_page
from pipelines.operations.warm_up import mark_warm_up
from pipelines.staleness.causes import why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.survey import Work


def run_compared(
    backfill: Backfill,
    console: Console,
    compared: tuple[Work | None, list[str]] | None,
    defs: dg.Definitions | None = None,
) -> Work | None:
    """Make what is left of a backfill, in one run or, where stages begin within it, in several.

    Args:
        backfill: the backfill.
        console: shows progress.
        compared: its comparison, which a person was told; None to make and tell it here.
        defs: the market's definitions, if they are made.

    Returns:
        The work that was run; None if nothing was left.

    Raises:
        RunFailedError: a step failed; sessions that were finished before it are kept.
    """
    market, stages, selection = backfill.market, backfill.stages, backfill.selection
    with dagster_instance(market) as instance:
        # Runs of processes that are gone would count as work in progress.
        sweep(market, instance, console)
        if compared is None:
            say(console, *mend_files(market, stages))
        mark_warm_up(market, stages, instance)
        if compared is None:
            compared = backfill.compare(instance)
            say(console, *compared[1])
        work = compared[0]
        if work is not None:
            tags = {CURRENT_TAG: RETRAIN if backfill.force else KEEP, RUN_TAG: "backfill"} | (
                {} if backfill.republish else {SERVED_TAG: KEEP}
            )
            defs = defs or build_definitions(market, stages)
            runs, started = Runs(market, stages, defs, instance, tags), time.time()
            with LiveProgress(console).shown():
                # A run has one range, so stages that begin later have a run of their own.
                for part in _runs(selection, work):
                    runs.run(part)
            lines = [waiting_line(runs.waits)] if runs.waits else []
            names = {stage.name for stage in selection}
            if any(s.kind is Kind.REPORT and s.name not in names for s in stages):
                lines += stale_reports_line(market, stages)
            say(console, *lines)
            make_served_page(market, stages, instance, console, since=started)
            runs.finish()
    return work


def stale_reports_line(market: Market, stages: Sequence[Stage]) -> list[str]:
    """Name the reports that were made from something else than what is stored; none, no line."""
    now = StoredVersions(market, stages)
    stale = [
        stage.name
        for stage in stages
        if stage.kind is Kind.REPORT
        and stage.is_compared
        and now.table(stage.name).info(WHOLE) is not None
        and why_not_current(stage, WHOLE, now) is not None
    ]
    if not stale:
        return []
    last = market.last_closed()
    again = market.command(f"backfill --start {last} --end {last} --select {','.join(stale)}")
    return [f"{' and '.join(stale)} show what was there before; `{again}` makes them again"]


def _runs(stages: Sequence[Stage], work: Work) -> list[Work]:
    """The runs of the work: stages that begin inside its range have a run of their own.

    Reports, which read all other stages, are made in the last run.
    """
    begins: dict[str, list[str]] = {}
    for stage in (stage for stage in stages if stage.name in work.assets):
        last = max(begins, default=work.first)
        first = last if stage.kind is Kind.REPORT else max(stage.first or work.first, work.first)
        begins.setdefault(first, []).append(stage.name)
    return [replace(work, assets=tuple(part), first=f) for f, part in sorted(begins.items())]
