"""`prune`: remove what nothing needs any more, by the rules of `retention` in the YAML.

A bundle loses its weights and keeps its manifest, so nothing becomes stale by it (`prune_bundle`).
Units, checkpoints, unserved revisions, ended runs and the leftovers of killed writers go whole.
What was served, is in force, pinned, or still has a session to score stays whatever its age, and
models that left the YAML are not looked at: their scores may have been traded on.

The command holds the writers' locks of all assets and refuses while a run is at work. Each removal
leaves a market that is current, so a command that was killed is completed by another one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dagster as dg
import pandas as pd
from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.config.retention import RetentionConfig
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance, reading_instance
from pipelines.instance.locks import forget_units, only_writer
from pipelines.instance.orphaned_runs import sweep
from pipelines.instance.record_retention import old_runs, remove_runs
from pipelines.instance.run_history import work_in_progress
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.console import figures_table, say
from pipelines.operations.prune_files import (
    old_checkpoints,
    old_revisions,
    old_units,
    unneeded_bundles,
    unneeded_copies,
)
from pipelines.staleness.needed_bundles import needed_bundles
from pipelines.staleness.served import Served
from pipelines.staleness.state_bytes import bytes_in_words, state_bytes
from pipelines.staleness.survey import Survey, survey
from pipelines.warehouse.store import leftovers, remove_leftovers


@dataclass(frozen=True)
class Share:
    """The part of one kind of state that goes.

    Attributes:
        kind: of state.
        rule: the rule of the YAML in words; empty if everything of the kind is kept.
        goes: number of things.
        bytes: of all of them.
        remove: removes them.
    """

    kind: str
    rule: str
    goes: int
    bytes: int
    remove: Callable[[], None]


def run_prune(
    market: Market, console: Console, *, dry_run: bool = False, trial: RetentionConfig | None = None
) -> None:
    """Show what goes, and remove it unless it is only asked for.

    Args:
        market: the market.
        console: gets the table.
        dry_run: remove nothing.
        trial: rules to be tried instead of the YAML's; nothing is removed.

    Raises:
        PipelineError: a run or a backfill is at work on the market, or another process writes.
    """
    rules, stages = trial or market.config.retention, stages_of(market)
    if dry_run or trial is not None or rules.keeps_all:
        with reading_instance(market) as instance:
            _show(market, console, _shares(market, stages, instance, rules), instance, "would go")
        why = "nothing was removed"
        if trial is not None:
            why += ": write the rules under `retention` in the YAML to use them"
        elif rules.keeps_all:
            why += (
                ": the YAML has no `retention`, so everything is kept; --bundles and --days show "
                "what rules would remove"
            )
        say(console, f"{market.config.name}: {why}")
        return
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        with only_writer(market, [stage.name for stage in stages]):
            if busy := work_in_progress(instance, market):
                raise PipelineError(
                    f"{busy} in the market {market.config.name}, and may need what prune would "
                    f"remove: wait for its end, or end it in the UI; nothing was deleted"
                )
            shares = _shares(market, stages, instance, rules)
            for share in shares:
                share.remove()
            _show(market, console, shares, instance, "gone")


def _shares(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance, rules: RetentionConfig
) -> list[Share]:
    """Everything that goes by some rules, by kind."""
    now = dt.datetime.now(dt.UTC)

    def before(days: int | None) -> float | None:
        return None if days is None else (now - dt.timedelta(days=days)).timestamp()

    served = Served(market, stages, instance)
    to_make = _to_make(market, stages, instance, served)
    needed = {
        spec.name: needed_bundles(
            market,
            stages,
            served,
            spec.name,
            _of_model(stages, spec.name, to_make),
        )
        for spec in market.models
    }
    oldest_day = None
    if rules.bundle_days is not None:
        newest = pd.Timestamp(market.last_closed())
        oldest_day = f"{newest - pd.Timedelta(days=rules.bundle_days):%Y-%m-%d}"
    bundles = unneeded_bundles(market, needed, rules.bundles, oldest_day)
    units = old_units(market, before(rules.unit_days))
    checkpoints = old_checkpoints(market, before(rules.unit_days))
    versions = old_revisions(market, stages, before(rules.revision_days))
    copies = unneeded_copies(market, needed, before(rules.revision_days))
    unfinished = {key for keys in to_make.values() for key in keys}
    moment = before(rules.record_days)
    runs = (
        None
        if moment is None
        else old_runs(
            instance, market, dt.datetime.fromtimestamp(moment, dt.UTC), unfinished=unfinished
        )
    )
    roots = () if rules.keeps_all else _local_roots(market)
    garbage = {path for root in roots for path in leftovers(root)}
    days = {name: f"older than {n} days" if n else "" for name, n in rules.model_dump().items()}
    kept = [f"the newest {rules.bundles}"] if rules.bundles else []
    kept += [f"those of the last {rules.bundle_days} days"] if rules.bundle_days else []
    return [
        _share("weights of bundles", f"all but {' and '.join(kept)}" if kept else "", bundles),
        _share("units", days["unit_days"], units, partial(_remove_units, market, list(units))),
        _share("checkpoints", days["unit_days"], checkpoints),
        _share("revisions", days["revision_days"], versions),
        _share("copies of bundles", days["revision_days"], copies),
        Share(
            "runs of the record",
            days["record_days"],
            0 if runs is None else len(runs.ids),
            0 if runs is None else runs.bytes,
            (lambda: None) if runs is None else partial(remove_runs, instance, market, runs),
        ),
        Share(
            "temporary files",
            "" if rules.keeps_all else "of killed writers",
            len(garbage),
            sum(_bytes_below(path) for path in garbage),
            partial(_remove_leftovers, market),
        ),
    ]


def _share(
    kind: str,
    rule: str,
    things: Mapping[str, tuple[int, Callable[[], None]]],
    remove: Callable[[], None] | None = None,
) -> Share:
    """The share of things that are removed one by one, or by one call."""

    def each() -> None:
        for _, remove_one in things.values():
            remove_one()

    return Share(kind, rule, len(things), sum(n for n, _ in things.values()), remove or each)


def _to_make(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance, served: Served
) -> dict[str, tuple[str, ...]]:
    """The sessions that a backfill would make now, by asset."""
    closed_keys = market.sessions.between(market.sessions.first, market.last_closed())
    wanted = {
        stage.name: keys
        for stage in stages
        if stage.is_compared and (keys := stage.due(closed_keys))
    }
    found: Survey = survey(market, stages, instance, wanted, served=served)
    return {name: tuple(k for k in found.left(name) if k != WHOLE) for name in found.wanted}


def _of_model(
    stages: Sequence[Stage], model: str, to_make: Mapping[str, Sequence[str]]
) -> set[str]:
    """The sessions of a model's pointers or predictions among those to be made."""
    kinds = (Kind.MODEL, Kind.PREDICTION)
    names = [stage.name for stage in stages if stage.model == model and stage.kind in kinds]
    return {key for name in names for key in to_make.get(name, ())}


