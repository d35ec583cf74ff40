"""The last moment at which a session's scores can be traded on, in UTC.

A score of session D can be traded on until the next session opens. Where trading does not pause,
so that the next session has begun by the midnight that ends D (a market round the clock, futures
that close for an hour), it can be traded on until the next session closes, or for 24 hours after
its open where its closing time is not known: a calendar of one's own, or an extra session that
the exchange's calendar lacks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import pandas as pd

from pipelines.calendar.sessions import Sessions, exchange_calendar


def served_until(sessions: Sessions, key: str) -> pd.Timestamp:
    """The last moment at which a score of a session can be traded on, UTC.

    The open of the next session; its close where it has opened before the session's partition can
    exist.

    Raises:
        ConfigError: the key is not a session.
    """
    opens = next_open(sessions, key)
    if opens > _midnight_after(sessions, key):
        return opens
    session = None if sessions.opens is not None else _exchange_next(sessions, key)
    return opens + pd.Timedelta(days=1) if session is None else pd.Timestamp(session["close"])


def served_means(sessions: Sessions) -> str:
    """The condition under which a prediction counts as served in this market, in words."""
    key = sessions.keys[-1]
    pauses = next_open(sessions, key) > _midnight_after(sessions, key)
    if pauses:
        return "before the next session's open"
    return "before the next session's close, as trading does not pause before its open"


def _midnight_after(sessions: Sessions, key: str) -> pd.Timestamp:
    """The moment from which the partition of a session exists, UTC."""
    return sessions.at(f"{pd.Timestamp(key) + pd.Timedelta(days=1):%Y-%m-%d}")


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
    tomorrow = f"{pd.Timestamp(key) + pd.Timedelta(days=1):%Y-%m-%d}"
    if sessions.opens is not None:
        return sessions.at(after or tomorrow, sessions.opens)
    session = _exchange_next(sessions, key)
    if session is not None:
        return pd.Timestamp(session["open"])
    last = _exchange_times(sessions.calendar, sessions.first).iloc[-1]
    is_beyond = (after or tomorrow) > str(last.name)[:10]
    usual = pd.Timestamp(last["open"]).tz_convert(sessions.timezone)
    return sessions.at(after or tomorrow, f"{usual:%H:%M}" if is_beyond else "00:00")


def _exchange_next(sessions: Sessions, key: str) -> pd.Series | None:
    """`open` and `close` of the session after a given one, UTC.

    After a market's last session that is the exchange's next one. None where the exchange's
    calendar does not know it.
    """
    times = _exchange_times(sessions.calendar, sessions.first)
    at = sessions.position(key) + 1
    after = pd.Timestamp(sessions.keys[at] if at < len(sessions) else key)
    side: Literal["left", "right"] = "left" if at < len(sessions) else "right"
    row = int(times.index.searchsorted(after, side=side))
    is_known = row < len(times) and (at == len(sessions) or times.index[row] == after)
    return times.iloc[row] if is_known else None


@lru_cache(maxsize=4)
def _exchange_times(calendar: str, first: str) -> pd.DataFrame:
    """`open` and `close` by session, UTC, from a market's first session to the calendar's end."""
    schedule: pd.DataFrame = exchange_calendar(calendar, first).schedule
    return schedule[["open", "close"]]
