"""`daily_retraining`: one run for the oldest closed session without one.

Ticks are evaluated at given moments over the real calendars; the oracle is the exchange's own list
of sessions. What happens when runs fail is in `test_attempts.py`.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import dagster as dg
import exchange_calendars
import pandas as pd
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._utils.schedules import schedule_execution_time_iterator

from pipelines.automation import next_session
from pipelines.automation.next_session import CalendarEndedError
from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.run_history import PARTITION, RANGE_END, RANGE_START
from pipelines.market.market import Market
from tests.pipelines.conftest import TINY, key_of, make_market, merged, open_record, partition_bytes
from tests.pipelines.records import on_both_records
from tests.pipelines.ticks import (
    CRON,
    NEW_YORK,
    add_run,
    defs_of,
    evaluate,
    keys_of,
    mark_done,
    tick,
)

pytestmark = on_both_records


@pytest.fixture
def instance(tmp_path):
    """An empty Dagster record."""
    with open_record(tmp_path / "record") as record:
        yield record


@pytest.fixture
def april(market):
    return [k for k in market.sessions.keys if k >= "2020-04-01"]


# --- which session ------------------------------------------------------------------------------


def test_the_first_trained_session_comes_first(market, instance):
    assert keys_of(tick(market, instance, CRON)) == ["2020-04-01"]


def test_the_oldest_missing_session_is_caught_up(market, instance, april):
    mark_done(instance, [april[0], april[2]])
    assert keys_of(tick(market, instance, CRON)) == [april[1]]


def test_a_long_gap_is_caught_up_session_by_session(market, instance, april):
    """Eleven sessions missed: one a tick, in order, and then nothing."""
    now = dt.datetime(2020, 4, 17, 0, 30, tzinfo=NEW_YORK)
    asked: list[str] = []
    for minute in range(11):
        keys = keys_of(tick(market, instance, now + dt.timedelta(minutes=minute)))
        assert len(keys) == 1
        asked += keys
        mark_done(instance, keys)
    assert asked == [k for k in april if k <= "2020-04-16"]
    answer = tick(market, instance, now + dt.timedelta(minutes=11))
    assert answer.skip_message == "every closed session is done, the newest is 2020-04-16"


@pytest.mark.parametrize("day", [11, 12])
def test_weekends_and_holidays_ask_for_nothing(market, instance, april, day):
    """2020-04-10 was Good Friday: the newest session on the weekend is Thursday's."""
    mark_done(instance, [k for k in april if k <= "2020-04-09"])
    answer = tick(market, instance, dt.datetime(2020, 4, day, 0, 30, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "2020-04-09" in answer.skip_message


def test_a_session_is_not_asked_for_before_it_has_closed(market, instance, april):
    mark_done(instance, [k for k in april if k < "2020-04-14"])
    during = dt.datetime(2020, 4, 14, 18, 0, tzinfo=NEW_YORK)
    assert isinstance(tick(market, instance, during), dg.SkipReason)
    after = dt.datetime(2020, 4, 15, 0, 30, tzinfo=NEW_YORK)
    assert keys_of(tick(market, instance, after)) == ["2020-04-14"]


def test_a_new_session_waits_for_its_cron_time_and_a_missed_time_is_caught_up(tmp_path, instance):
    market = make_market(tmp_path / "tiny", {"schedule": {"cron": "0 6 * * *"}})
    mark_done(instance, [k for k in market.sessions.keys if "2020-04-01" <= k < "2020-04-14"])
    early = dt.datetime(2020, 4, 15, 5, 59, tzinfo=NEW_YORK)
    assert isinstance(tick(market, instance, early), dg.SkipReason)
    late = dt.datetime(2020, 4, 15, 13, 17, tzinfo=NEW_YORK)  # the machine was off at six
    assert keys_of(tick(market, instance, late)) == ["2020-04-14"]


class Days:
    """Ticks of a span of days, of the night above all; each asked session is done at once."""

    def __init__(self, tmp_path, instance, monkeypatch, calendar, cron="30 0 * * *"):
        span = {"calendar": calendar, "start": "2020-01-02", "end": "2021-04-30"}
        changes = {"market": span, "schedule": {"cron": cron, "every_minutes": 30}}
        self.market = make_market(tmp_path / "tiny", changes)
        self.zone = ZoneInfo(self.market.sessions.timezone)
        self.schedule = build_definitions(self.market).resolve_schedule_def("tiny_daily_retraining")
        self.instance = instance
        self.done: set[str] = set()
        monkeypatch.setattr(next_session, "made_in_order", lambda *_: tuple(sorted(self.done)))

    def asked(self, first, last) -> Iterator[tuple[str, dt.datetime]]:
        start = dt.datetime.fromisoformat(first).replace(tzinfo=self.zone)
        end = dt.datetime.fromisoformat(last).replace(tzinfo=self.zone)
        self.done |= {k for k in self.market.sessions.keys if k < first}
        cron, zone = self.schedule.cron_schedule, self.schedule.execution_timezone
        for now in schedule_execution_time_iterator(start.timestamp(), cron, zone):
            if now >= end:
                return
            if now.hour not in (0, 1, 2, 3, 12):
                continue
            answer = evaluate(self.schedule, self.instance, now)
            for key in [] if isinstance(answer, dg.SkipReason) else keys_of(answer):
                self.done.add(key)
                yield key, now


def expected(calendar, first, last, at="00:30"):
    """Each session of the exchange that closed in the span, and when it is to be asked for."""
    exchange = exchange_calendars.get_calendar(calendar, start="2019-12-19")
    zone = ZoneInfo(str(exchange.tz))
    before = dt.date.fromisoformat(first) - dt.timedelta(days=1)
    until = dt.date.fromisoformat(last) - dt.timedelta(days=2)
    days = exchange.sessions_in_range(before.isoformat(), until.isoformat())
    for day in days.strftime("%Y-%m-%d"):
        if day >= first:
            morning = dt.date.fromisoformat(day) + dt.timedelta(days=1)
            yield day, dt.datetime.fromisoformat(f"{morning}T{at}").replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("calendar", "first", "last"),
    [
        pytest.param("XNYS", "2020-10-30", "2020-11-05", id="XNYS-clocks-go-back"),
        pytest.param(
            "XNYS",
            "2021-03-12",
            "2021-03-18",
            id="XNYS-clocks-go-forward",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "XETR", "2020-10-23", "2020-10-29", id="XETR-clocks-go-back", marks=pytest.mark.thorough
        ),
        pytest.param("XETR", "2021-03-26", "2021-04-01", id="XETR-clocks-go-forward"),
        pytest.param(
            "XNYS",
            "2020-11-25",
            "2020-12-02",
            id="XNYS-thanksgiving-and-half-day",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "XNYS",
            "2020-12-23",
            "2020-12-30",
            id="XNYS-christmas-eve-half-day",
            marks=pytest.mark.thorough,
        ),
        pytest.param("XETR", "2020-12-23", "2021-01-06", id="XETR-christmas-and-new-year"),
    ],
)
def test_each_session_is_asked_for_once_on_the_morning_after_it(
    tmp_path, instance, monkeypatch, calendar, first, last
):
    days = Days(tmp_path, instance, monkeypatch, calendar)
    found = list(days.asked(first, last))
    assert found == list(expected(calendar, first, last))
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("calendar", "first", "last"),
    [("XNYS", "2020-10-29", "2020-11-04"), ("XETR", "2021-03-25", "2021-03-31")],
)
def test_a_cron_time_that_the_clocks_skip_or_repeat_asks_once(
    tmp_path, instance, monkeypatch, calendar, first, last
):
    days = Days(tmp_path, instance, monkeypatch, calendar, cron="30 2 * * *")
    found = [key for key, _ in days.asked(first, last)]
    assert found == [key for key, _ in expected(calendar, first, last)]