def _remove_units(market: Market, keys: Sequence[str]) -> None:
    """Remove units that nobody trains, with their locks.

    Raises:
        PipelineError: another process trains one.
    """
    with only_writer(market, [f"units/{key}" for key in keys]):
        for key in keys:
            market.state.below("units", key).remove_all()
    forget_units(market, keys)


def _local_roots(market: Market) -> set[Path]:
    """The folders where killed writers may have left files; an object store has none of them."""
    stores, paths = (market.state, market.tables), market.paths
    own = {paths.root, paths.dagster, paths.page.parent}
    return {*own, *(Path(store.root) for store in stores if store.is_local)}


def _bytes_below(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove_leftovers(market: Market) -> None:
    for root in _local_roots(market):
        remove_leftovers(root)


def _show(
    market: Market,
    console: Console,
    shares: Sequence[Share],
    instance: dg.DagsterInstance,
    title: str,
) -> None:
    """Print what goes by kind, and the bytes of the state."""
    table = figures_table(market.config.name, ["kind", "rule"], [title, "bytes"])
    for share in shares:
        rule = share.rule or "all are kept"
        style = "dim" if not share.goes else ""
        table.add_row(share.kind, rule, f"{share.goes}", bytes_in_words(share.bytes), style=style)
    console.print(table)
    sizes = state_bytes(market, instance)
    words = ", ".join(f"{kind} {bytes_in_words(n)}" for kind, n in sizes.items())
    say(console, f"state: {words}")
