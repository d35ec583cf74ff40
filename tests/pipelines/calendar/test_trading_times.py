"""Until when a score can be traded on. Oracle: the exchanges' published opening times, by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.trading_times import next_open, served_means, served_until


def test_the_next_open_of_calendars_of_ones_own():
    """A file's sessions open at their own time; an exchange's last one at the exchange's next."""
    own = Sessions("days.txt", "Asia/Shanghai", ("2024-02-08", "2024-02-19"), "09:15")
    assert next_open(own, "2024-02-08") == pd.Timestamp("2024-02-19 01:15", tz="UTC")
    assert next_open(own, "2024-02-19") == pd.Timestamp("2024-02-20 01:15", tz="UTC")
    keys = ("2020-04-08", "2020-04-09", "2020-04-11")  # with a Saturday that the exchange lacks
    exchange = Sessions("XNYS", "America/New_York", keys)
    assert next_open(exchange, "2020-04-08") == pd.Timestamp("2020-04-09 13:30", tz="UTC")
    assert next_open(exchange, "2020-04-09") == pd.Timestamp("2020-04-11 04:00", tz="UTC")
    assert next_open(exchange, "2020-04-11") == pd.Timestamp("2020-04-13 13:30", tz="UTC")


def utc(text):
    return pd.Timestamp(text, tz="UTC")


def test_where_trading_does_not_pause_the_next_close_counts():
    """Round the clock the next session opens as this one ends: no score could come before it."""
    keys = tuple(f"2024-03-{day:02}" for day in range(8, 13))
    crypto = Sessions("24/7", "UTC", keys)
    assert next_open(crypto, keys[0]) == utc("2024-03-09")
    assert served_until(crypto, keys[0]) == utc("2024-03-10")
    assert "next session's close" in served_means(crypto)
    # Chicago's futures open at 17:00 of the day before: an hour after the session before closed.
    futures = Sessions("CMES", "America/Chicago", ("2024-03-05", "2024-03-06", "2024-03-07"))
    assert next_open(futures, "2024-03-05") == utc("2024-03-05 23:00")
    assert served_until(futures, "2024-03-05") == utc("2024-03-06 23:00")
    # A file knows no closing times: a day from the open, which on Friday is a weekend away.
    own = Sessions("days.txt", "Asia/Shanghai", ("2024-03-07", "2024-03-08", "2024-03-11"), "00:00")
    assert served_until(own, "2024-03-07") == utc("2024-03-08 16:00")
    assert served_until(own, "2024-03-08") == utc("2024-03-10 16:00")


def test_before_an_extra_session_a_day_from_its_midnight_counts():
    """The exchange's calendar has no Good Friday, and its Monday's close is three days too late."""
    keys = ("2024-03-28", "2024-03-29", "2024-04-01")
    exchange = Sessions("XNYS", "America/New_York", keys)
    assert next_open(exchange, keys[0]) == utc("2024-03-29 04:00")
    assert served_until(exchange, keys[0]) == utc("2024-03-30 04:00")
    assert served_until(exchange, keys[1]) == utc("2024-04-01 13:30")
    assert served_until(exchange, keys[2]) == utc("2024-04-02 13:30")
    last = Sessions("24/7", "UTC", keys[:2])
    assert served_until(last, keys[1]) == utc("2024-03-31"), "the exchange's next one's close"


def test_where_it_pauses_the_next_open_counts():
    exchange = Sessions("XNYS", "America/New_York", ("2020-04-08", "2020-04-09", "2020-04-13"))
    for key in exchange.keys:
        assert served_until(exchange, key) == next_open(exchange, key)
    assert served_means(exchange) == "before the next session's open"


@pytest.mark.parametrize(
    ("zone", "opens", "key", "until"),
    [
        ("Africa/Cairo", "10:00", "2024-04-25", "2024-04-26 07:00"),  # no midnight after it
        ("America/Santiago", "09:30", "2024-09-07", "2024-09-08 12:30"),
        ("America/Santiago", "00:00", "2024-09-07", "2024-09-09 04:00"),  # a day from the open
        ("Europe/Berlin", "02:30", "2024-03-30", "2024-03-31 01:00"),  # no such opening time
        ("Europe/Berlin", "02:30", "2024-10-26", "2024-10-27 01:30"),  # the second of two
        ("America/Havana", "09:00", "2024-11-02", "2024-11-03 14:00"),  # two midnights
    ],
)
def test_clocks_that_change_at_midnight_or_at_the_open(zone, opens, key, until):
    days = tuple(f"{d:%Y-%m-%d}" for d in pd.date_range(key, periods=3))
    assert served_until(Sessions("days.txt", zone, days, opens), key) == utc(until)
    assert "next session" in served_means(Sessions("days.txt", zone, (key,), opens))
