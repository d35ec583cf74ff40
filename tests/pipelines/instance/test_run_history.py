"""Sessions whose runs fail: waited for with growing waits, then given up and reported by name.

Failed runs are put into the record with the times that a test needs; the record is all there is.
"""

from __future__ import annotations

import datetime as dt
import shutil

import dagster as dg
import dagster._core.executor.in_process as in_process
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.automation.next_session import SessionFailedError, look, wait_after
from pipelines.automation.schedule import ATTEMPT_TAG
from pipelines.errors import PipelineError
from pipelines.instance.run_history import (
    RANGE_END,
    RANGE_START,
    WAITS_TAG,
    failed_attempts,
    failure_reason,
    waits_for_bars_tag,
)
from pipelines.instance.waiting import LAST_TAG
from pipelines.training.train import ensure_trained
from tests.pipelines.conftest import ChangedBars, key_of, make_market, open_record
from tests.pipelines.finished_markets import copy_of
from tests.pipelines.records import on_both_records
from tests.pipelines.ticks import CRON, LAST, add_run, defs_of, keys_of, mark_done, tick

pytestmark = on_both_records


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
    assert failed_attempts(instance, "tiny_daily", "2020-04-01") is None
    mark_done(instance, ["2020-04-01"])
    now = CRON + dt.timedelta(hours=2)
    assert keys_of(tick(given_up, instance, now)) == ["2020-04-02"]


def test_failures_before_a_backfill_that_made_the_session_are_past(given_up, instance):
    """Made by a backfill after all; a year later a model was added, and it is to be made again."""
    key = "2020-04-01"
    models = [key_of(name) for name in (*LAST, "fourth_evaluation")]
    assert look(
        given_up, stages(given_up), instance, "tiny_daily", CRON + dt.timedelta(hours=2)
    ).given_up
    mark_done(instance, [key])
    assert failed_attempts(instance, "tiny_daily", key, models) is None
    add_run(given_up, instance, key, dt.datetime.now(dt.UTC) + dt.timedelta(hours=1), why="new")
    assert failed_attempts(instance, "tiny_daily", key, models).count == 1


def test_what_a_failed_run_made_does_not_end_the_count(finished, tmp_path, instance, monkeypatch):
    """One model fails in every run, the evaluations of the others are recorded in each."""

    def fail(market, spec, key, **kwargs):
        if spec.name == "gru":
            raise PipelineError("the accelerator is gone")
        return ensure_trained(market, spec, key, **kwargs)

    market = copy_of(finished, tmp_path / "tiny")
    monkeypatch.setattr("pipelines.assets.models.ensure_trained", fail)
    job = defs_of(market).resolve_job_def("tiny_daily")
    for _ in range(2):
        job.execute_in_process(
            instance=instance, partition_key=KEY, raise_on_error=False,
            tags={"rnn/current": "remake"},
        )  # fmt: skip
    assert failed_attempts(instance, "tiny_daily", KEY, [key_of(name) for name in LAST]).count == 2


def test_a_canceled_run_is_not_started_again_at_once(market, instance):
    add_run(market, instance, "2020-04-01", CRON, status=dg.DagsterRunStatus.CANCELED, why="by me")
    answer = tick(market, instance, CRON + dt.timedelta(minutes=1))
    assert "by me; the next is due at 2020-04-07 01:30 EDT" in answer.skip_message


def test_only_the_session_itself_counts(market, instance):
    """Failures of other sessions and of ranges say nothing about this one."""
    add_run(market, instance, "2020-04-02", CRON)
    run = instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_daily"),
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
    job = defs_of(market).resolve_job_def("tiny_daily")
    run = job.execute_in_process(
        instance=instance, partition_key="2020-04-01", raise_on_error=False
    )
    assert not run.success
    attempts = failed_attempts(instance, "tiny_daily", "2020-04-01")
    assert attempts.count == 1
    assert attempts.reason.startswith("ohlcv: ChangedBars has no bar at all for 2020-04-01: the ")


