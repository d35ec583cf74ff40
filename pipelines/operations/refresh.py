"""`refresh`: take over bars that the source has restated, and make what is made from them again.

The source is asked again for every session from a day on to the newest stored one. Bars, features,
labels and datasets that come out differently are replaced; all other partitions keep their file.
The range must reach the end: an adjustment factor builds on all sessions before it, so a corrected
split changes every later one. Processors with a fixed fit window are not fitted again: models in
force were trained on features normalised with them (the job `refit` does it, on purpose).

What is fitted or trained by session follows by `backfill` where it was backfilled: models, the
processors of a moving fit window, and all that is made from them. What was served is history, and
stays unless `republish` is given: then each file that changes is kept as a revision first
(`revisions.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import dagster as dg
from rich.console import Console

from pipelines.assets.materialize import ASK, CURRENT_TAG, KEEP
from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.errors import MissingSessionsError
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import RUN_TAG
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage, downstream
from pipelines.operations.backfill import is_unfitted
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.runs import run_assets
from pipelines.operations.serving_notice import make_served_page
from pipelines.staleness.causes import Reason, why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.staleness.status_report import stored_bars
from pipelines.staleness.survey import Survey, survey


def run_refresh(
    market: Market, console: Console, *, since: str, republish: bool = False
) -> tuple[str, ...]:
    """Ask the source again from a day on, and make the partitions that follow from changed bars.

    Args:
        market: the market.
        console: shows progress.
        since: first day.
        republish: make models, predictions and evaluations again too, served ones included.

    Returns:
        The sessions whose bars were restated.

    Raises:
        MissingSessionsError: there are no bars at or after `since` yet.
        RunFailedError: a step failed; sessions that were finished before it are kept.
    """
    first = market.sessions.at_or_after(since)
    stages = stages_of(market)
    bar_keys = {key for s in stages if s.is_source for key in market.warehouse.sessions(s.name)}
    # A day may have been declared closed after its bars were made.
    stored_keys = sorted(key for key in bar_keys if key >= first and key in market.sessions)
    if not stored_keys:
        raise MissingSessionsError(
            f"there are no bars at or after {since} to ask for again; "
            f"`{market.backfill_command()}` makes what is missing"
        )
    sessions = market.sessions.between(first, stored_keys[-1])
    defs, bars_before = build_definitions(market, stages), stored_bars(market, stages, sessions)
    unfitted_names = {stage.name for stage in stages if is_unfitted(market, stage)}
    # Datasets cannot be made before the processors are fitted.
    waiting_names = downstream(stages, unfitted_names)
    left_out = waiting_names | _following(stages)
    data = [s.name for s in stages if s.tables and s.name not in left_out]
    say(console, f"asking the source for {sessions[0]} … {sessions[-1]} ({len(sessions)} sessions)")
    started = time.time()
    with dagster_instance(market) as instance, LiveProgress(console).shown():
        sweep(market, instance, console)
        span = (sessions[0], sessions[-1])
        run_assets(defs, instance, data, span, tags={CURRENT_TAG: ASK, RUN_TAG: "refresh"})
        bars_after = stored_bars(market, stages, sessions)
        restated_keys = tuple(
            key for key in sessions if _is_restated(bars_before.get(key), bars_after.get(key))
        )
        say(console, _restated_line(market, restated_keys))
        _follow(market, stages, instance, console, sessions, republish=republish)
        make_served_page(market, stages, instance, console, since=started)
    # The processors stay as they are, so say that their data changed.
    now = StoredVersions(market, stages)
    for stage in stages:
        if stage.kind is not Kind.FITTED or stage.tables or stage.name in unfitted_names:
            continue
        why = why_not_current(stage, WHOLE, now)
        if why is not None:
            say(console, _processors_line(stage, why))
    return restated_keys


def _is_restated(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> bool:
    """True if bars, or a column that was there before, were made anew from something else."""
    if before is None or after is None:
        return before is not after
    return any(before[name] != after[name] for name in before.keys() & after.keys())


def _following(stages: Sequence[Stage]) -> set[str]:
    """The names of the stages that are fitted or trained by session, and of all downstream."""
    fitted = {s.name for s in stages if s.tables and s.kind in (Kind.FITTED, Kind.MODEL)}
    return fitted | downstream(stages, fitted)


def _follow(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    console: Console,
    sessions: tuple[str, ...],
    *,
    republish: bool,
) -> None:
    """Make what is fitted or trained by session again, or print what is left."""
    sessions_by_asset = {}
    following, now = _following(stages), StoredVersions(market, stages)
    for stage in (s for s in stages if s.is_compared and s.name in following):
        if stage.tables:
            stored_keys = set(market.warehouse.sessions(stage.name))
            sessions_by_asset[stage.name] = [key for key in sessions if key in stored_keys]
        elif stage.recorded is not None and now.table(stage.name).stored:
            sessions_by_asset[stage.name] = [WHOLE]
    served = None if republish else Served(market, stages, instance)
    comparison = survey(market, stages, instance, sessions_by_asset, served=served)
    work = comparison.work(sessions)
    if republish and work is not None:
        defs = build_definitions(market, stages)
        tags = {CURRENT_TAG: KEEP, RUN_TAG: "refresh --republish"}
        run_assets(defs, instance, work.assets, (work.first, work.last), tags=tags)
        return
    say(console, *_left_lines(market, comparison, sessions))


def _left_lines(market: Market, found: Survey, sessions: tuple[str, ...]) -> list[str]:
    partitioned = [asset for asset, keys in found.wanted.items() if keys != (WHOLE,)]
    count = sum(len(found.served(asset)) for asset in partitioned)
    stale = sum(len(found.left(asset)) for asset in partitioned)
    reports = [asset for asset in found.wanted if asset not in partitioned and found.left(asset)]
    lines = []
    if count:
        lines.append(
            f"{count} partitions of models and what follows from them were served and stay as "
            f"they are; --republish makes them again and keeps them as revisions"
        )
    left = [f"{stale} backfilled partitions of models and what follows from them"] if stale else []
    left += reports
    if left:
        again = market.command(f"backfill --start {sessions[0]} --end {sessions[-1]}")
        lines.append(f"{', '.join(left)} are stale now; `{again}` makes them again")
    return lines


def _restated_line(market: Market, restated: tuple[str, ...]) -> str:
    if not restated:
        return "the source gives the bars that were stored"
    blocks = market.sessions.consecutive(restated)
    shown = ", ".join(b[0] if len(b) == 1 else f"{b[0]} … {b[-1]}" for b in blocks[:5])
    more = f" and {len(blocks) - 5} more stretches" if len(blocks) > 5 else ""
    return f"restated by the source: {shown}{more} ({len(restated)} sessions)"


def _processors_line(stage: Stage, why: Reason) -> str:
    return (
        f"the {stage.name} were fitted on what has changed since ({why}); they stay in force until "
        f"the job `refit` fits them again, and every model after it"
    )
