"""The trading sessions of a market as keys, and arithmetic on them.

Partition D holds what became knowable at the close of session D, so partitions are trading
sessions, not calendar days. Windows count in sessions, positions from the market's first one (0).
"""

from __future__ import annotations

import datetime as dt
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pandas.tseries.holiday import AbstractHolidayCalendar as Holidays

from pipelines.errors import ConfigError


def day_after(day: str) -> str:
    """The day that follows, `YYYY-MM-DD`."""
    return (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()


def exchange_calendar(name: str, start: dt.date | str) -> Any:
    """The calendar of an exchange, from a day on.

    Raises:
        ConfigError: the calendar does not reach back to that day.
    """
    import exchange_calendars  # it takes a second to import

    lead = pd.Timestamp(start) - pd.Timedelta(days=14)  # a calendar needs a session before
    try:
        # Another thread of a user's could ask for a calendar of its own at the same time.
        with holidays_since(lead) if threading.active_count() == 1 else nullcontext():
            return exchange_calendars.get_calendar(name, start=lead)
    except ValueError as error:
        raise ConfigError(
            f"calendar {name} cannot be evaluated from {lead.date()} on: {error}"
        ) from error


@contextmanager
def holidays_since(day: pd.Timestamp) -> Iterator[None]:
    """Let calendars compute no holidays of years that are not needed in the block.

    Making a calendar takes 0.1 seconds and Korea's 4, most of it for the holidays of 1970 to 2200.
    pandas reads that range from two attributes of its class of holiday calendars, so that other
    threads see it too.
    """
    bounds = Holidays.start_date, Holidays.end_date
    year = pd.Timedelta(days=366)
    Holidays.start_date = max(bounds[0], day - year)  # as shipped there are none before
    Holidays.end_date = min(bounds[1], pd.Timestamp.now().normalize() + 3 * year)
    try:
        yield
    finally:
        Holidays.start_date, Holidays.end_date = bounds


@dataclass(frozen=True)
class Sessions:
    """The trading sessions of a market as `YYYY-MM-DD` keys, in order.

    Attributes:
        calendar: the calendar's name, for messages.
        keys: every session from the market's start to its end, or to the end of the calendar's
            knowledge (about a year ahead).
        timezone: the calendar's; a session's partition exists from the midnight after it.
        opens: the time of day at which trading begins, `HH:MM`; None where an exchange's calendar
            says it.
        known_to: the last session that the calendar knows, of this market or after its end; None
            for a calendar that goes on by itself.
        provisional: the first session that is a weekday and no more: a holiday may be among those
            from it on. None if there is none.
    """

    calendar: str
    timezone: str
    keys: tuple[str, ...]
    opens: str | None = None
    known_to: str | None = None
    provisional: str | None = None

    @classmethod
    def of(cls, calendar: str, start: dt.date, end: dt.date | None) -> Sessions:
        """The sessions of an exchange calendar between two dates, both included.

        Raises:
            ConfigError: the calendar does not reach back to `start`, or there is no session
                between the dates.
        """
        table = exchange_calendar(calendar, start)
        last = table.last_session if end is None else min(pd.Timestamp(end), table.last_session)
        days = table.sessions_in_range(pd.Timestamp(start), last)
        if days.empty:
            raise ConfigError(f"calendar {calendar} has no session between {start} and {end}")
        known_to = str(table.last_session.date())
        keys = np.datetime_as_string(days.to_numpy(), unit="D").tolist()
        return cls(calendar, str(table.tz), tuple(keys), known_to=known_to)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self._position

    @property
    def first(self) -> str:
        """The market's first session."""
        return self.keys[0]

    def position(self, key: str) -> int:
        """The ordinal of a session.

        Raises:
            ConfigError: the key is not a session of this market.
        """
        try:
            return self._position[key]
        except KeyError:
            raise ConfigError(
                f"{key} is not a session of {self.calendar} between {self.keys[0]} and "
                f"{self.keys[-1]}"
            ) from None

    def at_or_after(self, day: dt.date | str) -> str:
        """The first session that is not before `day`.

        Raises:
            ConfigError: no session follows.
        """
        text = str(day)
        position = bisect_left(self.keys, text)
        if position == len(self.keys):
            raise ConfigError(f"no session at or after {text}: the last one is {self.keys[-1]}")
        return self.keys[position]

    def at_or_before(self, day: dt.date | str) -> str:
        """The last session that is not after `day`.

        Raises:
            ConfigError: no session precedes.
        """
        text = str(day)
        position = bisect_right(self.keys, text)
        if position == 0:
            raise ConfigError(f"no session at or before {text}: the first one is {self.keys[0]}")
        return self.keys[position - 1]

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """The sessions from one to another, both included."""
        return self.keys[self.position(first) : self.position(last) + 1]

    def back(self, key: str, count: int) -> str | None:
        """The session `count` sessions before `key`, or None before the market's start."""
        i = self.position(key) - count
        return self.keys[i] if i >= 0 else None

    def after(self, day: str) -> str | None:
        """The first session after a day, or None after the last one."""
        i = bisect_right(self.keys, day)
        return self.keys[i] if i < len(self.keys) else None

    def window(self, key: str, length: int) -> tuple[str, ...]:
        """The `length` sessions that end with `key`, fewer at the market's start."""
        end = self.position(key) + 1
        return self.keys[max(0, end - length) : end]

    def consecutive(self, keys: Sequence[str]) -> list[tuple[str, ...]]:
        """Sessions in order, cut where a session between two of them is missing."""
        blocks: list[list[str]] = []
        for key in keys:
            if blocks and self.position(key) == self.position(blocks[-1][-1]) + 1:
                blocks[-1].append(key)
            else:
                blocks.append([key])
        return [tuple(block) for block in blocks]

    def closed(self, moment: dt.datetime) -> tuple[str, ...]:
        """The sessions that are over at a moment: the midnight after them has passed there.

        Args:
            moment: a moment with a time zone.
        """
        today = moment.astimezone(ZoneInfo(self.timezone)).date().isoformat()
        return self.keys[: bisect_left(self.keys, today)]

    def midnight_after(self, key: str) -> pd.Timestamp:
        """The moment from which the partition of a session exists, UTC."""
        return self.at(day_after(key))

    def at(self, day: str, time: str = "00:00") -> pd.Timestamp:
        """A time of day in the calendar's time zone, as UTC.

        Clocks are put forward at midnight in some zones (Cairo, Santiago): a time that is skipped
        stands for the moment after, one that comes twice for the second.

        Args:
            day: `YYYY-MM-DD`, a session or not.
            time: `HH:MM`.
        """
        # A tenth of the time that pandas takes, which knows the moment after a skipped time.
        zone, local = ZoneInfo(self.timezone), dt.datetime.fromisoformat(f"{day} {time}")
        moment = local.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == local:
            return pd.Timestamp(moment)
        zoned = pd.Timestamp(local).tz_localize(zone, nonexistent="shift_forward")
        return zoned.tz_convert("UTC")