def test_sessions_that_the_calendar_has_run_out_of_are_an_error(tmp_path, instance):
    market = make_market(tmp_path / "tiny", {"market": {"end": None}})
    beyond = dt.datetime.now(NEW_YORK) + dt.timedelta(days=800)
    with pytest.raises(CalendarEndedError, match=r"XNYS .* end with .*; reload the code location"):
        tick(market, instance, beyond)


# --- one at a time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags",
    [
        {RANGE_START: "2020-04-01", RANGE_END: "2020-04-03"},
        {RANGE_START: "2020-03-31", RANGE_END: "2020-04-01"},
        {PARTITION: "2020-04-01"},
    ],
)
@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_one_run_at_a_time_range_runs_included(market, instance, tags, status):
    run = instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_daily"),
        status=dg.DagsterRunStatus(status),
        tags=tags,
    )
    answer = tick(market, instance, CRON)
    first = tags.get(PARTITION) or tags[RANGE_START]
    assert answer.skip_message == (
        f"4 sessions missing from 2020-04-01 on, and run {run.run_id[:8]} is working on {first}; "
        f"one at a time"
    )


def test_a_run_without_sessions_holds_nothing_back(market, instance):
    instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_reports"), status=dg.DagsterRunStatus.STARTED
    )
    assert keys_of(tick(market, instance, CRON)) == ["2020-04-01"]


