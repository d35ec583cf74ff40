"""Runs whose process is gone: marked failed by the next command or tick of the schedule.

A run names the process that owns it in its tags: a command writes them when it starts the run, and
the first step claims a run that the daemon launched. A killed process leaves its run STARTED for
good, and holding its pool slot; the sweep sees that the owner is gone, marks the run failed and
frees the slot. Dagster itself notices only the death of a run whose code server lives on; where
both were killed, as by a power cut, only the sweep notices before `max_runtime_seconds`. A run
that outlived its daemon is left to finish.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from pipelines.instance.market_list import markets_of
from pipelines.instance.names import HIDDEN, hidden_tag
from pipelines.warehouse.store import remove_leftovers

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.market.market import Market

OWNER_TAG = f"{HIDDEN}owner"
LIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ONE_PROCESS = "in_process"  # the name of the executor that runs all steps in one process
_ONE_PROCESS = {ONE_PROCESS, "execute_in_process_executor"}
_claimed: dict[str, str] = {}


def owner() -> str:
    """Name this process as `host:pid:start`, which no other process shares."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    """The kernel's start tick of a process, so that a reused pid is another process.

    A process that has ended and was not reaped, as under a container's own init, has none.
    """
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    return "?"


def _is_alive(tag: str) -> bool:
    host, pid, started = tag.rsplit(":", 2)
    if host != socket.gethostname():
        return True  # another machine's process: not ours to judge
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(pid)) == started


def _is_inherited(instance: dg.DagsterInstance, run: dg.DagsterRun, tag: str) -> bool:
    """True if the tag was copied from the run that this run executes again."""
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return parent is not None and hidden_tag(parent.tags, OWNER_TAG) == tag


def claim_run(context: dg.AssetExecutionContext) -> None:
    """Record this process as the owner of the run that it executes.

    Only a process that executes the whole run owns it: a process of the multiprocess executor ends
    with its step.
    """
    executor = context.get_step_execution_context().job_def.executor_def.name
    run, mine = context.run, owner()
    if executor in _ONE_PROCESS and _claimed.get(run.run_id) != mine:
        _claimed.clear()  # a process executes one run at a time
        _claimed[run.run_id] = mine
        if run.tags.get(OWNER_TAG) != mine:
            context.instance.add_run_tags(run.run_id, {OWNER_TAG: mine})


def is_orphan(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """True if the process that owns a run is gone."""
    tag = hidden_tag(run.tags, OWNER_TAG)
    return tag is not None and not _is_inherited(instance, run, tag) and not _is_alive(tag)


def sweep_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose owner is gone and free their pool slots; returns their ids."""
    live = instance.get_runs(dg.RunsFilter(statuses=LIVE))
    orphans = [run for run in live if is_orphan(instance, run)]
    for run in orphans:
        gone = f"the process that ran it ({hidden_tag(run.tags, OWNER_TAG)}) is gone"
        instance.report_run_failed(run, gone)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in orphans]


def sweep(market: Market, instance: dg.DagsterInstance, console: Console) -> None:
    """Clear up after runs whose process is gone: their status, their slots, their temporary files.

    Args:
        market: the market of the command. All markets of the data folder are cleared of the files
            of killed writers; of warehouses that lie elsewhere only its own.
        instance: Dagster's record.
        console: receives a line for each run.
    """
    swept = sweep_orphans(instance)
    for run_id in swept:
        console.print(f"run {run_id[:8]} was cut off earlier: marked failed, its work is kept")
    if not swept:
        return
    root, store = market.paths.root, market.warehouse.store
    # The record is that of all markets, and so are the runs.
    for name in {root.name, *markets_of(root.parent)}:
        remove_leftovers(root.parent / name)
    if store.is_local and not store.is_below(root):
        remove_leftovers(Path(store.root))
