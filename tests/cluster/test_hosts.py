"""Two hosts with one record and one state. Oracle: the record, and processes really killed."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.instance import heartbeat, orphaned_runs, record_lock
from pipelines.instance.home import open_home
from pipelines.instance.locks import writer_lock
from pipelines.instance.orphaned_runs import OWNER_TAG
from pipelines.market.market import Market
from tests.cluster.conftest import Hosts, ended
from tests.cluster.short_market import short_market
from tests.pipelines.conftest import DATA_STAGE, TINY, key_of, model_assets
from tests.pipelines.processes import Forked, wait_until
from tests.pipelines.ticks import CRON, NEW_YORK, keys_of, tick

SHORT = """
from pipelines.instance import heartbeat
heartbeat.HEARTBEAT_SECONDS = 1.0
"""
DAILY = """
import time
import dagster as dg
from pathlib import Path
from pipelines.build import build_definitions
from pipelines.instance.home import open_home
from tests.cluster.short_market import short_market
from tests.pipelines.conftest import ChangedBars

def at_work(bars):
    print("at work", flush=True)
    time.sleep(300)

root, key = Path(sys.argv[1]), sys.argv[2]
market = short_market(root, source=ChangedBars(short_market(root).source, at_work))
job = build_definitions(market).resolve_job_def("tiny_daily")
logs = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
with open_home(market.paths.dagster) as instance:
    job.execute_in_process(
        instance=instance, partition_key=key, run_config=logs, tags={"dagster/partition": key}
    )
"""
HOLD = """
import time
from pathlib import Path
from pipelines.instance.locks import writer_lock
from tests.cluster.short_market import short_market
with writer_lock(short_market(Path(sys.argv[1])), "gru_model", run_id="0123456789"):
    print("held", flush=True)
    time.sleep(300)
"""


def market_on(hosts: Hosts, name: str) -> Market:
    return short_market(hosts.folder / name / "tiny")


def materializations(hosts: Hosts, market: Market) -> Counter[tuple[str, str]]:
    """Count how often a run made each partition, as the record that the hosts share has it.

    A run that keeps what another wrote says so, `kept`; where the other has not put it on record
    yet it does, `recorded_by`.
    """
    made: Counter[tuple[str, str]] = Counter()
    with open_home(hosts.folder / "east" / "dagster") as instance:
        for name in (*DATA_STAGE, *model_assets(market)):
            records = instance.fetch_materializations(key_of(name), limit=10_000).records
            for record in records:
                event = record.asset_materialization
                if event is not None and not {"kept", "recorded_by"} & event.metadata.keys():
                    made[name, str(record.partition_key)] += 1
    return made


def at_work(process: Forked) -> None:
    """Wait until the bars of a run are asked for."""
    wait_until(process, "its work", lambda: "at work\n" in process.said())


@pytest.fixture
def two(hosts, short) -> Hosts:
    """East and west; the state is that of the finished market, and the record is empty."""
    shutil.copytree(short.paths.root, hosts.state)
    for name in ("east", "west"):
        hosts.add(name)
    return hosts


def test_two_hosts_backfill_one_range_at_once_and_make_nothing_twice(two):
    """Both are current afterwards, and every partition was made once, by one of them."""
    ended(two.command("east", "sync"))
    market = market_on(two, "east")
    first, last = market.sessions.keys[-5], market.sessions.keys[-1]
    tables = [t.name for s in stages(market) for t in s.tables if s.model or "dataset" in s.name]
    for table in tables:
        for key in market.sessions.between(first, last):
            shutil.rmtree(two.state / "warehouse" / table / f"date={key}", ignore_errors=True)
    ended(two.command("east", "sync"))  # the record follows
    before = materializations(two, market)
    both = [
        two.command(name, "backfill", "--start", first, "--end", last) for name in ("east", "west")
    ]
    with ThreadPoolExecutor() as threads:  # neither waits for a reader of its output
        list(threads.map(ended, both))
    again = materializations(two, market) - before
    assert {key for _, key in again} == set(market.sessions.between(first, last))
    assert {name for name, _ in again} >= {"dataset_infer", *model_assets(market)[4:]}
    assert set(again.values()) == {1}, [each for each, times in again.items() if times > 1]
    for name in ("east", "west"):
        report = json.loads(ended(two.command(name, "status", "--config", str(two.yaml), "--json")))
        stale = {asset["name"]: asset for asset in report["assets"] if not asset.get("current")}
        assert report["current"], stale


def test_a_host_killed_with_its_run_is_swept_and_the_schedule_goes_on(two, monkeypatch):
    """Within two heartbeats; the run of a host that lives is not touched in the same sweeps."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(orphaned_runs, "SECOND_LOOK_SECONDS", 0.1)
    market = market_on(two, "west")
    keys = [key for key in market.sessions.keys if key >= TINY["training"]["first_trained"]]
    two.add("north")
    with open_home(two.folder / "west" / "dagster") as instance:

        def runs() -> dict[str, dg.DagsterRunStatus]:
            tagged = [run for run in instance.get_runs() if OWNER_TAG in run.tags]
            return {run.tags[OWNER_TAG].split("@")[0]: run.status for run in tagged}

        processes = {}
        for name, key in zip(("east", "north"), keys[:2], strict=True):
            processes[name] = two.start(name, SHORT + DAILY, two.folder / name / "tiny", key)
            until = time.monotonic() + 300
            while name not in runs() and time.monotonic() < until:
                time.sleep(0.1)
        # North is at work, too: it waits for the lock of the bars, until east is gone.
        at_work(processes["east"])

        def tick_until_swept(name: str) -> float:
            """Kill a host, and return the seconds until a tick on the third has failed its run."""
            processes[name].kill()
            killed = time.monotonic()
            while runs()[name] == dg.DagsterRunStatus.STARTED and time.monotonic() < killed + 60:
                assert isinstance(tick(market, instance, CRON), dg.SkipReason)
                time.sleep(0.1)
            return time.monotonic() - killed

        assert isinstance(tick(market, instance, CRON), dg.SkipReason)  # both are at work
        limit = 2 * heartbeat.HEARTBEAT_SECONDS + 10  # and a tick of a busy machine
        assert tick_until_swept("east") < limit
        at_work(processes["north"])
        assert runs() == {
            "east": dg.DagsterRunStatus.FAILURE,
            "north": dg.DagsterRunStatus.STARTED,
        }
        assert tick_until_swept("north") < limit
        later = dt.datetime.now(NEW_YORK) + dt.timedelta(days=1)  # as the schedule waits to retry
        assert keys_of(tick(market, instance, later)) == keys[:1]


def test_a_writer_killed_on_another_host_lets_go_of_its_lock(two, monkeypatch):
    monkeypatch.setattr(record_lock, "POLL_SECONDS", 0.05)
    holder = two.start("east", HOLD, two.folder / "east" / "tiny")
    wait_until(holder, "its lock", lambda: "held\n" in holder.said())
    told: list[str] = []

    def kill(text: str) -> None:
        told.append(text)
        holder.kill()

    began = time.monotonic()
    with writer_lock(market_on(two, "west"), "gru_model", on_wait=kill):
        assert time.monotonic() - began < 10
    first, *later = told
    assert first == (
        f"waiting for gru_model: process {holder.pid} on east (run 01234567, gru_model) is at "
        f"work on it"
    )
    # Its session may outlive the process by a moment, and then nobody says whose it is.
    assert set(later) <= {"waiting for gru_model: another process is at work on it"}
