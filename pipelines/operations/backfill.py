"""`backfill`: a range of sessions in one run, of which only what is not current is made.

The range is the one asked for, both ends moved inwards to sessions. Before anything runs the
market is compared with what would be made (`staleness.survey`): the run then covers the stretch
from the first to the last partition that is left and the assets that have one, and within it each
asset makes its own (`materialize.py`). So a backfill that was stopped, by Ctrl-C or by the machine,
is gone on with by giving the same command again, and one that is finished ends in seconds.

What was served stays as it is unless `republish` is given, even under `force`.
"""

from __future__ import annotations

import re
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
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.console import LiveProgress
from pipelines.operations.runs import run_assets
from pipelines.staleness.causes import Cause
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey, Work, survey
from pipelines.warehouse.partition_file import DamagedFileError

_BARE = re.compile(r"(?P<up>\d*\+|)(?P<name>[\w*]+)(?P<down>\+\d*|)")


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
    """Make what is not current of a range of sessions.

    Args:
        market: the market.
        console: where progress goes.
        start: first day.
        end: last day.
        select: assets, as `selected_assets` reads them; all partitioned ones without it.
        force: make what is current, too, and train its models anew.
        republish: make what was served again where it would differ, keeping it as a revision.

    Returns:
        What was run; None where nothing was left.

    Raises:
        PipelineError: no closed session in the range, or an unknown asset.
        RunFailedError: a step failed; what was finished before it is kept.
    """
    if start > end:
        raise PipelineError(f"--start {start} is after --end {end}")
    sessions = closed_between(market, start, end)
    stages = stages_of(market)
    defs = build_definitions(market, stages)
    names = default_assets(market, stages) if select is None else selected_assets(defs, select)
    chosen = _with_sessions([stage for stage in stages if stage.name in names], sessions)
    assets = tuple(stage.name for stage in chosen)
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        served = None if republish else Served(market, stages, instance)
        compared = {stage.name: stage.due(sessions) for stage in chosen if stage.is_compared}
        found = survey(market, stages, instance, compared, served=served)
        work = Work(assets, sessions[0], sessions[-1]) if force else found.work(sessions)
        extra = tuple(a for a in assets if a not in found.wanted)  # reports: nothing to compare
        if work is None and extra:
            work = Work((), sessions[0], sessions[-1])
        if work is not None and not force:
            work = Work((*work.assets, *extra), work.first, work.last)
        console.print(outlook(sessions, found, work, force=force), soft_wrap=True, highlight=False)
        if work is not None:
            tags = {CURRENT_TAG: RETRAIN if force else KEEP} | (
                {} if republish else {SERVED_TAG: KEEP}
            )
            with LiveProgress(console).shown():
                for part in _runs(chosen, work):
                    run_assets(defs, instance, part.assets, (part.first, part.last), tags=tags)
    return work


def _with_sessions(stages: Sequence[Stage], sessions: Sequence[str]) -> list[Stage]:
    """Those of some stages that have a session in the range: models begin with a first training.

    Raises:
        PipelineError: none has.
    """
    left = [stage for stage in stages if stage.due(sessions)]
    if not left:
        first = min(str(stage.first) for stage in stages)
        raise PipelineError(
            f"{', '.join(stage.name for stage in stages)}: no session of the range trains or "
            f"follows a model, the first is {first} (training.first_trained)"
        )
    return left


def _runs(stages: Sequence[Stage], work: Work) -> list[Work]:
    """The runs of the work: stages that begin inside its range have a run of their own.

    Reports, which read all others, are made in the last one.
    """
    begins: dict[str, list[str]] = {}
    for stage in (stage for stage in stages if stage.name in work.assets):
        last = max(begins, default=work.first)
        first = last if stage.kind is Kind.REPORT else max(stage.first or work.first, work.first)
        begins.setdefault(first, []).append(stage.name)
    return [replace(work, assets=tuple(part), first=f) for f, part in sorted(begins.items())]


def closed_between(market: Market, start: str, end: str) -> tuple[str, ...]:
    """The sessions between two days that are over.

    Raises:
        PipelineError: there is none.
    """
    first = market.sessions.at_or_after(start)
    last = min(market.sessions.at_or_before(end), market.last_closed())
    if last < first:
        raise PipelineError(f"no closed session between {start} and {end}")
    return market.sessions.between(first, last)


def default_assets(market: Market, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Every partitioned stage, and the fitted ones that were never fitted."""
    return tuple(s.name for s in stages if s.tables or is_unfitted(market, s))


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

    Terms of Dagster's selection syntax, separated by commas or spaces; a bare name stands for
    `key:NAME`. `+name` is with all that it is made from, `name+` with all that is made from it,
    `1+name` with one layer, `gru_*` every name that begins so, `group:NAME` a group. Assets without
    partitions are taken only where they are named themselves: a `+` never refits the processors.

    Args:
        defs: the market's definitions.
        text: the selection.

    Raises:
        PipelineError: an unknown name, or a term that Dagster does not read.
    """
    graph = defs.resolve_asset_graph()
    known = {key.to_user_string(): key for key in graph.get_all_asset_keys()}
    chosen: set[dg.AssetKey] = set()
    for term in re.split(r"[,\s]+", text.strip(", ")):
        bare = _BARE.fullmatch(term)
        name = bare["name"] if bare else ""
        if bare and "*" not in name and name not in known:
            raise PipelineError(
                f"unknown asset {name!r} in --select {text!r}; {did_you_mean(name, known)}"
            )
        query = f'{bare["up"]}key:"{name}"{bare["down"]}' if bare else term
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.BetaWarning)
                found = dg.AssetSelection.from_string(query).resolve(graph)
        except dg.DagsterError as error:
            raise PipelineError(f"--select {text!r}: cannot read {term!r}: {error}") from error
        chosen |= {key for key in found if graph.get(key).is_partitioned or key == known.get(name)}
    if not chosen:
        raise PipelineError(f"--select {text!r} names no asset with partitions")
    return tuple(key.to_user_string() for key in graph.toposorted_asset_keys if key in chosen)


def outlook(sessions: tuple[str, ...], found: Survey, work: Work | None, *, force: bool) -> str:
    """One line: what is skipped and what will run.

    Args:
        sessions: the range that was asked for.
        found: the comparison.
        work: what will run.
        force: whether what is current is made, too.
    """
    range_ = f"{sessions[0]} … {sessions[-1]} ({len(sessions)} sessions)"
    kept = sum(len(found.served(asset)) for asset in found.wanted)
    served = f"; {kept} served partitions stay as they are" if kept else ""
    if force and work is not None:
        return f"{range_}: all of {', '.join(work.assets)} is made again{served}"
    partitioned = [asset for asset in found.wanted if found.wanted[asset] != (WHOLE,)]
    current = sum(len(found.wanted[a]) - len(found.reasons[a]) for a in partitioned)
    if work is None:
        return f"{range_}: {current} partitions are current{served}; nothing to run"
    unrecorded = {
        a: sum(why.cause == Cause.UNRECORDED for why in found.reasons[a].values())
        for a in found.wanted
    }
    to_make = {a: len(found.left(a)) - unrecorded[a] for a in found.wanted}
    runs = [f"{a} {to_make[a]}" for a in found.wanted if to_make[a]]
    runs += [asset for asset in work.assets if asset not in found.wanted]
    recorded = sum(unrecorded.values())
    on_record = f", {recorded} put on record" if recorded else ""
    return (
        f"{range_}: {current} partitions are current and skipped{on_record}{served}; to run: "
        f"{', '.join(runs) or 'nothing more'}"
    )