def test_between_the_runs_of_a_backfill_the_schedule_waits(market, instance):
    job = defs_of(market).resolve_job_def("tiny_daily")
    backfill = PartitionBackfill(
        backfill_id="abcdefgh",
        partition_names=["2020-04-01"],
        partition_set_origin=None,
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=0.0,
        asset_selection=[key_of("ohlcv")],
    )
    assert job.name == "tiny_daily"
    instance.add_backfill(backfill)
    assert "backfill abcdefgh is in progress" in tick(market, instance, CRON).skip_message
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert keys_of(tick(market, instance, CRON)) == ["2020-04-01"]


def test_a_run_whose_process_is_gone_blocks_nothing(market, instance):
    host, pid, start = owner().split(":")
    instance.create_run_for_job(
        defs_of(market).resolve_job_def("tiny_daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={
            RANGE_START: "2020-04-01",
            RANGE_END: "2020-04-03",
            OWNER_TAG: f"{host}:{pid}:{int(start) - 1}",
        },
    )
    assert keys_of(tick(market, instance, CRON)) == ["2020-04-01"]


@pytest.mark.parametrize(
    ("calendar", "remedy"),
    [
        ({"file": "days.txt"}, r"reload .*add the sessions that follow to .*days\.txt"),
        ({"from": "data", "timezone": "America/New_York"}, "the calendar is derived from the data"),
    ],
)
def test_a_calendar_of_ones_own_that_ran_out_is_not_blamed_on_another(
    tmp_path, instance, calendar, remedy
):
    days = [str(day.date()) for day in pd.bdate_range("2020-01-02", "2020-05-15")]
    (tmp_path / "days.txt").write_text("\n".join(days))
    given = {k: str(tmp_path / v) if k == "file" else v for k, v in calendar.items()}
    bars = tmp_path / "bars.csv"
    rows = [f"{day},{name},1,1,1,1,5,5" for day in days for name in ("A", "B")]
    bars.write_text("\n".join(["date,instrument,open,high,low,close,volume,amount", *rows]))
    source = {"kind": "files", "path": str(bars), "basis": "adjusted"}
    raw = merged(TINY, {"market": {"end": None}})
    raw["market"] |= {"calendar": given, "source": source}
    market = Market(parse_config(raw), root=tmp_path / "own")
    beyond = dt.datetime.now(NEW_YORK) + dt.timedelta(days=800)
    with pytest.raises(CalendarEndedError, match=remedy) as error:
        tick(market, instance, beyond)
    assert "exchange_calendars" not in str(error.value)


