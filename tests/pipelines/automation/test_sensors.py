"""The sensor of the reports: once after a batch of runs.

The clock of a sensor is given; runs are put into the record with the times that a test needs.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import (
    InstigatorStatus,
)

from pipelines.instance.run_history import PARTITION, runs_since, waits_for_bars_tag
from pipelines.instance.schedule_switch import schedule_is_on
from tests.pipelines.automation.sensors import (  # noqa: F401
    add_reports_run,
    clock,
    instance,
    look_once,
    sensor_of,
)
from tests.pipelines.conftest import make_market
from tests.pipelines.records import on_both_records
from tests.pipelines.ticks import CRON, add_run, defs_of, mark_done, switched

pytestmark = on_both_records

SUCCESS = dg.DagsterRunStatus.SUCCESS

# --- reports ------------------------------------------------------------------------------------


@pytest.fixture
def on(tmp_path):
    """The tiny market with its schedule switched on."""
    return make_market(tmp_path / "tiny", {"schedule": {"enabled": True}})


def test_reports_follow_a_daily_run_once(on, instance, clock):  # noqa: F811
    assert sensor_of(on, "tiny_reports_after_daily").job_name == "tiny_reports"
    nothing = look_once(on, "tiny_reports_after_daily", instance)
    assert nothing.skip_message == "no run of tiny_daily has succeeded yet"
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"])
    run = add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    request = look_once(on, "tiny_reports_after_daily", instance)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == run.run_id
    add_reports_run(on, instance, CRON + dt.timedelta(seconds=20))
    after = look_once(on, "tiny_reports_after_daily", instance)
    assert "the reports hold run" in after.skip_message


def test_reports_that_began_before_the_newest_session_do_not_hold_it(on, instance, clock):  # noqa: F811
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"])
    add_reports_run(on, instance, CRON - dt.timedelta(seconds=20))
    run = add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_a_run_that_found_no_bars_has_no_reports(on, instance, clock):  # noqa: F811
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    run = add_run(on, instance, "2020-04-03", CRON, status=SUCCESS)
    late = add_run(on, instance, "2020-04-06", CRON + dt.timedelta(minutes=1), status=SUCCESS)
    instance.add_run_tags(late.run_id, waits_for_bars_tag(late.run_id))
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


APRIL = ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"]
FAILED = dg.DagsterEventType.RUN_FAILURE


def test_reports_that_fail_are_tried_again_and_then_named(tmp_path, instance, clock):  # noqa: F811
    changes = {"schedule": {"enabled": True, "max_attempts": 2, "retry_minutes": 60}}
    market = make_market(tmp_path / "tiny", changes)
    mark_done(instance, APRIL)
    run = add_run(market, instance, "2020-04-06", CRON, status=SUCCESS)
    minute = dt.timedelta(minutes=1)
    add_reports_run(market, instance, CRON + minute, FAILED, "power cut")
    clock(CRON + 2 * minute)
    waiting = look_once(market, "tiny_reports_after_daily", instance).skip_message
    assert waiting.startswith(f"attempt 1 of 2 at the reports of run {run.run_id[:8]} failed at ")
    assert "2020-04-07 00:31 EDT" in waiting
    assert "power cut; the next is due at 2020-04-07 01:31 EDT" in waiting
    clock(CRON + 61 * minute)
    again = look_once(market, "tiny_reports_after_daily", instance)
    assert again.run_key == f"{run.run_id} 2", "another key: the first was asked for"
    add_reports_run(market, instance, CRON + 61 * minute, FAILED, "disk full")
    clock(CRON + dt.timedelta(days=1))
    named = look_once(market, "tiny_reports_after_daily", instance).skip_message
    assert "attempt 2 of 2" in named
    assert (
        "disk full; it was the last. Put right what the reason names and launch tiny_rep" in named
    )
    add_reports_run(market, instance, CRON + dt.timedelta(hours=3))
    held = look_once(market, "tiny_reports_after_daily", instance).skip_message
    assert held.startswith("the reports hold run")


def test_the_next_session_has_its_reports_tried_anew(on, instance, clock):  # noqa: F811
    mark_done(instance, APRIL)
    add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    for minutes in range(1, 8):
        add_reports_run(on, instance, CRON + dt.timedelta(minutes=minutes), FAILED, "disk full")
    run = add_run(on, instance, "2020-04-06", CRON + dt.timedelta(hours=1), status=SUCCESS)
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_of_a_long_history_of_reports_the_newest_are_read(on, instance, clock, monkeypatch):  # noqa: F811
    """45 runs of reports before the newest session, and 45 that failed after it."""
    job, counts = "tiny_reports", []
    for minute in range(45):
        add_reports_run(on, instance, CRON + dt.timedelta(minutes=minute))
    read = instance.get_run_records
    monkeypatch.setattr(
        instance, "get_run_records", lambda *a, **k: counts.append(k["limit"]) or read(*a, **k)
    )
    after = CRON + dt.timedelta(hours=1)
    found = runs_since(instance, job, after.timestamp())
    assert (found.live, found.succeeded, found.failures) == (None, False, 0)
    assert counts == [20]
    for minute in range(45):
        add_reports_run(on, instance, after + dt.timedelta(minutes=minute), FAILED, "disk full")
    found = runs_since(instance, job, after.timestamp())
    assert (found.succeeded, found.failures) == (False, 45)
    assert counts == [20, 20, 20, 20, 20]


def test_reports_at_work_are_waited_for(on, instance, clock):  # noqa: F811
    mark_done(instance, APRIL)
    add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    job = defs_of(on).resolve_job_def("tiny_reports")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    busy = look_once(on, "tiny_reports_after_daily", instance).skip_message
    assert busy == f"run {run.run_id[:8]} of tiny_reports waits or works already"


def test_a_batch_of_sessions_shares_the_reports(on, instance, clock):  # noqa: F811
    """Three sessions are caught up one after the other: nothing until the last of them is done."""
    clock(CRON + dt.timedelta(days=1))
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    add_run(on, instance, "2020-04-03", CRON, status=SUCCESS)
    waiting = look_once(on, "tiny_reports_after_daily", instance)
    assert waiting.skip_message == "2020-04-06 is next: the reports follow it"
    mark_done(instance, ["2020-04-06"])
    add_run(on, instance, "2020-04-06", CRON + dt.timedelta(minutes=1), status=SUCCESS)
    job = defs_of(on).resolve_job_def("tiny_daily")
    live = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={PARTITION: "2020-04-07"}
    )
    busy = look_once(on, "tiny_reports_after_daily", instance)
    assert "is working on 2020-04-07: the reports follow it" in busy.skip_message
    mark_done(instance, ["2020-04-07"])
    instance.report_dagster_event(
        dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_SUCCESS.value,
            job_name="tiny_daily",
            message="",
        ),
        live.run_id,
        timestamp=(CRON + dt.timedelta(minutes=2)).timestamp(),
    )
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == live.run_id


def test_a_session_that_waits_for_its_data_does_not_hold_the_reports_back(on, instance, clock):  # noqa: F811
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    run = add_run(on, instance, "2020-04-03", CRON, status=SUCCESS)
    add_run(on, instance, "2020-04-06", CRON + dt.timedelta(minutes=1))
    clock(CRON + dt.timedelta(minutes=2))
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_without_the_schedule_each_run_of_a_person_has_its_reports(market, instance, clock):  # noqa: F811
    """Sessions are missing, and nobody is going to ask for them."""
    run = add_run(market, instance, "2020-04-03", CRON, status=SUCCESS)
    assert look_once(market, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_there_is_nothing_to_report_before_a_label_has_matured(market, instance, clock):  # noqa: F811
    """The first prediction is of 2020-04-01; its label matures at the second session after it."""
    for key in ("2020-04-01", "2020-04-02"):
        add_run(market, instance, key, CRON, status=SUCCESS)
        answer = look_once(market, "tiny_reports_after_daily", instance)
        assert "no label has matured since training began" in answer.skip_message
    add_run(market, instance, "2020-04-03", CRON, status=SUCCESS)
    assert isinstance(look_once(market, "tiny_reports_after_daily", instance), dg.RunRequest)


def test_the_switch_in_the_ui_overrides_the_yaml(on, market, instance):  # noqa: F811
    assert schedule_is_on(instance, on)
    assert not schedule_is_on(instance, market)
    switched(instance, "tiny_daily_retraining", InstigatorStatus.STOPPED)
    assert not schedule_is_on(instance, on)


def test_switched_on_in_the_ui(market, instance):  # noqa: F811
    switched(instance, "tiny_daily_retraining", InstigatorStatus.RUNNING)
    assert schedule_is_on(instance, market)
