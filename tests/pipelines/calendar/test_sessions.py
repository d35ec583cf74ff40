"""Session keys and arithmetic. Oracle: exchange_calendars."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from pipelines.calendar.sessions import Sessions
from pipelines.errors import ConfigError

XNYS = Sessions.of("XNYS", dt.date(2012, 1, 2), dt.date(2013, 3, 1))


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