# --- the definition -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({}, "first asked for at 00:30 in America/New_York; every minute it is seen"),
        ({"every_minutes": 5}, "; every 5 minutes it is seen"),
        ({"cron": "15 6 * * 1-5"}, "first asked for at the cron time 15 6 * * 1-5 in"),
        ({"cron": "@daily", "enabled": True}, "first asked for at the cron time @daily in"),
    ],
)
def test_it_is_described_in_words(tmp_path, schedule, said):
    """The UI shows the description as it is, without Markdown."""
    defs = build_definitions(make_market(tmp_path, {"schedule": schedule}))
    description = defs.resolve_schedule_def("tiny_daily_retraining").description
    assert said in description
    assert "`" not in description


def test_no_description_that_the_ui_shows_as_it_is_has_marks_of_markdown(tmp_path):
    changes = {
        "schedule": {"drop_folder": str(tmp_path)},
        "alerts": {"on_failure": ["notify", "--urgent"]},
    }
    defs = build_definitions(make_market(tmp_path / "tiny", changes))
    said = {one.name: one.description for one in [*defs.schedules, *defs.sensors, *defs.jobs]}
    assert set(said) >= {
        "tiny_daily_retraining",
        "tiny_new_files",
        "tiny_failed_runs",
        "tiny_daily",
        "tiny_refit",
    }
    assert not [name for name, text in said.items() if "`" in text]
    checks = [spec for asset in defs.assets for spec in asset.check_specs]
    assert checks
    assert not [spec.name for spec in checks if "`" in spec.description]


class Kept(logging.Handler):
    """What was logged."""

    def __init__(self):
        super().__init__()
        self.said: list[str] = []

    def emit(self, record):
        self.said.append(record.getMessage())


def test_why_it_waits_is_in_the_log_of_the_tick(market, instance, april):
    schedule, kept = defs_of(market).resolve_schedule_def("tiny_daily_retraining"), Kept()

    def logged(now):
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=now) as context:
            context.log.addHandler(kept)
            answer = schedule(context)
        said, kept.said = kept.said, []
        return answer.skip_message, said

    add_run(market, instance, "2020-04-01", CRON)
    why, said = logged(CRON + dt.timedelta(minutes=1))
    assert "attempt 1 of 6 failed" in why
    assert len(said) == 1
    assert why in said[0]
    mark_done(instance, april)
    why, said = logged(CRON)
    assert "every closed session is done" in why
    assert why in said[0]
    assert logged(CRON + dt.timedelta(minutes=1))[1] == []  # a quiet minute leaves no file


def test_it_is_off_in_the_sample_and_on_by_a_line_of_yaml(tmp_path):
    def status(market):
        return (
            build_definitions(market).resolve_schedule_def("tiny_daily_retraining").default_status
        )

    assert status(make_market(tmp_path)) == dg.DefaultScheduleStatus.STOPPED
    on = make_market(tmp_path, {"schedule": {"enabled": True}})
    assert status(on) == dg.DefaultScheduleStatus.RUNNING


def test_the_daily_job_runs_one_session(finished, tmp_path, instance):
    """`daily` of one key, as the schedule launches it, makes that session's partitions."""
    market = make_market(tmp_path / "daily")
    shutil.copytree(finished.paths.root, market.paths.root)
    key = market.sessions.keys[-1]
    expected = partition_bytes(market)
    for folder in market.paths.warehouse.glob(f"*/date={key}"):
        shutil.rmtree(folder)
    job = defs_of(market).resolve_job_def("tiny_daily")
    assert job.execute_in_process(instance=instance, partition_key=key).success
    assert instance.get_materialized_partitions(key_of("krnn_evaluation")) == {key}
    assert partition_bytes(market) == expected
