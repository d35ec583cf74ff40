"""The partitions definition. Oracle: exchange_calendars."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import exchange_calendars
import pytest

from pipelines.assets.partitions import partitions_definition
from pipelines.calendar.sessions import Sessions

XNYS = Sessions.of("XNYS", dt.date(2012, 1, 2), dt.date(2013, 3, 1))


@pytest.mark.parametrize(
    ("calendar", "start", "end"),
    [("XNYS", "2000-03-01", "2013-03-01"), ("XSHG", "2019-12-02", "2021-03-31"),
     ("24/7", "2020-01-01", "2020-12-31")],
)  # fmt: skip
def test_partition_keys_are_the_sessions(calendar, start, end):
    """Holidays, weekends and a market that never closes: keys equal the calendar's sessions."""
    sessions = Sessions.of(calendar, dt.date.fromisoformat(start), dt.date.fromisoformat(end))
    days = partitions_definition(sessions, closed=True)
    table = exchange_calendars.get_calendar(calendar, start="1999-01-01")
    expected = table.sessions_in_range(start, end).strftime("%Y-%m-%d")
    assert list(sessions.keys) == list(expected)
    assert days.get_partition_keys() == list(expected)


def test_a_session_exists_from_the_midnight_after_it():
    sessions = Sessions.of("XNYS", dt.date(2024, 3, 1), None)
    days = partitions_definition(sessions, closed=False)
    eastern = dt.timezone(dt.timedelta(hours=-4))
    before = dt.datetime(2024, 3, 12, 23, 59, tzinfo=eastern)
    after = dt.datetime(2024, 3, 13, 0, 1, tzinfo=eastern)
    assert days.get_partition_keys(current_time=before)[-1] == "2024-03-11"
    assert days.get_partition_keys(current_time=after)[-1] == "2024-03-12"
    assert days.timezone == "America/New_York"


def test_keys_are_daily_windows():
    assert isinstance(partitions_definition(XNYS, closed=True), dg.DailyPartitionsDefinition)


def test_the_definition_is_hashed_once_and_equals_the_one_of_dagster(monkeypatch):
    days = partitions_definition(XNYS, closed=True)
    plain = dg.DailyPartitionsDefinition(
        days.start, days.end, timezone=days.timezone, exclusions=days.exclusions
    )
    assert days == plain
    assert hash(days) == hash(plain)
    once = hash(days)
    monkeypatch.setattr(dg.DailyPartitionsDefinition, "__repr__", lambda self: "another")
    assert hash(days) == once != hash(plain)
