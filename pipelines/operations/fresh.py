"""`demo --fresh`: delete the state of a market that nobody works on.

Nothing is deleted before the UI, every asset's writer and Dagster's record have been asked. The
folder is moved aside in one step and deleted there, so that no process meets half a market, and
the market is taken off the record. DAGSTER_HOME, which is that of all markets, stays; a killed
deletion is completed by the next `demo`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
from rich.console import Console

from pipelines.errors import PipelineError, WarehouseError, name_sessions
from pipelines.instance.earlier_home import owned_files
from pipelines.instance.home import dagster_instance
from pipelines.instance.locks import only_writer
from pipelines.instance.record_copy import forget_market
from pipelines.instance.run_history import work_in_progress
from pipelines.instance.ui_lock import claim_ui
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.operations.console import say
from pipelines.staleness.served import served_sessions
from pipelines.warehouse import revisions
from rnn_core.atomic import atomic_write, is_leftover, temporary_path


def empty_market(
    market: Market, stages: Sequence[Stage], console: Console, *, discard_served: bool = False
) -> Market:
    """Delete the state of a market, and open the market anew.

    Args:
        market: the market.
        stages: its stages.
        console: told of what could not be deleted.
        discard_served: delete served predictions, too.

    Raises:
        PipelineError: nothing was deleted, since the warehouse lies elsewhere, maybe beside files
            of others, somebody works on the market, something of it was served, or its folder
            cannot be moved.
    """
    root = market.paths.root
    elsewhere = [s for s in (market.state, market.tables) if not s.is_below(root)]
    if elsewhere:
        raise PipelineError(
            f"--fresh deletes {root}, and the state of {market.config.name} lies elsewhere: "
            f"{elsewhere[0]}; nothing was deleted. Remove both yourself, or leave out "
            f"--fresh: what is stale is made again in any case"
        )
    if root.exists():
        with ExitStack() as claims:
            why_not = "end it first; nothing was deleted"
            claims.enter_context(claim_ui(market.paths.dagster, why_not=why_not))
            claims.enter_context(only_writer(market, [stage.name for stage in stages]))
            with dagster_instance(market) as instance:
                _require_idle(market, instance)
                if not discard_served:
                    _require_unserved(market, stages, instance)
                config = market.paths.config.read_bytes() if market.paths.config.is_file() else None
                aside = _moved_aside(root.resolve())  # a link to another disk stays one
                if config is not None:
                    atomic_write(market.paths.config, config)
                forget_market(market, instance)
        _delete(market, aside, console)
    return market.opened_anew()  # a calendar derived from the data keeps its sessions in the state


def complete_deletion(market: Market, console: Console) -> None:
    """Delete the folders that killed deletions of a market moved aside.

    Args:
        market: the market.
        console: told of what could not be deleted.
    """
    folder = market.paths.root.resolve()
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        if is_leftover(path):
            _delete(market, path, console)


def _require_idle(market: Market, instance: dg.DagsterInstance) -> None:
    """Require that no run of the market waits or works.

    Raises:
        PipelineError: one does.
    """
    busy = work_in_progress(instance, market)
    if busy:
        raise PipelineError(
            f"{busy} in the market {market.config.name}, and --fresh would take its files away: "
            f"wait for its end, stop its command, or end it in the UI "
            f"(`{market.command('ui')}`); nothing was deleted"
        )


def _require_unserved(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance
) -> None:
    """Require that no prediction of the market was served.

    Tables that are no stage's count as predictions: they may be of a model that left the YAML.

    Raises:
        PipelineError: one was; the message names the sessions.
    """
    store = market.warehouse.store
    others = {t.name for s in stages if s.kind is not Kind.PREDICTION for t in s.tables}
    served = {
        table: served_sessions(market, instance, table) | set(revisions.sessions(store, table))
        for table in {*store.tables(), *revisions.tables(store)} - others
        if table.isidentifier()
    }
    texts = [f"{table} {name_sessions(keys)}" for table, keys in sorted(served.items()) if keys]
    if texts:
        raise PipelineError(
            f"{market.config.name} was served, and nothing brings back what was traded on: "
            f"{'; '.join(texts)}. Nothing was deleted: leave out --fresh, which makes what is "
            f"stale and keeps what was served, or add --discard-served"
        )


def _moved_aside(folder: Path) -> Path:
    """Put an empty folder in the place of another, and return the place of that one.

    Raises:
        WarehouseError: it cannot be moved.
    """
    aside = temporary_path(folder)
    try:
        folder.rename(aside)
        folder.mkdir()
    except OSError as error:
        raise WarehouseError(f"cannot move {folder} aside: {error}; nothing was deleted") from error
    return aside


def _delete(market: Market, aside: Path, console: Console) -> None:
    """Delete what was moved aside, but for an owner's files in a home of an earlier release."""
    home = market.paths.earlier_dagster
    present = owned_files(home)
    for file in owned_files(aside / home.name):
        if (target := home / file.name) not in present:
            home.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        say(console, f"{aside} cannot be deleted whole: do it yourself")
