"""Sessions whose runs fail: waited for with growing waits, then given up and reported by name.

Failed runs are put into the record with the times that a test needs; the record is all there is.
"""

from __future__ import annotations

import datetime as dt
import shutil

import dagster as dg
import pytest

from pipelines.attempts import failed_attempts
from pipelines.outlook import SessionFailedError, wait_after
from pipelines.schedules import ATTEMPT_TAG, RANGE_END, RANGE_START
from tests.pipelines.conftest import ChangedBars, make_market
from tests.pipelines.test_schedules import (
    CRON,
    add_run,
    defs_of,
    keys_of,
    mark_done,
    open_record,
    tick,
)


@pytest.fixture
def instance(tmp_path):
    """An empty Dagster record."""
    with open_record(tmp_path / "record") as record:
        yield record


def test_a_failed_session_is_waited_for_and_not_overtaken(market, instance):
    run = add_run(market, instance, "2020-04-01", CRON, why="the vendor is late")
    answer = tick(market, instance, CRON + dt.timedelta(minutes=59))
    assert answer.skip_message == (
        f"2020-04-01: attempt 1 of 6 failed at 2020-04-07 00:30 EDT (run {run.run_id[:8]}): the "
        f"vendor is late; the next is due at 2020-04-07 01:30 EDT; 3 sessions behind it"
    )
    (request,) = tick(market, instance, CRON + dt.timedelta(minutes=60))
    assert (request.partition_key, request.tags[ATTEMPT_TAG]) == ("2020-04-01", "2 of 6")


def test_the_wait_doubles_to_its_cap(tmp_path, instance):
    waits = {"retry_minutes": 30, "max_retry_minutes": 100, "max_attempts": 9}
    market = make_market(tmp_path / "tiny", {"schedule": waits})
    settings = market.config.schedule
    minutes = [wait_after(settings, n).total_seconds() / 60 for n in range(1, 6)]
    assert minutes == [30, 60, 100, 100, 100]
    assert wait_after(settings, 10**6) == dt.timedelta(minutes=100)
    ended = CRON
    for n in (1, 2, 3):
        add_run(market, instance, "2020-04-01", ended)
        due = ended + dt.timedelta(minutes=minutes[n - 1])
        early = tick(market, instance, due - dt.timedelta(minutes=1))
        assert f"attempt {n} of 9" in early.skip_message
        (request,) = tick(market, instance, due)
        assert request.tags[ATTEMPT_TAG] == f"{n + 1} of 9"
        ended = due + dt.timedelta(minutes=5)


@pytest.fixture
def given_up(tmp_path, instance):
    """A market whose session 2020-04-01 has used up its two attempts."""
    market = make_market(tmp_path / "tiny", {"schedule": {"max_attempts": 2}})
    add_run(market, instance, "2020-04-01", CRON)
    add_run(market, instance, "2020-04-01", CRON + dt.timedelta(hours=1), why="still no bars")
    return market


GIVEN_UP = (
    r"2020-04-01: attempt 2 of 2 failed at 2020-04-07 01:30 EDT \(run \w{8}\): still no bars; it "
    r"was the last, and the schedule asks no more; \d sessions behind it\. Put right .* "
    r"`rnn-pipelines backfill --start 2020-04-01 --end 2020-04-01`"
)


def test_a_session_without_attempts_left_fails_the_tick_by_name(given_up, instance):
    with pytest.raises(SessionFailedError, match=GIVEN_UP):
        tick(given_up, instance, CRON + dt.timedelta(hours=1))


def test_it_is_reported_again_at_each_cron_time_and_named_in_between(given_up, instance):
    between = tick(given_up, instance, CRON + dt.timedelta(hours=2))
    assert isinstance(between, dg.SkipReason)
    assert between.skip_message.startswith("2020-04-01: attempt 2 of 2 failed")
    with pytest.raises(SessionFailedError, match=GIVEN_UP):
        tick(given_up, instance, CRON + dt.timedelta(days=1))


def test_a_successful_run_of_a_person_clears_it(given_up, instance):
    add_run(given_up, instance, "2020-04-01", CRON, status=dg.DagsterRunStatus.SUCCESS)
    assert failed_attempts(instance, "daily", "2020-04-01") is None
    mark_done(instance, ["2020-04-01"])
    now = CRON + dt.timedelta(hours=2)
    assert keys_of(tick(given_up, instance, now)) == ["2020-04-02"]


def test_a_canceled_run_is_not_started_again_at_once(market, instance):
    add_run(market, instance, "2020-04-01", CRON, status=dg.DagsterRunStatus.CANCELED, why="by me")
    answer = tick(market, instance, CRON + dt.timedelta(minutes=1))
    assert "by me; the next is due at 2020-04-07 01:30 EDT" in answer.skip_message


def test_only_the_session_itself_counts(market, instance):
    """Failures of other sessions and of ranges say nothing about this one."""
    add_run(market, instance, "2020-04-02", CRON)
    run = instance.create_run_for_job(
        defs_of(market).resolve_job_def("daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START: "2020-04-01", RANGE_END: "2020-04-06"},
    )
    instance.report_run_failed(run, "a range")
    (request,) = tick(market, instance, CRON)
    assert (request.partition_key, request.tags[ATTEMPT_TAG]) == ("2020-04-01", "1 of 6")


def test_data_that_has_not_arrived_is_the_reason_that_is_shown(finished, tmp_path, instance):
    """A run of `daily` itself, with a source that has no bar of its session yet."""
    root = tmp_path / "late"
    shutil.copytree(finished.paths.root, root)
    late = ChangedBars(finished.source, lambda bars: bars[bars["date"] != "2020-04-01"])
    market = make_market(root, source=late)
    job = defs_of(market).resolve_job_def("daily")
    run = job.execute_in_process(
        instance=instance, partition_key="2020-04-01", raise_on_error=False
    )
    assert not run.success
    attempts = failed_attempts(instance, "daily", "2020-04-01")
    assert attempts.count == 1
    assert attempts.reason.startswith("ohlcv: ChangedBars has no bar at all for 2020-04-01: the ")
