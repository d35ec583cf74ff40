"""The last moment at which a session's scores can be traded on, in UTC.

A score of session D can be traded on until the next session opens. Where trading does not pause,
so that the next session has begun by the midnight that ends D (a market round the clock, futures
that close for an hour), it can be traded on until the next session closes, or for 24 hours after
its open where its closing time is not known: a calendar of one's own, or an extra session that
the exchange's calendar lacks.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import Sessions, day_after, exchange_calendar


def served_until(sessions: Sessions, key: str) -> pd.Timestamp:
    """The last moment at which a score of a session can be traded on, UTC.

    The open of the next session; its close where it has opened before the session's partition can
    exist.

    Raises:
        ConfigError: the key is not a session.
    """
    opens = next_open(sessions, key)
    if opens > sessions.midnight_after(key):
        return opens
    session = None if sessions.opens is not None else _exchange_next(sessions, key)
    return opens + pd.Timedelta(days=1) if session is None else session.close


def served_means(sessions: Sessions) -> str:
    """The condition under which a prediction counts as served in this market, in words."""
    key = sessions.keys[-1]
    pauses = next_open(sessions, key) > sessions.midnight_after(key)
    if pauses:
        return "before the next session's open"
    return "before the next session's close, as trading does not pause before its open"


def next_open(sessions: Sessions, key: str) -> pd.Timestamp:
    """The moment at which trading begins at the session after a given one, UTC.

    After a market's last session that is the exchange's next one, or the next day. A session that
    the exchange's calendar does not know counts from its midnight; one after all that it knows
    opens at the time of day at which the last known one did.

    Raises:
        ConfigError: the key is not a session.
    """
    at = sessions.position(key) + 1
    after = sessions.keys[at] if at < len(sessions) else None
    day = after or day_after(key)
    if sessions.opens is not None:
        return sessions.at(day, sessions.opens)
    session = _exchange_next(sessions, key)
    if session is not None:
        return session.open
    known, last = list(_exchange_times(sessions.calendar, sessions.first).items())[-1]
    usual = last.open.tz_convert(sessions.timezone)
    return sessions.at(day, f"{usual:%H:%M}" if day > known else "00:00")


class _Times(NamedTuple):
    """The moments at which a session of an exchange begins and ends, UTC."""

    open: pd.Timestamp
    close: pd.Timestamp


def _exchange_next(sessions: Sessions, key: str) -> _Times | None:
    """The times of the session after a given one.

    After a market's last session that is the exchange's next one. None where the exchange's
    calendar does not know it.
    """
    times = _exchange_times(sessions.calendar, sessions.first)
    at = sessions.position(key) + 1
    if at < len(sessions):
        return times.get(sessions.keys[at])
    known = list(times)
    row = bisect_right(known, key)
    return times[known[row]] if row < len(known) else None


@lru_cache(maxsize=4)
def _exchange_times(calendar: str, first: str) -> dict[str, _Times]:
    """The times of the sessions from a market's first one to the calendar's end, by key."""
    schedule = exchange_calendar(calendar, first).schedule
    keys = np.datetime_as_string(schedule.index.to_numpy(), unit="D").tolist()
    return dict(zip(keys, map(_Times, schedule["open"], schedule["close"]), strict=True))
