"""Failed runs as they are told: a line in the log, and a program given the reason.

The program of these tests is Python itself, writing down what it was given.
"""

from __future__ import annotations

import datetime as dt
import json
import sys

import dagster as dg
import pytest

from pipelines.automation.alerts import FAILURES, Failure, write_line
from pipelines.build import build_definitions
from pipelines.instance.run_history import (
    RANGE_END,
    RANGE_START,
    failure_reason,
    waits_for_bars_tag,
)
from pipelines.operations.runs import run_assets
from tests.pipelines.conftest import ChangedBars, key_of, make_market, open_record
from tests.pipelines.ticks import CRON, add_run, defs_of


@pytest.fixture
def instance(tmp_path):
    """A Dagster record on disk: the switches of schedules are not kept in memory."""
    with open_record(tmp_path / "record") as record:
        yield record


TELL = """
import json, os, sys
names = ("MARKET", "RUN_ID", "JOB", "SESSION", "REASON", "RETRY", "GIVEN_UP")
with open(sys.argv[1], "w") as file:
    json.dump({name: os.environ["RNN_" + name] for name in names} | {"args": sys.argv[2:]}, file)
"""


def fail(market, instance, run):
    """What the daemon does once a run has failed."""
    context = dg.build_run_status_sensor_context(
        sensor_name="tiny_failed_runs",
        dagster_event=dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_FAILURE.value,
            job_name="tiny_daily",
            message="it",
        ),
        dagster_instance=instance,
        dagster_run=instance.get_run_by_id(run.run_id),
    ).for_run_failure()
    defs_of(market).resolve_sensor_def("tiny_failed_runs")(context)


def lines(market):
    text = (market.paths.reports / FAILURES).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_failed_run_is_logged_and_told_to_the_program(tmp_path, instance):
    told = tmp_path / "told.json"
    program = [sys.executable, "-c", TELL, str(told), "an argument; rm -rf $HOME"]
    changes = {"alerts": {"on_failure": program}, "schedule": {"enabled": True}}
    market = make_market(tmp_path / "tiny", changes, named="my market.yaml")
    run = add_run(market, instance, "2020-04-01", CRON, why="the vendor is late")
    fail(market, instance, run)
    retry = (
        "rnn-pipelines backfill --start 2020-04-01 --end 2020-04-01 --config 'my market.yaml'; "
        "the schedule tries again at 2020-04-07 01:30 EDT, attempt 2 of 6"
    )
    assert json.loads(told.read_text()) == {
        "MARKET": "tiny",
        "RUN_ID": run.run_id,
        "JOB": "daily",
        "SESSION": "2020-04-01",
        "REASON": "the vendor is late",
        "RETRY": retry,
        "GIVEN_UP": "0",
        "args": ["an argument; rm -rf $HOME"],
    }
    assert lines(market) == [
        {
            "time": "2020-04-07T04:30:00+00:00",
            "market": "tiny",
            "run_id": run.run_id,
            "job": "daily",
            "session": "2020-04-01",
            "attempt": 1,
            "given_up": False,
            "reason": "the vendor is late",
            "retry": retry,
        }
    ]


def test_the_last_attempt_says_that_it_was_the_last(tmp_path, instance, monkeypatch):
    monkeypatch.delenv("RNN_CONFIG", raising=False)
    changes = {"schedule": {"enabled": True, "max_attempts": 2}}
    market = make_market(tmp_path / "tiny", changes)
    for hours in (0, 1):
        run = add_run(market, instance, "2020-04-01", CRON + dt.timedelta(hours=hours))
        fail(market, instance, run)
    first, last = lines(market)
    assert (first["attempt"], first["given_up"]) == (1, False)
    assert (last["attempt"], last["given_up"]) == (2, True)
    assert last["retry"] == (
        "rnn-pipelines backfill --start 2020-04-01 --end 2020-04-01; the schedule has given it up "
        "after 2 failed runs"
    )


def test_bars_that_are_late_are_told_as_such_and_not_as_given_up(tmp_path, instance, monkeypatch):
    """One attempt is allowed, and none was used."""
    monkeypatch.delenv("RNN_CONFIG", raising=False)
    changes = {"schedule": {"enabled": True, "max_attempts": 1}}
    market = make_market(tmp_path / "tiny", changes)
    run = add_run(market, instance, "2020-04-01", CRON, why="no bars yet")
    instance.add_run_tags(run.run_id, waits_for_bars_tag(run.run_id))
    fail(market, instance, run)
    (told,) = lines(market)
    assert (told["attempt"], told["given_up"]) == (1, False)
    assert told["retry"].endswith("; the schedule asks for its bars again at 2020-04-07 01:30 EDT")


