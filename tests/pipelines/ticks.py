"""Ticks of the schedule at given moments, and a record of runs to evaluate them over."""

from __future__ import annotations

import datetime as dt
from functools import cache
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    ScheduleInstigatorData,
)
from dagster._core.utils import make_new_run_id

from pipelines.build import build_definitions
from pipelines.instance.run_history import PARTITION
from tests.pipelines.conftest import key_of

NEW_YORK = ZoneInfo("America/New_York")
LAST = tuple(
    f"{model}_{kind}" for kind in ("evaluation", "portfolio") for model in ("lstm", "gru", "krnn")
)
CRON = dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK)  # the session of Monday 2020-04-06 is due


@cache
def defs_of(market):
    """The definitions of a market, built once."""
    return build_definitions(market)


def tick(market, instance, now):
    schedule = defs_of(market).resolve_schedule_def("tiny_daily_retraining")
    return evaluate(schedule, instance, now)


def evaluate(schedule, instance, now):
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=now) as context:
        return schedule(context)


def keys_of(answer):
    return [request.partition_key for request in answer]


def mark_done(instance, keys):
    for key in keys:
        for name in LAST:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=key_of(name), partition=key)
            )


def add_run(market, instance, key, ended, status=dg.DagsterRunStatus.FAILURE, why="no bars"):
    """A run of `daily` that ended at a given moment, without the sixty events of its plan."""
    run = instance.add_run(
        dg.DagsterRun(
            "tiny_daily",
            run_id=make_new_run_id(),
            status=dg.DagsterRunStatus.STARTED,
            tags={PARTITION: key},
        )
    )
    kind = {
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
    }[status]
    event = dg.DagsterEvent(event_type_value=kind.value, job_name="tiny_daily", message=why)
    instance.report_dagster_event(event, run.run_id, timestamp=ended.timestamp())
    return run


def switched(instance, name, status, location="pipelines"):
    """Turn a schedule on or off, as the switch of the UI does."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(repository, name),
            InstigatorType.SCHEDULE,
            status,
            ScheduleInstigatorData("30 0 * * *", start_timestamp=0.0),
        )
    )
