"""The sensors: the reports once after a batch of runs, new files that bring a run forward.

The clock of a sensor is given; runs are put into the record with the times that a test needs.
"""

from __future__ import annotations

import datetime as dt
import os

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
)

from pipelines.automation.drop_folder import Watch, look_at
from pipelines.automation.schedule import schedule_is_on
from pipelines.errors import ConfigError
from pipelines.instance.run_history import PARTITION, waits_for_bars_tag
from tests.pipelines.conftest import make_market, open_record
from tests.pipelines.ticks import CRON, NEW_YORK, add_run, defs_of, mark_done

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


def switch(instance, status):
    """What the switch of the schedule in the UI writes."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("pipelines"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, "tiny_daily_retraining")
    instance.add_instigator_state(
        InstigatorState(
            origin,
            InstigatorType.SCHEDULE,
            status,
            ScheduleInstigatorData("30 0 * * *", start_timestamp=0.0),
        )
    )


# --- reports ------------------------------------------------------------------------------------


@pytest.fixture
def on(tmp_path):
    """The tiny market with its schedule switched on."""
    return make_market(tmp_path / "tiny", {"schedule": {"enabled": True}})


def test_reports_follow_a_daily_run_once(on, instance, clock):
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


def test_reports_that_began_before_the_newest_session_do_not_hold_it(on, instance, clock):
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"])
    add_reports_run(on, instance, CRON - dt.timedelta(seconds=20))
    run = add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_a_run_that_found_no_bars_has_no_reports(on, instance, clock):
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    run = add_run(on, instance, "2020-04-03", CRON, status=SUCCESS)
    late = add_run(on, instance, "2020-04-06", CRON + dt.timedelta(minutes=1), status=SUCCESS)
    instance.add_run_tags(late.run_id, waits_for_bars_tag(late.run_id))
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


APRIL = ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"]
FAILED = dg.DagsterEventType.RUN_FAILURE


def test_reports_that_fail_are_tried_again_and_then_named(tmp_path, instance, clock):
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


def test_the_next_session_has_its_reports_tried_anew(on, instance, clock):
    mark_done(instance, APRIL)
    add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    for minutes in range(1, 8):
        add_reports_run(on, instance, CRON + dt.timedelta(minutes=minutes), FAILED, "disk full")
    run = add_run(on, instance, "2020-04-06", CRON + dt.timedelta(hours=1), status=SUCCESS)
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_reports_at_work_are_waited_for(on, instance, clock):
    mark_done(instance, APRIL)
    add_run(on, instance, "2020-04-06", CRON, status=SUCCESS)
    job = defs_of(on).resolve_job_def("tiny_reports")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    busy = look_once(on, "tiny_reports_after_daily", instance).skip_message
    assert busy == f"run {run.run_id[:8]} of tiny_reports waits or works already"


def test_a_batch_of_sessions_shares_the_reports(on, instance, clock):
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


def test_a_session_that_waits_for_its_data_does_not_hold_the_reports_back(on, instance, clock):
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    run = add_run(on, instance, "2020-04-03", CRON, status=SUCCESS)
    add_run(on, instance, "2020-04-06", CRON + dt.timedelta(minutes=1))
    clock(CRON + dt.timedelta(minutes=2))
    assert look_once(on, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_without_the_schedule_each_run_of_a_person_has_its_reports(market, instance, clock):
    """Sessions are missing, and nobody is going to ask for them."""
    run = add_run(market, instance, "2020-04-03", CRON, status=SUCCESS)
    assert look_once(market, "tiny_reports_after_daily", instance).run_key == run.run_id


def test_there_is_nothing_to_report_before_a_label_has_matured(market, instance, clock):
    """The first prediction is of 2020-04-01; its label matures at the second session after it."""
    for key in ("2020-04-01", "2020-04-02"):
        add_run(market, instance, key, CRON, status=SUCCESS)
        answer = look_once(market, "tiny_reports_after_daily", instance)
        assert "no label has matured since training began" in answer.skip_message
    add_run(market, instance, "2020-04-03", CRON, status=SUCCESS)
    assert isinstance(look_once(market, "tiny_reports_after_daily", instance), dg.RunRequest)


def test_the_switch_in_the_ui_overrides_the_yaml(on, market, instance):
    assert schedule_is_on(instance, on)
    assert not schedule_is_on(instance, market)
    switch(instance, InstigatorStatus.STOPPED)
    assert not schedule_is_on(instance, on)


def test_switched_on_in_the_ui(market, instance):
    switch(instance, InstigatorStatus.RUNNING)
    assert schedule_is_on(instance, market)


# --- new files ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "drop"
    path.mkdir()
    (path / "bars-2020-04-03.csv").write_text("bars")
    return path


@pytest.fixture
def watched(tmp_path, folder):
    """A market whose folder is watched, three of four sessions done, the schedule on."""
    changes = {"schedule": {"enabled": True, "drop_folder": str(folder)}}
    return make_market(tmp_path / "tiny", changes)


def waits_for_data(market, instance):
    """2020-04-06 failed at its cron time: its next attempt is an hour away."""
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    add_run(market, instance, "2020-04-06", CRON)


def test_only_a_market_with_a_folder_has_the_sensor(market, watched):
    def names(of):
        return {s.name for s in defs_of(of).sensors}

    assert names(market) == {"tiny_reports_after_daily", "tiny_failed_runs"}
    assert names(watched) == {"tiny_reports_after_daily", "tiny_failed_runs", "tiny_new_files"}


def test_a_new_file_runs_the_session_that_waits(watched, folder, instance, clock):
    waits_for_data(watched, instance)
    clock(CRON + dt.timedelta(minutes=10))
    (folder / "bars-2020-04-06.csv").write_text("the bars of Monday")
    first = look_once(watched, "tiny_new_files", instance)
    assert "waiting until they are complete" in first.skip_reason.skip_message
    second = look_once(watched, "tiny_new_files", instance, first.cursor)
    (request,) = second.run_requests
    assert request.partition_key == "2020-04-06"
    assert request.tags["rnn/attempt"] == "2 of 6"
    third = look_once(watched, "tiny_new_files", instance, second.cursor)
    assert third.skip_reason.skip_message == f"no change in {folder}"
    (folder / "bars-2020-04-06.csv").write_text("the bars of Monday, corrected")
    fourth = look_once(watched, "tiny_new_files", instance, third.cursor)
    (again,) = look_once(watched, "tiny_new_files", instance, fourth.cursor).run_requests
    assert again.run_key != request.run_key


def test_a_new_file_runs_the_session_that_waits_for_its_bars(watched, folder, instance, clock):
    """The run before found no bars and did not fail: it used up no attempt."""
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    late = add_run(watched, instance, "2020-04-06", CRON, status=SUCCESS)
    instance.add_run_tags(late.run_id, waits_for_bars_tag(late.run_id))
    clock(CRON + dt.timedelta(minutes=10))
    cursor = look_once(watched, "tiny_new_files", instance).cursor
    (request,) = look_once(watched, "tiny_new_files", instance, cursor).run_requests
    assert (request.partition_key, request.tags["rnn/attempt"]) == ("2020-04-06", "1 of 6")


def test_a_file_that_grows_is_left_alone(watched, folder, instance, clock):
    waits_for_data(watched, instance)
    clock(CRON + dt.timedelta(minutes=10))
    cursor = None
    for size in range(1, 5):
        (folder / "bars-2020-04-06.csv").write_text("x" * size)
        answer = look_once(watched, "tiny_new_files", instance, cursor)
        assert not answer.run_requests
        cursor = answer.cursor
    assert look_once(watched, "tiny_new_files", instance, cursor).run_requests


def test_a_session_given_up_is_tried_again_when_files_come(tmp_path, folder, instance, clock):
    changes = {"schedule": {"enabled": True, "drop_folder": str(folder), "max_attempts": 1}}
    market = make_market(tmp_path / "tiny", changes)
    waits_for_data(market, instance)
    cursor = look_once(market, "tiny_new_files", instance).cursor
    (request,) = look_once(market, "tiny_new_files", instance, cursor).run_requests
    assert request.partition_key == "2020-04-06"


def test_a_closed_session_is_run_before_its_cron_time(tmp_path, folder, instance, clock):
    changes = {"schedule": {"enabled": True, "drop_folder": str(folder), "cron": "0 6 * * *"}}
    market = make_market(tmp_path / "tiny", changes)
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    cursor = look_once(market, "tiny_new_files", instance).cursor
    clock(dt.datetime(2020, 4, 6, 20, 0, tzinfo=NEW_YORK))  # the session is not over
    answer = look_once(market, "tiny_new_files", instance, cursor)
    assert "every closed session is done" in answer.skip_reason.skip_message
    clock(dt.datetime(2020, 4, 7, 2, 0, tzinfo=NEW_YORK))
    (request,) = look_once(market, "tiny_new_files", instance, cursor).run_requests
    assert request.partition_key == "2020-04-06"


@pytest.mark.parametrize("minutes", [58, 60, 70])
def test_what_the_schedule_asks_for_itself_is_left_to_it(watched, folder, instance, clock, minutes):
    """Two requests for one session within a moment would be two runs of it."""
    waits_for_data(watched, instance)
    cursor = look_once(watched, "tiny_new_files", instance).cursor
    clock(CRON + dt.timedelta(minutes=minutes))
    answer = look_once(watched, "tiny_new_files", instance, cursor)
    assert "the schedule asks for 2020-04-06 in a moment" in answer.skip_reason.skip_message
    switch(instance, InstigatorStatus.STOPPED)
    assert look_once(watched, "tiny_new_files", instance, answer.cursor).run_requests


def test_a_change_during_a_run_is_kept_for_after_it(watched, folder, instance, clock):
    waits_for_data(watched, instance)
    clock(CRON + dt.timedelta(minutes=10))
    cursor = look_once(watched, "tiny_new_files", instance).cursor
    job = defs_of(watched).resolve_job_def("tiny_daily")
    run = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={PARTITION: "2020-04-06"}
    )
    answer = look_once(watched, "tiny_new_files", instance, cursor)
    assert "is working on 2020-04-06" in answer.skip_reason.skip_message
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_FAILURE.value,
        job_name="tiny_daily",
        message="late",
    )
    ended = CRON + dt.timedelta(minutes=9)
    instance.report_dagster_event(event, run.run_id, timestamp=ended.timestamp())
    assert look_once(watched, "tiny_new_files", instance, answer.cursor).run_requests


def test_a_folder_that_is_not_there_is_named(watched, folder, instance, clock):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    answer = look_once(watched, "tiny_new_files", instance)
    assert f"cannot look into {folder}: {folder} is not a folder" in answer.skip_reason.skip_message


def test_the_digest_sees_names_sizes_and_times_of_what_is_not_hidden(folder):
    file, (before, stamp) = folder / "bars-2020-04-03.csv", (look_at(folder), 10**18)
    os.utime(file, ns=(stamp, stamp))
    touched = look_at(folder)
    assert touched != before
    (folder / ".partial").write_text("being written")
    (folder / "empty").mkdir()
    assert look_at(folder) == touched
    (folder / "empty" / "more.csv").write_text("")
    assert look_at(folder) != touched
    file.rename(folder / "other.csv")
    renamed = look_at(folder)
    (folder / "empty" / "more.csv").unlink()
    assert len({before, touched, renamed, look_at(folder)}) == 4


@pytest.mark.parametrize("cursor", [None, "", "no json", "{}", "[]", '{"seen": "a"}'])
def test_a_foreign_cursor_means_nothing_was_seen(cursor):
    assert Watch.of(cursor) == Watch()
    assert Watch.of(Watch("a", "b").cursor()) == Watch("a", "b")


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"every_minutes": 7}}, "schedule.every_minutes: 7 does not divide an hour"),
        ({"schedule": {"every_minutes": 60}}, r"schedule.every_minutes: .*less than or equal to 3"),
        ({"schedule": {"drop_folder": "bars"}}, "schedule.drop_folder: 'bars' depends on where"),
        (
            {"schedule": {"retry_minutes": 500}},
            "schedule: max_retry_minutes 480 is less than retry_minutes 500",
        ),
        ({"schedule": {"max_attempts": 0}}, "schedule.max_attempts: .*greater than 0"),
        (
            {"alerts": {"on_failure": "notify --urgent"}},
            r"alerts.on_failure: expected the program and its arguments as a list",
        ),
        ({"alerts": {"on_failur": []}}, "alerts.on_failur: unknown key; did you mean 'on_failure'"),
    ],
)
def test_wrong_values_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_market(tmp_path, changes)


def test_an_empty_alert_is_none(tmp_path):
    assert make_market(tmp_path, {"alerts": {"on_failure": None}}).config.alerts.on_failure == ()