def test_a_range_and_a_run_without_sessions_are_told_as_such(market, instance, monkeypatch):
    monkeypatch.delenv("RNN_CONFIG", raising=False)
    defs = defs_of(market)
    ranged = instance.create_run_for_job(
        defs.resolve_job_def("tiny_daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START: "2020-04-01", RANGE_END: "2020-04-02"},
    )
    plain = instance.create_run_for_job(
        defs.resolve_job_def("tiny_reports"), status=dg.DagsterRunStatus.STARTED
    )
    for run in (ranged, plain):
        instance.report_run_failed(run, "the reason")
        fail(market, instance, run)
    first, second = lines(market)
    assert first["session"] == "2020-04-01..2020-04-02"
    assert first["retry"] == (
        "rnn-pipelines backfill --start 2020-04-01 --end 2020-04-02; nothing tries it again by "
        "itself"
    )
    assert second["session"] == ""
    assert second["retry"].startswith("launch tiny_reports again in the UI; ")


def test_a_process_that_died_is_the_reason_where_no_step_failed(market, instance):
    """What the daemon's code server writes when the process of a run is gone."""
    run = instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_daily"), status=dg.DagsterRunStatus.STARTED
    )
    instance.report_engine_event("Starting execution", run)
    crash = f"Run execution process for {run.run_id} was terminated by signal 9 (SIGKILL)."
    instance.report_engine_event(crash, run)
    instance.report_run_failed(run)
    assert failure_reason(instance, run.run_id) == crash


def test_the_reason_is_that_of_the_failed_step(tmp_path, instance):
    source = make_market(tmp_path / "a").source
    market = make_market(tmp_path / "tiny", source=ChangedBars(source, lambda bars: bars[:0]))
    key = market.sessions.first
    job = build_definitions(market).resolve_job_def("tiny_daily")
    job.execute_in_process(
        instance=instance, partition_key=key, asset_selection=[key_of("ohlcv")],
        raise_on_error=False,
    )  # fmt: skip
    fail(market, instance, instance.get_runs()[0])
    (line,) = lines(market)
    assert line["reason"].startswith(f"ohlcv: ChangedBars has no bar at all for {key}: the data")


def test_a_failed_command_is_told_by_its_terminal_alone(tmp_path, instance):
    source = make_market(tmp_path / "a").source
    market = make_market(tmp_path / "tiny", source=ChangedBars(source, lambda bars: bars[:0]))
    key = market.sessions.first
    with pytest.raises(Exception, match="no bar at all"):
        run_assets(build_definitions(market), instance, ["ohlcv"], (key, key))
    fail(market, instance, instance.get_runs()[0])
    assert not (market.paths.reports / "failures.jsonl").exists()


def a_failure(**changes):
    fields = {
        "time": "2020-04-07T04:30:00+00:00",
        "run_id": "r",
        "market": "tiny",
        "job": "daily",
        "session": "2020-04-01",
        "attempt": 1,
        "given_up": False,
        "reason": "why",
        "retry": "how",
    }
    return Failure(**{**fields, **changes})


def test_a_failing_program_and_a_full_disk_do_not_fail_the_sensor(tmp_path, instance, monkeypatch):
    changes = {"alerts": {"on_failure": [str(tmp_path / "nothing")]}}
    market = make_market(tmp_path / "tiny", changes)
    run = add_run(market, instance, "2020-04-01", CRON)

    def full(folder, failure):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.automation.sensors.write_line", full)
    fail(market, instance, run)


def test_lines_are_added_and_nothing_else_is_touched(tmp_path):
    write_line(tmp_path / "reports", a_failure(reason="zwei\nZeilen ü"))
    path = write_line(tmp_path / "reports", a_failure(session=""))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [f["reason"] for f in found] == ["zwei\nZeilen ü", "why"]


def test_a_line_that_a_full_disk_cut_off_swallows_no_other(tmp_path):
    path = write_line(tmp_path, a_failure(reason="first"))
    path.write_bytes(path.read_bytes()[:-5])
    write_line(tmp_path, a_failure(reason="second"))
    cut, whole = path.read_text().splitlines()
    assert "first" in cut and json.loads(whole)["reason"] == "second"
