"""The sensor of new files: they bring a run forward. The clock of the sensor is given."""

from __future__ import annotations

import datetime as dt
import os

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import (
    InstigatorStatus,
)

from pipelines.automation.drop_folder import Watch, look_at
from pipelines.errors import ConfigError
from pipelines.instance.run_history import PARTITION, waits_for_bars_tag
from tests.pipelines.automation.sensors import (  # noqa: F401
    add_reports_run,
    clock,
    instance,
    look_once,
    sensor_of,
)
from tests.pipelines.conftest import make_market
from tests.pipelines.ticks import CRON, NEW_YORK, add_run, defs_of, mark_done, switched

SUCCESS = dg.DagsterRunStatus.SUCCESS


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


def waits_for_data(market, instance):  # noqa: F811
    """2020-04-06 failed at its cron time: its next attempt is an hour away."""
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    add_run(market, instance, "2020-04-06", CRON)


def test_only_a_market_with_a_folder_has_the_sensor(market, watched):
    def names(of):
        return {s.name for s in defs_of(of).sensors}

    assert names(market) == {"tiny_reports_after_daily", "tiny_failed_runs"}
    assert names(watched) == {"tiny_reports_after_daily", "tiny_failed_runs", "tiny_new_files"}


def test_a_new_file_runs_the_session_that_waits(watched, folder, instance, clock):  # noqa: F811
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


def test_a_new_file_runs_the_session_that_waits_for_its_bars(watched, folder, instance, clock):  # noqa: F811
    """The run before found no bars and did not fail: it used up no attempt."""
    mark_done(instance, ["2020-04-01", "2020-04-02", "2020-04-03"])
    late = add_run(watched, instance, "2020-04-06", CRON, status=SUCCESS)
    instance.add_run_tags(late.run_id, waits_for_bars_tag(late.run_id))
    clock(CRON + dt.timedelta(minutes=10))
    cursor = look_once(watched, "tiny_new_files", instance).cursor
    (request,) = look_once(watched, "tiny_new_files", instance, cursor).run_requests
    assert (request.partition_key, request.tags["rnn/attempt"]) == ("2020-04-06", "1 of 6")


def test_a_file_that_grows_is_left_alone(watched, folder, instance, clock):  # noqa: F811
    waits_for_data(watched, instance)
    clock(CRON + dt.timedelta(minutes=10))
    cursor = None
    for size in range(1, 5):
        (folder / "bars-2020-04-06.csv").write_text("x" * size)
        answer = look_once(watched, "tiny_new_files", instance, cursor)
        assert not answer.run_requests
        cursor = answer.cursor
    assert look_once(watched, "tiny_new_files", instance, cursor).run_requests


def test_a_session_given_up_is_tried_again_when_files_come(tmp_path, folder, instance, clock):  # noqa: F811
    changes = {"schedule": {"enabled": True, "drop_folder": str(folder), "max_attempts": 1}}
    market = make_market(tmp_path / "tiny", changes)
    waits_for_data(market, instance)
    cursor = look_once(market, "tiny_new_files", instance).cursor
    (request,) = look_once(market, "tiny_new_files", instance, cursor).run_requests
    assert request.partition_key == "2020-04-06"


def test_a_closed_session_is_run_before_its_cron_time(tmp_path, folder, instance, clock):  # noqa: F811
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
def test_what_the_schedule_asks_for_itself_is_left_to_it(watched, folder, instance, clock, minutes):  # noqa: F811
    """Two requests for one session within a moment would be two runs of it."""
    waits_for_data(watched, instance)
    cursor = look_once(watched, "tiny_new_files", instance).cursor
    clock(CRON + dt.timedelta(minutes=minutes))
    answer = look_once(watched, "tiny_new_files", instance, cursor)
    assert "the schedule asks for 2020-04-06 in a moment" in answer.skip_reason.skip_message
    switched(instance, "tiny_daily_retraining", InstigatorStatus.STOPPED)
    assert look_once(watched, "tiny_new_files", instance, answer.cursor).run_requests


def test_a_change_during_a_run_is_kept_for_after_it(watched, folder, instance, clock):  # noqa: F811
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


def test_a_folder_that_is_not_there_is_named(watched, folder, instance, clock):  # noqa: F811
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
