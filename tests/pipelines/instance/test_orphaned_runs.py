"""Runs whose process is gone, as the daemon launches them: only the run itself says whose it is.

Oracle: processes that were really killed.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._serdes import serialize_value
from rich.console import Console

from pipelines.build import build_definitions
from pipelines.instance.orphaned_runs import (
    OWNER_TAG,
    _started,
    claimed_run,
    owner,
    sweep,
    sweep_orphans,
)
from pipelines.operations.runs import run_assets
from rnn_core.host import host_id
from tests.pipelines.conftest import key_of, make_market
from tests.pipelines.processes import Forked, wait_until
from tests.pipelines.records import on_both_records

pytestmark = on_both_records

LAUNCHED = """
import sys, time
from pathlib import Path
import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value
from pipelines.build import build_definitions
from tests.pipelines.conftest import ChangedBars, make_market

def at_work(bars):
    print("at work", flush=True)
    time.sleep(60)

root, record = Path(sys.argv[1]), deserialize_value(sys.argv[2], InstanceRef)
source = ChangedBars(make_market(root).source, at_work)
market = make_market(root, source=source)
job = build_definitions(market).resolve_job_def("tiny_daily")
with dg.DagsterInstance.from_ref(record) as instance:
    job.execute_in_process(instance=instance, partition_key=market.sessions.first)
"""


def test_a_run_that_nobody_tagged_is_swept_once_its_process_is_killed(market, instance):
    ref = serialize_value(instance.get_ref())
    process = Forked(LAUNCHED, market.paths.root, ref)
    try:
        wait_until(process, "its work", lambda: "at work\n" in process.said())
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        assert run.tags[OWNER_TAG].split(":")[1] == str(process.pid)
        assert sweep_orphans(instance) == []
    finally:
        process.kill()
        process.wait()
    assert sweep_orphans(instance) == [run.run_id]
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
    assert sweep_orphans(instance) == []


def test_a_finished_run_keeps_the_process_that_made_it(market, instance):
    key = market.sessions.first
    job = build_definitions(market).resolve_job_def("tiny_daily")
    result = job.execute_in_process(
        instance=instance,
        partition_key=key,
        asset_selection=[key_of("ohlcv"), key_of("label")],
    )
    assert instance.get_run_by_id(result.run_id).tags[OWNER_TAG] == owner()
    run_id = run_assets(build_definitions(market), instance, ["ohlcv"], (key, key))
    assert instance.get_run_by_id(run_id).tags[OWNER_TAG] == owner()


def dead() -> str:
    host, pid, start = owner().split(":")
    return f"{host}:{pid}:{int(start) - 1}"


def test_a_run_made_again_from_a_dead_one_is_not_taken_for_it(market, instance):
    """Dagster copies the tags of a run that is executed again, the owner's among them."""
    job = build_definitions(market).resolve_job_def("tiny_daily")
    parent = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={OWNER_TAG: dead()}
    )
    again = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={OWNER_TAG: dead()},
        parent_run_id=parent.run_id,
        root_run_id=parent.run_id,
    )
    assert sweep_orphans(instance) == [parent.run_id]
    assert instance.get_run_by_id(again.run_id).status == dg.DagsterRunStatus.STARTED
    host, pid, start = owner().split(":")
    instance.add_run_tags(again.run_id, {OWNER_TAG: f"{host}:{pid}:{int(start) - 2}"})
    assert sweep_orphans(instance) == [again.run_id]


def test_a_process_of_another_machine_is_not_judged(market, instance):
    run = instance.create_run_for_job(
        build_definitions(market).resolve_job_def("tiny_daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={OWNER_TAG: "another-machine:1:1"},
    )
    assert sweep_orphans(instance) == []
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED


def test_a_process_that_ended_and_was_not_reaped_is_gone(market, instance):
    """Under a container's own init a killed process stays in the table of processes."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host = owner().split(":")[0]
    tag = f"{host}:{process.pid}:{_started(process.pid)}"
    run = instance.create_run_for_job(
        build_definitions(market).resolve_job_def("tiny_daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={OWNER_TAG: tag},
    )
    assert sweep_orphans(instance) == []
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
    try:
        assert sweep_orphans(instance) == [run.run_id]
    finally:
        process.communicate()


@pytest.mark.parametrize(("executor", "claims"), [("in_process", True), ("multiprocess", False)])
def test_a_step_in_a_process_of_its_own_claims_nothing(market, instance, executor, claims):
    """The multiprocess executor gives each step a process: its end is not the end of the run."""
    job = build_definitions(market).resolve_job_def("tiny_daily")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    step = SimpleNamespace(job_def=SimpleNamespace(executor_def=SimpleNamespace(name=executor)))
    context = SimpleNamespace(get_step_execution_context=lambda: step, run=run, instance=instance)
    with claimed_run(context):
        pass
    assert (OWNER_TAG in instance.get_run_by_id(run.run_id).tags) == claims


@pytest.mark.parametrize("place", ["below the root", "elsewhere"])
def test_what_killed_writers_left_is_removed_wherever_the_warehouse_lies(tmp_path, instance, place):
    """Once for any number of runs; a writer that lives keeps its file, and so does a partition.

    So does every writer of another host, and names of earlier releases, without a host, count.
    """
    changes = {} if place == "below the root" else {"warehouse": str(tmp_path / "elsewhere")}
    market = make_market(tmp_path / "tiny", changes)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = owner().split(":")[0]
    job = build_definitions(market).resolve_job_def("tiny_daily")
    tags = {OWNER_TAG: f"{host}:{gone.pid}:1"}
    for _ in range(2):
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    folder = Path(market.warehouse.store.path("label", "date=2020-01-02"))
    bundle = market.paths.models / "gru" / "2020-04-01"
    other = tmp_path / "other" / "warehouse"  # of another market, whose runs are swept, too
    here = host_id()
    names = (f"{here}-{gone.pid}", f"{gone.pid}", f"{here}-{gone.pid}")
    left = [
        place / f".part-0.parquet.{writer}.0123abcd.tmp"
        for place, writer in zip((folder, bundle, other), names, strict=True)
    ]
    writers = (f"{here}-{os.getpid()}", f"{os.getpid()}", f"0123abcd-{gone.pid}")
    kept = [folder / f".part-0.parquet.{writer}.0123abcd.tmp" for writer in writers]
    kept.append(folder / "part-0.parquet")
    for file in (*left, *kept):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    console = Console(file=io.StringIO(), width=120)
    sweep(market, instance, console)
    assert console.file.getvalue().count("was cut off earlier") == 2
    assert not [file for file in left if file.exists()]
    assert all(file.exists() for file in kept)