# --- bars that have not arrived ------------------------------------------------------------------

KEY = "2020-04-01"
HOUR = dt.timedelta(hours=1)


def add_late(market, instance, ended):
    """A run of the first session that found no bars yet."""
    run = add_run(market, instance, KEY, ended, why="no bars yet")
    instance.add_run_tags(run.run_id, waits_for_bars_tag(run.run_id))
    return run


def test_bars_that_are_late_are_asked_for_after_the_same_waits(market, instance):
    """Retry_minutes 60, doubled to 480: asked for again 1, 3, 7, 15, 23 and 31 hours later."""
    moments = [CRON + hours * HOUR for hours in (0, 1, 3, 7, 15, 23)]
    for n, (now, due) in enumerate(zip(moments, [*moments[1:], CRON + 31 * HOUR], strict=True)):
        add_late(market, instance, now)
        early = tick(market, instance, due - dt.timedelta(minutes=1))
        assert "its bars were asked for" in early.skip_message
        assert (f"{n + 1} times since 2020-04-07 00:30 EDT" if n else "once") in early.skip_message
        (asked,) = tick(market, instance, due)
        assert (asked.partition_key, asked.tags[ATTEMPT_TAG]) == (KEY, "1 of 6")
    last = add_late(market, instance, CRON + 31 * HOUR)
    with pytest.raises(SessionFailedError, match=rf"{KEY}: its bars were asked for 7 times since "):
        tick(market, instance, CRON + 31 * HOUR)
    assert failed_attempts(instance, "tiny_daily", KEY).run_id == last.run_id


def test_a_session_that_waits_is_no_failure_until_the_last_time(tmp_path, instance):
    """Runs that found no bars end well; the last one that is asked for says so by a tag."""
    market = make_market(tmp_path / "tiny", {"schedule": {"max_attempts": 2}})

    def wait(ended):
        run = add_run(market, instance, KEY, ended, status=dg.DagsterRunStatus.SUCCESS)
        instance.add_run_tags(run.run_id, waits_for_bars_tag(run.run_id))

    wait(CRON)
    answer = tick(market, instance, CRON + dt.timedelta(minutes=1))
    assert answer.skip_message.startswith(f"{KEY} waits for its bars: its bars were asked for once")
    assert "attempt" not in answer.skip_message
    (asked,) = tick(market, instance, CRON + HOUR)
    assert LAST_TAG not in asked.tags
    wait(CRON + HOUR)
    (asked,) = tick(market, instance, CRON + 3 * HOUR)
    assert LAST_TAG in asked.tags
    run = add_late(market, instance, CRON + 3 * HOUR)
    with pytest.raises(SessionFailedError, match=f"{KEY}: its bars were asked for 3 times since"):
        tick(market, instance, CRON + 3 * HOUR)
    assert failed_attempts(instance, "tiny_daily", KEY).run_id == run.run_id
    add_run(market, instance, KEY, CRON + 4 * HOUR, status=dg.DagsterRunStatus.SUCCESS)
    assert failed_attempts(instance, "tiny_daily", KEY) is None


def test_many_looks_in_vain_do_not_give_a_session_up_early(market, instance):
    """A drop folder that receives its files one by one starts a run for each of them."""
    for minute in range(12):
        add_late(market, instance, CRON + dt.timedelta(minutes=minute))
    attempts = failed_attempts(instance, "tiny_daily", KEY)
    assert (attempts.count, attempts.late, attempts.runs) == (0, 12, 12)
    assert (
        "the next is due at 2020-04-07 01:30 EDT"
        in tick(market, instance, CRON + dt.timedelta(minutes=20)).skip_message
    )


