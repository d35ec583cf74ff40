"""Runs whose process is gone: marked failed by the next command or tick of the schedule.

A run names the process that owns it in its tags: a command writes them when it starts the run, and
the first step claims a run that the daemon launched. A killed process leaves its run STARTED for
good, and holding its pool slot; the sweep sees that the owner is gone, marks the run failed and
frees the slot. On the owner's host the table of processes tells at once; another host, or another
container, goes by the lease that the owner renews in the record (`heartbeat.py`), which runs out
two heartbeats after the last. Dagster itself notices only the death of a run whose code server
lives on; where both were killed, as by a power cut, only the sweep notices before
`max_runtime_seconds`. A run that outlived its daemon is left to finish.

Runs whose steps have processes of their own (the executors of Dagster for several processes, for
Celery and for Kubernetes) have no owner here: Dagster's run monitoring watches them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from pipelines.instance.heartbeat import beating, end_leases, expired_leases
from pipelines.instance.market_list import markets_of
from pipelines.instance.names import HIDDEN, hidden_tag
from pipelines.instance.resting_record import LIVE_RUNS
from pipelines.warehouse.store import remove_leftovers
from rnn_core.host import host_id, is_running

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.market.market import Market

OWNER_TAG = f"{HIDDEN}owner"
SECOND_LOOK_SECONDS = 5.0
LIVE = [dg.DagsterRunStatus(name) for name in LIVE_RUNS]
ONE_PROCESS = "in_process"  # the name of the executor that runs all steps in one process
ONE_PROCESS_EXECUTORS = {ONE_PROCESS, "execute_in_process_executor"}
_claimed: dict[str, str] = {}


def owner() -> str:
    """Name this process as `NAME@HOST:pid:start`, which no other process shares."""
    return f"{socket.gethostname()}@{host_id()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    """The kernel's start tick of a process, so that a reused pid is another process.

    A process that has ended and was not reaped, as under a container's own init, has none.
    """
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    return "?"


def _is_of_this_host(tag: str) -> bool:
    """True if the process is one of this host; tags of earlier releases have the name only."""
    name, _, host = tag.rsplit(":", 2)[0].partition("@")
    return host == host_id() if host else name == socket.gethostname()


def _has_ended(tag: str) -> bool:
    """True if a process of this host has ended."""
    _, pid, started = tag.rsplit(":", 2)
    return not is_running(int(pid)) or _started(int(pid)) not in (started, "?")


def _is_inherited(instance: dg.DagsterInstance, run: dg.DagsterRun, tag: str) -> bool:
    """True if the tag was copied from the run that this run executes again."""
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return parent is not None and hidden_tag(parent.tags, OWNER_TAG) == tag


@contextmanager
def claimed_run(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Record this process as the owner of the run that it executes, and that it lives.

    Only a process that executes the whole run owns it: a process of the multiprocess executor ends
    with its step. The lease outlasts the short time between two steps.
    """
    executor = context.get_step_execution_context().job_def.executor_def.name
    run, mine = context.run, owner()
    if executor not in ONE_PROCESS_EXECUTORS:
        yield
        return
    with beating(context.instance, run.run_id):
        if _claimed.get(run.run_id) != mine:
            _claimed.clear()  # a process executes one run at a time
            _claimed[run.run_id] = mine
            if run.tags.get(OWNER_TAG) != mine:
                context.instance.add_run_tags(run.run_id, {OWNER_TAG: mine})
        yield


def is_orphan(
    instance: dg.DagsterInstance, run: dg.DagsterRun, expired: Collection[str] | None = None
) -> bool:
    """True if the process that owns a run is gone.

    Args:
        instance: the record.
        run: a run that has not ended.
        expired: the runs whose lease has run out, if the caller knows them.
    """
    tag = hidden_tag(run.tags, OWNER_TAG)
    if tag is None or _is_inherited(instance, run, tag):
        return False
    if _is_of_this_host(tag):
        return _has_ended(tag)
    return run.run_id in (expired_leases(instance) if expired is None else expired)


def _orphans(instance: dg.DagsterInstance) -> tuple[list[dg.DagsterRun], set[str]]:
    """The runs whose owner is gone, and the leases of runs that have ended otherwise."""
    # In this order: a run of the list that ends meanwhile still has its lease.
    expired = expired_leases(instance)
    live = instance.get_runs(dg.RunsFilter(statuses=LIVE))
    orphans = [run for run in live if is_orphan(instance, run, expired)]
    return orphans, expired - {run.run_id for run in live}


def sweep_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose owner is gone and free their pool slots; returns their ids.

    A run of another host is looked at a second time, some seconds after the first: where the
    database itself was away, leases ran out of runs that live, and these renew them at once.
    """
    orphans, ended = _orphans(instance)
    if any(not _is_of_this_host(hidden_tag(run.tags, OWNER_TAG) or "") for run in orphans):
        time.sleep(SECOND_LOOK_SECONDS)
        orphans, ended = _orphans(instance)
    swept = []
    for run in orphans:
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.status not in LIVE:  # it ended by itself just now
            continue
        gone = f"the process that ran it ({hidden_tag(run.tags, OWNER_TAG)}) is gone"
        instance.report_run_failed(now, gone)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        swept.append(run.run_id)
    end_leases(instance, ended | set(swept))
    return swept


def sweep(
    market: Market, instance: dg.DagsterInstance, console: Console, *, deep: bool = False
) -> None:
    """Clear up after runs whose process is gone: their status, their slots, their temporary files.

    Args:
        market: the market of the command. All markets of the data folder are cleared of the files
            of killed writers; of warehouses that lie elsewhere only its own.
        instance: Dagster's record.
        console: receives a line for each run.
        deep: look through the whole state whether a run was cut off or not, for a command that
            writes there outside of runs, and may have been killed itself.
    """
    swept = sweep_orphans(instance)
    for run_id in swept:
        console.print(f"run {run_id[:8]} was cut off earlier: marked failed, its work is kept")
    root = market.paths.root
    for folder in market.paths.written:
        remove_leftovers(folder, deep=False)
    if not swept and not deep:
        return
    # The record is that of all markets, and so are the runs.
    for name in {root.name, *markets_of(root.parent)}:
        remove_leftovers(root.parent / name)
    for store in (market.state, market.tables):
        if store.is_local and not store.is_below(root):
            remove_leftovers(Path(store.root))
