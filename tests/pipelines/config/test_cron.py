"""Times of a cron string. Oracle: wall clocks over both changes, by the tz database, by hand."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from pipelines.config.cron import _windows, is_cron, last_tick, next_tick


def at(text: str, zone: str, fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("zone", "cron", "now", "last", "following"),
    [
        # an ordinary day, and a moment that is a time of the cron itself
        ("Europe/Berlin", "30 0 * * *", "2024-05-02T12:00", "2024-05-02T00:30", "2024-05-03T00:30"),
        ("Europe/Berlin", "30 0 * * *", "2024-05-02T00:30", "2024-05-02T00:30", "2024-05-02T00:30"),
        # the clocks skip 02:30: asked for as soon as there is a time, 03:00
        (
            "America/New_York",
            "30 2 * * *",
            "2024-03-10T12:00",
            "2024-03-10T03:00",
            "2024-03-11T02:30",
        ),
        # the night before a change, whose day has 23 and 25 hours
        ("Europe/Berlin", "0 6 * * *", "2024-03-31T05:00", "2024-03-30T06:00", "2024-03-31T06:00"),
        ("Europe/Berlin", "0 6 * * *", "2024-10-27T05:00", "2024-10-26T06:00", "2024-10-27T06:00"),
        # weekdays, and names
        ("Asia/Tokyo", "15 6 * * 1-5", "2024-05-04T00:00", "2024-05-03T06:15", "2024-05-06T06:15"),
        ("UTC", "@daily", "2024-05-04T13:00", "2024-05-04T00:00", "2024-05-05T00:00"),
    ],
)
def test_the_times_next_to_a_moment(zone, cron, now, last, following):
    moment = at(now, zone)
    assert last_tick(cron, moment, zone).timestamp() == at(last, zone).timestamp()
    assert next_tick(cron, moment, zone).timestamp() == at(following, zone).timestamp()


def test_a_time_that_the_clocks_repeat_comes_once():
    """02:30 of 27 October 2024 is there twice in Berlin; the later one is asked for."""
    zone, cron = "Europe/Berlin", "30 2 * * *"
    second = at("2024-10-27T02:30", zone, fold=1)
    seen, moment = set(), at("2024-10-26T12:00", zone)
    while moment < at("2024-10-28T00:00", zone):
        seen.add(last_tick(cron, moment, zone).timestamp())
        moment += dt.timedelta(minutes=10)
        moment = moment.astimezone(dt.UTC).astimezone(ZoneInfo(zone))
    assert seen == {at("2024-10-26T02:30", zone).timestamp(), second.timestamp()}


@pytest.mark.parametrize("text", ["30 0 * * *", "@daily", "*/5 1-3 * * mon", "0 0 29 2 *"])
def test_cron_strings(text):
    assert is_cron(text)


@pytest.mark.parametrize(
    "text", ["", "whenever", "0 0 * *", "0 0 30 2 *", "61 0 * * *", "0 0 0 * * *"]
)
def test_texts_that_are_no_cron_string(text):
    assert not is_cron(text)


@pytest.mark.parametrize(
    "text",
    [
        *("59 23 * * 1-5", "00 09 * * 0", "5 4 * * 6", "60 0 * * *", "0 24 * * *"),
        *("0 0 * * 8", "0 0 * * 5-1", "\u0663 0 * * *", "0 0 * * *\n"),
    ],
)
def test_a_string_that_dagster_is_not_asked_about_is_judged_as_dagster_would(text):
    try:
        _windows(text, "UTC")
        accepted = True
    except dg.DagsterInvalidDefinitionError:
        accepted = False
    assert is_cron(text) is accepted
