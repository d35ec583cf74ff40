"""A record, a clock and looks of the sensors, for their tests."""

from __future__ import annotations

import dagster as dg
import pytest

from tests.pipelines.conftest import open_record
from tests.pipelines.ticks import CRON, defs_of

SUCCESS = dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def instance(tmp_path):
    """A Dagster record on disk: the switches of schedules are not kept in memory."""
    with open_record(tmp_path / "record") as record:
        yield record


@pytest.fixture
def clock(monkeypatch):
    """Sets what the sensors take for now."""

    def at(moment):
        monkeypatch.setattr("pipelines.automation.sensors.utc_now", lambda: moment)

    at(CRON)
    return at


def sensor_of(market, name):
    return defs_of(market).resolve_sensor_def(name)


def look_once(market, name, instance, cursor=None):
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return sensor_of(market, name)(context)


def add_reports_run(market, instance, started, kind=dg.DagsterEventType.RUN_SUCCESS, why=""):
    run = instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_reports"), status=dg.DagsterRunStatus.STARTING
    )
    for each in (dg.DagsterEventType.RUN_START, kind):
        event = dg.DagsterEvent(event_type_value=each.value, job_name="tiny_reports", message=why)
        instance.report_dagster_event(event, run.run_id, timestamp=started.timestamp())
    return run
