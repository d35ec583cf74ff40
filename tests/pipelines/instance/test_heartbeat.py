"""Leases of runs of other hosts. Oracle: the database's clock, and what a real sweep does."""

from __future__ import annotations

import time

import dagster as dg
import pytest
from dagster._core.storage.runs.schema import KeyValueStoreTable

from pipelines.instance import heartbeat, orphaned_runs
from pipelines.instance.heartbeat import beating, end_leases, expired_leases
from pipelines.instance.orphaned_runs import OWNER_TAG, is_orphan, owner, sweep_orphans
from tests.pipelines.records import on_both_records

pytestmark = on_both_records
ELSEWHERE = "west@0123abcd:1:77"  # as `owner` names a process of another host


@dg.job
def nothing() -> None: ...


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.25)
    monkeypatch.setattr(heartbeat, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(orphaned_runs, "SECOND_LOOK_SECONDS", 0.05)


def started(instance: dg.DagsterInstance, tag: str = ELSEWHERE) -> dg.DagsterRun:
    return instance.create_run_for_job(
        nothing, status=dg.DagsterRunStatus.STARTED, tags={OWNER_TAG: tag}
    )


def leases(instance: dg.DagsterInstance) -> dict[str, float]:
    with instance.run_storage.connect() as connection:
        rows = connection.execute(KeyValueStoreTable.select()).mappings()
        return {row["key"]: float(row["value"]) for row in rows}


def test_a_run_of_another_host_lives_as_long_as_it_renews_its_lease(instance):
    """Four times as long as a lease lasts; then it is swept within two heartbeats."""
    run = started(instance)
    with beating(instance, run.run_id):
        until = time.monotonic() + 4 * 2 * heartbeat.HEARTBEAT_SECONDS
        while time.monotonic() < until:
            assert sweep_orphans(instance) == []
            time.sleep(0.05)
    died, swept = time.monotonic(), []
    while not swept:
        swept = sweep_orphans(instance)
        assert time.monotonic() < died + 10
    assert swept == [run.run_id]
    assert time.monotonic() - died < 2 * heartbeat.HEARTBEAT_SECONDS + 1
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
    assert leases(instance) == {}


def test_a_lease_is_one_row_in_the_time_of_the_database(instance):
    run = started(instance)
    with beating(instance, run.run_id):
        first = leases(instance)
        time.sleep(2 * heartbeat.HEARTBEAT_SECONDS)
        again = leases(instance)
    assert first.keys() == again.keys() == {f"rnn/lease/{run.run_id}"}
    (until,) = again.values()
    assert until > max(first.values())
    assert abs(until - 2 * heartbeat.HEARTBEAT_SECONDS - time.time()) < 5  # one machine, one clock


def test_short_steps_share_a_heartbeat(instance, monkeypatch):
    """A run of one session has many steps of some milliseconds, and a lease costs a commit."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 30.0)
    run, beats = started(instance), []
    beat = heartbeat._beat
    monkeypatch.setattr(heartbeat, "_beat", lambda *given: beats.append(1) or beat(*given))
    for _ in range(20):
        with beating(instance, run.run_id):
            pass
    assert len(beats) == 1


def test_a_run_without_a_lease_is_not_judged(instance):
    """As one of an earlier release, or one whose first step has not begun."""
    runs = [started(instance), started(instance, "west:1:77")]
    assert sweep_orphans(instance) == []
    assert not any(is_orphan(instance, run) for run in runs)


def test_a_run_that_lives_is_not_swept_after_the_database_was_away(instance, monkeypatch):
    """All leases ran out meanwhile; who lives renews his while the sweep waits to look again."""
    lives, gone = started(instance), started(instance)
    for run in (lives, gone):
        heartbeat._beat(instance.run_storage, run.run_id)
    time.sleep(2.2 * heartbeat.HEARTBEAT_SECONDS)
    assert expired_leases(instance) == {lives.run_id, gone.run_id}
    monkeypatch.setattr(
        orphaned_runs.time,
        "sleep",
        lambda _seconds: heartbeat._beat(instance.run_storage, lives.run_id),
    )
    assert sweep_orphans(instance) == [gone.run_id]


def test_a_heartbeat_that_fails_is_tried_again_soon(instance, monkeypatch):
    """The run goes on, and a lease is there as soon as the database is."""
    run, now = started(instance), heartbeat._now
    away = [True]

    def answer(connection):
        if away:
            raise OSError("away")
        return now(connection)

    monkeypatch.setattr(heartbeat, "_now", answer)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 30.0)
    with beating(instance, run.run_id):
        assert leases(instance) == {}
        away.clear()
        time.sleep(0.5)
        assert leases(instance)


def test_a_run_that_ended_meanwhile_is_not_marked_failed(instance, monkeypatch):
    """It was on the list of live runs, its process is gone, and it was a success."""
    run = started(instance, owner())
    monkeypatch.setattr(orphaned_runs, "_orphans", lambda _instance: ([run], set()))
    instance.report_run_canceled(run)
    assert sweep_orphans(instance) == []
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED


def test_leases_of_ended_runs_are_forgotten(instance):
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS)
    heartbeat._beat(instance.run_storage, run.run_id)
    sweep_orphans(instance)
    assert leases(instance)  # it has not run out
    time.sleep(2.2 * heartbeat.HEARTBEAT_SECONDS)
    sweep_orphans(instance)
    assert leases(instance) == {}
    end_leases(instance, [])