def test_what_is_wrong_after_they_came_has_all_its_attempts(tmp_path, instance):
    market = make_market(tmp_path / "tiny", {"schedule": {"max_attempts": 2}})
    add_late(market, instance, CRON)
    add_late(market, instance, CRON + HOUR)
    add_run(market, instance, KEY, CRON + 2 * HOUR, why="a bad tick")
    answer = tick(market, instance, CRON + 2 * HOUR)
    assert answer.skip_message.startswith(f"{KEY}: attempt 1 of 2 failed at 2020-04-07 02:30 EDT")
    (asked,) = tick(market, instance, CRON + 3 * HOUR)
    assert asked.tags[ATTEMPT_TAG] == "2 of 2"
    add_run(market, instance, KEY, CRON + 3 * HOUR, why="a bad tick")
    assert look(market, stages(market), instance, "tiny_daily", CRON + 3 * HOUR).given_up


def test_a_run_executed_again_in_the_ui_fails_of_its_own(market, instance):
    """It has the tags of the run that found no bars, this one's among them."""
    late = add_late(market, instance, CRON)
    tags = instance.get_run_by_id(late.run_id).tags
    again = add_run(market, instance, KEY, CRON + HOUR, why="a score is NaN")
    instance.add_run_tags(again.run_id, tags)
    attempts = failed_attempts(instance, "tiny_daily", KEY)
    assert (attempts.count, attempts.late, attempts.late_since) == (1, 1, None)


class LateBars(ChangedBars):
    """A source that knows its days and has none from a session on."""

    def __init__(self, source, key):
        super().__init__(source, lambda bars: bars[bars["date"] < key])
        self._key = key

    def days(self, first=None):
        """Bars a day before the session."""
        return pd.Series(6, index=[k for k in ("2020-03-30", "2020-03-31") if k < self._key])


def test_a_run_says_by_a_tag_that_its_bars_are_late(finished, tmp_path, instance):
    root = tmp_path / "late"
    shutil.copytree(finished.paths.root, root)
    market = make_market(root, source=LateBars(finished.source, KEY))
    job = defs_of(market).resolve_job_def("tiny_daily")
    run = job.execute_in_process(instance=instance, partition_key=KEY, raise_on_error=False)
    assert not run.success, "its bars are stored: the source has lost them"
    assert instance.get_run_by_id(run.run_id).tags[WAITS_TAG] == f"bars ({run.run_id[:8]})"
    attempts = failed_attempts(instance, "tiny_daily", KEY)
    assert (attempts.count, attempts.late) == (0, 1)
    assert "the newest session that it has is 2020-03-31" in attempts.reason


def test_reasons_are_short_for_the_schedule_and_whole_for_a_terminal(instance):
    """What the pipeline raises on purpose is its text; what nobody foresaw has its trace."""

    @dg.op
    def on_purpose():
        raise dg.Failure("label: no bars", allow_retries=False)

    @dg.op
    def unforeseen():
        raise ValueError("disk on fire")

    @dg.job
    def both():
        on_purpose()
        unforeseen()

    run = both.execute_in_process(instance=instance, raise_on_error=False).run_id
    short = failure_reason(instance, run)
    assert sorted(short.split("; ")) == ["label: no bars", "unforeseen: ValueError: disk on fire"]
    whole = failure_reason(instance, run, trace=True)
    assert "label: no bars" in whole.splitlines()
    assert "Stack Trace" in whole
    assert 'raise ValueError("disk on fire")' in whole


def test_a_run_that_fails_outside_of_its_steps_says_why(instance, monkeypatch):
    """The engine or its record failed; Dagster's own words say only that there was an exception."""

    def no_slot(*_, **__):
        raise OSError("no slot of the pool")

    @dg.op
    def idle():
        pass

    @dg.job
    def one():
        idle()

    monkeypatch.setattr(in_process, "inner_plan_execution_iterator", no_slot)
    with pytest.raises(OSError, match="no slot"):
        one.execute_in_process(instance=instance, run_id=dg.DagsterRun(job_name="one").run_id)
    (run,) = instance.get_run_ids()
    assert "OSError: no slot of the pool" in failure_reason(instance, run)
