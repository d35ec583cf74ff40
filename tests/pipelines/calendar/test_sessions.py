"""Sessions, the partitions definition and the windows of training. Oracle: exchange_calendars."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import exchange_calendars
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.calendar.sessions import (
    Sessions,
    TrainingPlan,
    partitions_definition,
    training_window,
)
from pipelines.errors import ConfigError

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


@pytest.mark.parametrize(
    ("zone", "day", "time", "expected"),
    [
        ("America/New_York", "2024-01-03", "09:30", "2024-01-03 14:30"),
        ("America/New_York", "2024-07-01", "09:30", "2024-07-01 13:30"),
        ("Africa/Cairo", "2024-04-26", "00:00", "2024-04-25 22:00"),  # 00:00 was skipped
        ("America/Santiago", "2024-09-08", "00:00", "2024-09-08 04:00"),
        ("Europe/Berlin", "2024-03-31", "02:30", "2024-03-31 01:00"),
        ("Europe/Berlin", "2024-10-27", "02:30", "2024-10-27 01:30"),  # came twice
        ("America/Havana", "2024-11-03", "00:00", "2024-11-03 05:00"),
    ],
)
def test_a_time_of_day_is_one_moment_even_when_clocks_change(zone, day, time, expected):
    """Oracle: the zones' published changes, by hand."""
    sessions = Sessions("days.txt", zone, (day,), time)
    assert sessions.at(day, time) == pd.Timestamp(expected, tz="UTC")


@pytest.mark.parametrize("zone", ["America/New_York", "Africa/Cairo", "America/Santiago"])
def test_closed_sessions_are_those_whose_midnight_has_passed(zone):
    """Also where that midnight does not exist: 2024-04-26 in Cairo, 2024-09-08 in Santiago."""
    keys = ("2024-04-24", "2024-04-25", "2024-04-26", "2024-09-07", "2024-09-08")
    sessions = Sessions("days.txt", zone, keys)
    second = dt.timedelta(seconds=1)
    for at, key in enumerate(keys):
        midnight = sessions.at(str(dt.date.fromisoformat(key) + dt.timedelta(days=1)))
        assert sessions.closed(midnight - second) == keys[:at]
        assert sessions.closed(midnight) == keys[: at + 1]


def test_keys_are_daily_windows():
    assert isinstance(partitions_definition(XNYS, closed=True), dg.DailyPartitionsDefinition)


def test_positions_and_windows():
    assert XNYS.first == "2012-01-03"  # 2 January 2012 was a holiday
    assert XNYS.at_or_after("2012-01-14") == "2012-01-17"  # a weekend, then a holiday
    assert XNYS.at_or_before("2012-01-16") == "2012-01-13"
    assert XNYS.window("2012-01-05", 2) == ("2012-01-04", "2012-01-05")
    assert XNYS.window("2012-01-04", 9) == ("2012-01-03", "2012-01-04")
    assert XNYS.back("2012-01-03", 1) is None
    assert XNYS.back("2012-01-05", 2) == "2012-01-03"
    with pytest.raises(ConfigError, match="2012-01-16 is not a session of XNYS"):
        XNYS.position("2012-01-16")
    with pytest.raises(ConfigError, match="no session at or after 2014"):
        XNYS.at_or_after("2014-01-01")
    with pytest.raises(ConfigError, match="no session between"):
        Sessions.of("XNYS", dt.date(2012, 1, 14), dt.date(2012, 1, 15))


def test_anchors_are_a_function_of_the_calendar():
    plan = TrainingPlan(XNYS, "2012-07-02", 63)
    trained = [k for k in XNYS.keys if plan.trains(k)]
    assert trained == ["2012-07-02", "2012-10-01", "2013-01-03"]
    assert plan.anchor("2012-06-29") is None
    assert plan.anchor("2012-07-02") == "2012-07-02"
    assert plan.anchor("2012-09-28") == "2012-07-02"
    assert plan.anchor("2013-03-01") == "2013-01-03"


def test_a_pin_rolls_back_and_trains_no_more():
    plan = TrainingPlan(XNYS, "2012-07-02", 63, pin=("2012-12-03", "2012-08-01"))
    assert plan.anchor("2012-11-30") == "2012-10-01"
    assert plan.anchor("2012-12-03") == "2012-07-02"
    assert plan.anchor("2013-02-01") == "2012-07-02"
    assert not plan.trains("2013-01-03")


@settings(max_examples=200, deadline=None)
@given(
    end=st.integers(60, len(XNYS) - 1),
    window=st.integers(21, 400),
    valid=st.integers(1, 15),
    lag=st.integers(1, 5),
    step_len=st.integers(1, 30),
)
def test_training_windows_never_overlap_in_time(end, window, valid, lag, step_len):
    """Labels of training mature before validation begins, those of validation by as-of."""
    keys = XNYS.keys
    w = training_window(
        XNYS,
        keys[end],
        window_sessions=window,
        valid_sessions=valid,
        label_lag=lag,
        step_len=step_len,
    )
    position = XNYS.position
    assert position(w.valid[1]) + lag == end
    assert position(w.valid[1]) - position(w.valid[0]) + 1 == valid
    assert position(w.train[1]) + lag < position(w.valid[0])
    assert position(w.train[1]) + lag == position(w.valid[0]) - 1
    assert w.learn[-1] == keys[end]
    assert len(w.learn) == min(window, end - lag + 1)
    assert position(w.learn[0]) == position(w.train[0]) + lag
    first_window = XNYS.window(w.train[0], step_len)
    assert w.context[0] == first_window[0]
    assert w.context[-1] == w.valid[1]


def test_too_little_history_is_an_error():
    with pytest.raises(ConfigError, match="no session to train on as of 2012-01-12"):
        training_window(
            XNYS, "2012-01-12", window_sessions=50, valid_sessions=6, label_lag=2, step_len=5
        )
