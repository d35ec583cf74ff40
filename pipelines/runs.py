"""Runs started from a command: over a range of sessions, in this process, on the market's record.

A run carries the process that owns it in its tags. A process that was killed leaves its run
STARTED for good, and holding its pool slot; the next command sees that the owner is gone, marks
the run failed and frees the slot.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.assets.base import CONFIG_HASH
from pipelines.errors import PipelineError
from pipelines.market import Market
from pipelines.schedules import LIVE, RANGE_END, RANGE_START

OWNER_TAG = "rnn/owner"


class RunFailedError(PipelineError):
    """A run failed; the message says which step and why."""


@dataclass(frozen=True)
class Work:
    """What is left to do for a set of assets: none, or these assets over this range."""

    assets: tuple[str, ...]
    first: str
    last: str


def owner() -> str:
    """`host:pid:start`: a process that no other can be mistaken for."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    """The kernel's start tick of a process, so that a reused pid is another process."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
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


def sweep_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose owner is gone and free what they hold; returns their ids."""
    swept = []
    for run in instance.get_runs(dg.RunsFilter(statuses=LIVE)):
        tag = run.tags.get(OWNER_TAG)
        if tag is None or _is_alive(tag):
            continue
        instance.report_run_failed(run, f"the process that ran it ({tag}) is gone")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        swept.append(run.run_id)
    return swept


def run_assets(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: tuple[str, str] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Materialize assets in this process, over a range of sessions where they have partitions.

    Args:
        defs: the market's definitions.
        instance: the market's Dagster record.
        assets: keys to materialize.
        sessions: first and last session; None for assets without partitions.
        tags: more tags of the run.

    Returns:
        The run's id.

    Raises:
        RunFailedError: a step failed.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    chosen = {OWNER_TAG: owner(), **(tags or {})}
    if sessions is not None:
        chosen |= {RANGE_START: sessions[0], RANGE_END: sessions[1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags=chosen,
        run_config=quiet,
        raise_on_error=False,
    )
    if not result.success:
        raise RunFailedError(_why(result))
    return result.run_id


def _why(result: dg.ExecuteInProcessResult) -> str:
    """The reason that the failed steps gave, the stack trace only for what nobody foresaw."""
    reasons = []
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data: Any = event.step_failure_data
        user = data.user_failure_data
        if user is not None and user.description:
            reasons.append(user.description)
        elif data.error is not None:
            cause = data.error.cause or data.error
            reasons.append(f"{event.step_key}: {cause.to_string()}")
    return "\n".join(reasons) or f"run {result.run_id} failed; the UI shows its log"


def pending(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: Sequence[str],
) -> Work | None:
    """What of these assets and sessions is absent, or was made by another configuration.

    A partition counts if its file is there, its provenance names the asset's present code version
    and configuration, and Dagster's record has it. Whatever follows an asset that must run again
    runs again too.

    Args:
        market: the market.
        defs: its definitions.
        instance: its Dagster record.
        assets: partitioned assets, upstream first.
        sessions: the sessions wanted.
    """
    if not sessions:
        return None
    graph = defs.resolve_asset_graph()
    affected: list[str] = []
    first: str | None = None
    for name in assets:
        node = graph.get(dg.AssetKey(name))
        recorded = instance.get_materialized_partitions(node.key)
        there = set(market.warehouse.sessions(name))
        missing = next(
            (
                key
                for key in sessions
                if key not in there
                or key not in recorded
                or not _is_current(market, name, key, node.code_version, node.metadata)
            ),
            None,
        )
        upstream = {key.to_user_string() for key in node.parent_keys}
        if missing is not None or upstream & set(affected):
            affected.append(name)
        if missing is not None:
            first = missing if first is None else min(first, missing)
    if first is None:
        return None
    return Work(tuple(affected), first, sessions[-1])


def _is_current(
    market: Market, name: str, key: str, code_version: str | None, metadata: Mapping[str, Any]
) -> bool:
    info = market.warehouse.info(name, key)
    return (
        info is not None
        and info.provenance.code_version == code_version
        and info.provenance.config == metadata[CONFIG_HASH]
    )
