"""`backfill`: make the missing and stale partitions of a range of sessions, in one run.

Both ends of the range move inwards to sessions. Before anything runs the market is compared with
what would be made (`staleness.survey`): the run covers the range from the first to the last
partition that is left and the assets that have one, and within it each asset makes its own
(`materialize.py`). So the same command continues a backfill that was stopped, by Ctrl-C or by the
machine, and ends in seconds after a finished one. Sessions whose bars have not arrived wait, and
the sessions before one that cannot be made are made all the same.

Reports follow: those that the range makes stale are made last, and where assets were selected they
are named.

Served partitions stay as they are unless `republish` is given, even under `force`.

While nothing is at work, Dagster's record is compared without Dagster, which is loaded where
something is to be run or recorded (`backfill_run.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.errors import PipelineError
from pipelines.instance.record_reads import record_at_rest
from pipelines.instance.settings import are_settings_kept
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.operations.backfill_plan import Backfill
from pipelines.operations.console import say
from pipelines.operations.mend import mend_files
from pipelines.operations.warm_up import is_warm_up_marked
from pipelines.staleness.survey import Work
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.store import remove_leftovers


def run_backfill(
    market: Market,
    console: Console,
    *,
    start: str,
    end: str,
    select: str | None = None,
    force: bool = False,
    republish: bool = False,
) -> Work | None:
    """Make the missing and stale partitions of a range of sessions.

    Args:
        market: the market.
        console: shows progress.
        start: first day.
        end: last day.
        select: assets, as `selected_assets` reads them; all partitioned ones without it.
        force: make current partitions, too, and train their models anew.
        republish: make served partitions again if they would differ, and keep revisions of them.

    Returns:
        The work that was run; None if nothing was left.

    Raises:
        PipelineError: no closed session in the range, or an unknown asset.
        RunFailedError: a step failed; sessions that were finished before it are kept.
    """
    if start > end:
        raise PipelineError(f"--start {start} is after --end {end}")
    sessions = closed_between(market, start, end)
    calendar_end = market.calendar_end()
    if calendar_end is not None:
        known_to = market.sessions.known_to
        cut = (
            f"the range ends at {sessions[-1]}: " if known_to is not None and known_to < end else ""
        )
        say(console, f"{cut}{calendar_end}")
    stages = stages_of(market)
    defs = None  # a finished backfill needs none
    names = default_assets(market, stages)
    if select is not None:
        from pipelines.build import build_definitions
        from pipelines.operations.selection import selected_assets

        defs = build_definitions(market, stages)
        names = selected_assets(defs, select)
    selection = _with_sessions([stage for stage in stages if stage.name in names], sessions)
    backfill = Backfill(
        market, stages, selection, sessions, select is not None, force=force, republish=republish
    )
    compared = None
    with record_at_rest(market) as record:
        if record is not None:  # there is no run whose process could be gone
            for folder in market.paths.written:
                remove_leftovers(folder, deep=False)
            say(console, *mend_files(market, stages))
            compared = work, lines = backfill.compare(record)
            say(console, *lines)
            is_kept = are_settings_kept(market.paths.dagster)
            if work is None and is_kept and is_warm_up_marked(market, stages, record):
                return None
    from pipelines.operations.backfill_run import run_compared

    return run_compared(backfill, console, compared, defs)


def _with_sessions(stages: Sequence[Stage], sessions: Sequence[str]) -> list[Stage]:
    """The stages that have a session in the range: models begin with a first training.

    Raises:
        PipelineError: no stage has one.
    """
    stages_in_range = [stage for stage in stages if stage.due(sessions)]
    if not stages_in_range:
        first = min(str(stage.first) for stage in stages)
        raise PipelineError(
            f"{', '.join(stage.name for stage in stages)}: no session of the range trains or "
            f"follows a model, the first is {first} (training.first_trained)"
        )
    return stages_in_range


def closed_between(market: Market, start: str, end: str) -> tuple[str, ...]:
    """The closed sessions between two days.

    Raises:
        PipelineError: no session between the days is closed.
    """
    first = market.sessions.at_or_after(start)
    last = min(market.sessions.at_or_before(end), market.last_closed())
    if last < first:
        raise PipelineError(f"no closed session between {start} and {end}")
    return market.sessions.between(first, last)


def default_assets(market: Market, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Every partitioned stage, the reports, and the fitted stages that were never fitted."""
    return tuple(
        s.name
        for s in stages
        if s.tables or (s.kind is Kind.REPORT and s.is_compared) or is_unfitted(market, s)
    )


def is_unfitted(market: Market, stage: Stage) -> bool:
    """True if a stage has a fitted state and none is stored; `refit` repairs a damaged one."""
    try:
        return (
            stage.kind is Kind.FITTED and stage.recorded is not None and not stage.recorded(market)
        )
    except DamagedFileError:
        return False
