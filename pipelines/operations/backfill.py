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
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
from rich.console import Console

from pipelines.assets.materialize import CURRENT_TAG, KEEP, RETRAIN, SERVED_TAG
from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.errors import PipelineError, did_you_mean
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import RUN_TAG, stage_of
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.mend import mend_files
from pipelines.operations.runs import Runs, keys_by_stage, waiting_line
from pipelines.operations.serving_notice import make_served_page
from pipelines.operations.warm_up import mark_warm_up
from pipelines.staleness.causes import Cause, why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey, Work, survey
from pipelines.staleness.verified_record import VerifiedRecord
from pipelines.warehouse.identity import DamagedFileError

_BARE = re.compile(
    r"""(?P<up>\d*\+|)(key:)?(?P<quote>["']?)((?P<market>\w+)/)?(?P<name>[\w*]+)(?P=quote)"""
    r"""(?P<down>\+\d*|)"""
)


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
        defs = build_definitions(market, stages)
        names = selected_assets(defs, select)
    selection = _with_sessions([stage for stage in stages if stage.name in names], sessions)
    assets = tuple(stage.name for stage in selection)
    with dagster_instance(market) as instance:
        # Runs of processes that are gone would count as work in progress.
        sweep(market, instance, console)
        say(console, *mend_files(market, stages))
        mark_warm_up(market, stages, instance)
        served = None if republish else Served(market, stages, instance)
        sessions_by_asset = {
            stage.name: stage.due(sessions) for stage in selection if stage.is_compared
        }
        # Compare before anything runs: a finished backfill starts no run. Files that have not
        # changed since they were verified are not hashed again, as by `status`.
        # A command with assets may be the repair that an error has named, so it hashes them all.
        unchanged = None
        if served is not None and select is None:
            unchanged = VerifiedRecord(market, stages, served).unchanged
        comparison = survey(
            market, stages, instance, sessions_by_asset, served=served, unchanged=unchanged
        )
        work = Work(assets, sessions[0], sessions[-1]) if force else comparison.work(sessions)
        # Stages that are never compared have no versions: each one that was selected is made.
        uncompared = tuple(a for a in assets if a not in comparison.wanted)
        if work is None and uncompared:
            work = Work((), sessions[0], sessions[-1])
        if work is not None and not force:
            work = Work((*work.assets, *uncompared), work.first, work.last)
        say(console, outlook(sessions, comparison, work, force=force))
        if unchanged is not None:
            say(
                console,
                f"files that have not changed since the verification of {unchanged.made} were not "
                f"hashed again; `{market.command('verify')}` hashes everything",
            )
        if work is not None:
            tags = {CURRENT_TAG: RETRAIN if force else KEEP, RUN_TAG: "backfill"} | (
                {} if republish else {SERVED_TAG: KEEP}
            )
            defs = defs or build_definitions(market, stages)
            runs, started = Runs(market, stages, defs, instance, tags), time.time()
            with LiveProgress(console).shown():
                # A run has one range, so stages that begin later have a run of their own.
                for part in _runs(selection, work):
                    runs.run(part)
            lines = [waiting_line(runs.waits)] if runs.waits else []
            if any(s.kind is Kind.REPORT and s.name not in assets for s in stages):
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


def selected_assets(defs: dg.Definitions, text: str) -> tuple[str, ...]:
    """The assets that a selection names, upstream first.

    A selection has terms of Dagster's syntax, separated by commas or spaces; a bare name stands for
    `key:MARKET/NAME`. `+name` adds all assets upstream, `name+` all downstream, `1+name` one layer;
    `gru_*` is every name that begins so, `group:NAME` a group. Assets without partitions are taken
    only if they are named themselves: a `+` never refits the processors.

    Args:
        defs: the market's definitions.
        text: the selection.

    Raises:
        PipelineError: an unknown name, or a term that Dagster does not read.
    """
    graph = defs.resolve_asset_graph()
    keys_by_name = keys_by_stage(defs)
    (own,) = {key.path[0] for key in keys_by_name.values()}
    selection: set[dg.AssetKey] = set()
    for term in re.split(r"[,\s]+", text.strip(", ")):
        bare = _BARE.fullmatch(term)
        name = bare["name"] if bare else ""
        market = (bare and bare["market"]) or own
        if market != own:
            raise PipelineError(f"--select {text!r}: {term!r} is of another market than {own}")
        if bare and "*" not in name and name not in keys_by_name:
            raise PipelineError(
                f"unknown asset {name!r} in --select {text!r}; {did_you_mean(name, keys_by_name)}"
            )
        query = f'{bare["up"]}key:"{own}/{name}"{bare["down"]}' if bare else term
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.BetaWarning)
                keys = dg.AssetSelection.from_string(query).resolve(graph)
        except dg.DagsterError as error:
            raise PipelineError(f"--select {text!r}: cannot read {term!r}: {error}") from error
        selection |= {
            key for key in keys if graph.get(key).is_partitioned or key == keys_by_name.get(name)
        }
    if not selection:
        raise PipelineError(f"--select {text!r} names no asset with partitions")
    return tuple(stage_of(key) for key in graph.toposorted_asset_keys if key in selection)


def outlook(sessions: tuple[str, ...], found: Survey, work: Work | None, *, force: bool) -> str:
    """Say in one line which partitions are skipped and which will run.

    Args:
        sessions: the range that was asked for.
        found: the comparison.
        work: the work that will run.
        force: True if current partitions are made, too.
    """
    range_ = f"{sessions[0]} … {sessions[-1]} ({len(sessions)} sessions)"
    served_count = sum(len(found.served(asset)) for asset in found.wanted)
    served = f"; {served_count} served partitions stay as they are" if served_count else ""
    if force and work is not None:
        return f"{range_}: all of {', '.join(work.assets)} is made again{served}"
    partitioned = [asset for asset in found.wanted if found.wanted[asset] != (WHOLE,)]
    current_count = sum(len(found.wanted[a]) - len(found.reasons[a]) for a in partitioned)
    if work is None:
        return f"{range_}: {current_count} partitions are current{served}; nothing to run"
    unrecorded_counts = {
        a: sum(why.cause == Cause.UNRECORDED for why in found.reasons[a].values())
        for a in found.wanted
    }
    to_make = {a: len(found.left(a)) - unrecorded_counts[a] for a in found.wanted}
    runs = [f"{a} {to_make[a]}" if a in partitioned else a for a in found.wanted if to_make[a]]
    runs += [asset for asset in work.assets if asset not in found.wanted]
    recorded_count = sum(unrecorded_counts.values())
    on_record = f", {recorded_count} put on record" if recorded_count else ""
    return (
        f"{range_}: {current_count} partitions are current and skipped{on_record}{served}; to run: "
        f"{', '.join(runs) or 'nothing more'}"
    )
