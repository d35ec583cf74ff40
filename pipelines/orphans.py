"""Runs whose process is gone.

A run carries the process that owns it in its tags. A process that was killed leaves its run
STARTED for good, and holding its pool slot; the next command or tick of the schedule sees that the
owner is gone, marks the run failed and frees the slot.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import dagster as dg

OWNER_TAG = "rnn/owner"
LIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


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
