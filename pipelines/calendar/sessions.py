"""The sessions of a market, and the one partitions definition of its whole graph.

Partition D holds what became knowable at the close of session D, so partitions are trading
sessions, not calendar days. One Dagster job can hold only one partitions definition, and every
dependency is the identity mapping; what an asset looks back on it reads from the warehouse, by
the arithmetic of `Sessions`.

Window arithmetic here is in sessions, positions count from the market's first one (0).
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd

from pipelines.errors import ConfigError


@dataclass(frozen=True)
class Sessions:
    """The trading sessions of a market as `YYYY-MM-DD` keys, in order.

    Attributes:
        keys: every session from the market's start to its end, or to the end of what the calendar
            knows (about a year ahead).
        timezone: of the calendar; a session's partition exists from the midnight after it.
        opens: time of day at which trading begins, `HH:MM`, where no exchange's calendar says it
            (sessions of a file or of the data, see `calendars.py`).
    """

    calendar: str
    timezone: str
    keys: tuple[str, ...]
    opens: str | None = None

    @classmethod
    def of(cls, calendar: str, start: dt.date, end: dt.date | None) -> Sessions:
        """The sessions of an exchange calendar between two dates, both included.

        Raises:
            ConfigError: the calendar does not reach back to `start`, or there is no session
                between the dates.
        """
        import exchange_calendars

        lead = pd.Timestamp(start) - pd.Timedelta(days=14)  # a calendar needs a session before
        try:
            table = exchange_calendars.get_calendar(calendar, start=lead)
        except ValueError as error:
            raise ConfigError(
                f"calendar {calendar} cannot be evaluated from {lead.date()} on: {error}"
            ) from error
        last = table.last_session if end is None else min(pd.Timestamp(end), table.last_session)
        days = table.sessions_in_range(pd.Timestamp(start), last)
        if days.empty:
            raise ConfigError(f"calendar {calendar} has no session between {start} and {end}")
        return cls(calendar, str(table.tz), tuple(days.strftime("%Y-%m-%d")))

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
        found = next((key for key in self.keys if key >= text), None)
        if found is None:
            raise ConfigError(f"no session at or after {text}: the last one is {self.keys[-1]}")
        return found

    def at_or_before(self, day: dt.date | str) -> str:
        """The last session that is not after `day`.

        Raises:
            ConfigError: no session precedes.
        """
        text = str(day)
        found = next((key for key in reversed(self.keys) if key <= text), None)
        if found is None:
            raise ConfigError(f"no session at or before {text}: the first one is {self.keys[0]}")
        return found

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """The sessions from one to another, both included."""
        return self.keys[self.position(first) : self.position(last) + 1]

    def back(self, key: str, count: int) -> str | None:
        """The session `count` sessions before `key`, or None before the market's start."""
        i = self.position(key) - count
        return self.keys[i] if i >= 0 else None

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
            moment: with a time zone.
        """
        today = moment.astimezone(ZoneInfo(self.timezone)).date().isoformat()
        return self.keys[: bisect_left(self.keys, today)]

    def at(self, day: str, time: str = "00:00") -> pd.Timestamp:
        """A time of day in the calendar's time zone, as UTC.

        Clocks are put forward at midnight in some zones (Cairo, Santiago): a time that is skipped
        stands for the moment after, one that comes twice for the second.

        Args:
            day: `YYYY-MM-DD`, a session or not.
            time: `HH:MM`.
        """
        local = pd.Timestamp(f"{day} {time}")
        zoned = local.tz_localize(self.timezone, ambiguous=False, nonexistent="shift_forward")
        return zoned.tz_convert("UTC")


def partitions_definition(sessions: Sessions, *, closed: bool) -> dg.DailyPartitionsDefinition:
    """The one partitions definition of a market's graph: its sessions.

    Weekdays on which the market never trades are excluded by cron strings, other closed days one
    by one; windows run from midnight to midnight of the calendar's time zone, so the key D exists
    from the midnight that follows D.

    Args:
        sessions: the market's sessions.
        closed: whether the market's span has an end (a historical sample); otherwise partitions
            go on appearing day by day, and reloading the code location extends what is known of
            future holidays.
    """
    days = pd.date_range(sessions.keys[0], sessions.keys[-1])
    trading = set(sessions.keys)
    open_weekdays = {d.day_of_week for d in days if d.strftime("%Y-%m-%d") in trading}
    closed_weekdays = [w for w in range(7) if w not in open_weekdays]
    holidays = [
        d.to_pydatetime()
        for d in days
        if d.strftime("%Y-%m-%d") not in trading and d.day_of_week in open_weekdays
    ]
    crons = [f"0 0 * * {(w + 1) % 7}" for w in closed_weekdays]  # cron counts from Sunday
    last = pd.Timestamp(sessions.keys[-1])
    return dg.DailyPartitionsDefinition(
        start_date=sessions.keys[0],
        end_date=(last + pd.Timedelta(days=1)).strftime("%Y-%m-%d") if closed else None,
        timezone=sessions.timezone,
        exclusions=[*crons, *holidays] or None,
    )


@dataclass(frozen=True)
class TrainingPlan:
    """Which sessions train, and which model is in force at each: a pure function of the calendar.

    Session s retrains iff (position(s) − position(first_trained)) mod retrain_every = 0.

    Attributes:
        pin: (from, as_of): from that session on the model of `as_of` is served and none trained.
    """

    sessions: Sessions
    first_trained: str
    retrain_every: int
    pin: tuple[str, str] | None = None

    def trains(self, key: str) -> bool:
        """Whether a model is trained in the partition of this session."""
        if key < self.first_trained or self.is_pinned(key):
            return False
        return self._offset(key) == 0

    def anchor(self, key: str) -> str | None:
        """The session whose model is in force after the close of `key`; None in the warm-up."""
        if key < self.first_trained:
            return None
        if self.is_pinned(key):
            assert self.pin is not None  # noqa: S101 - is_pinned says so
            key = self.pin[1]
        return self.sessions.back(key, self._offset(key))

    def _offset(self, key: str) -> int:
        start = self.sessions.position(self.first_trained)
        return (self.sessions.position(key) - start) % self.retrain_every

    def is_pinned(self, key: str) -> bool:
        """Whether a rollback is in force at this session."""
        return self.pin is not None and key >= self.pin[0]


@dataclass(frozen=True)
class TrainingWindow:
    """The sessions that a model as of session D learns from.

    Attributes:
        learn: sessions whose matured rows are used (partitions of `dataset_learn`).
        context: sessions whose features the windows see (partitions of `dataset_infer`).
        train: first and last decision session of training, label matured before `valid` begins.
        valid: first and last decision session held out for early stopping.
    """

    learn: tuple[str, ...]
    context: tuple[str, ...]
    train: tuple[str, str]
    valid: tuple[str, str]


def training_window(
    sessions: Sessions,
    as_of: str,
    *,
    window_sessions: int,
    valid_sessions: int,
    label_lag: int,
    step_len: int,
) -> TrainingWindow:
    """What a model as of `as_of` is trained and validated on.

    Rows matured in the last `window_sessions` sessions, so decisions up to `as_of` − lag; the
    newest `valid_sessions` decisions are held out; a training decision t is dropped unless its
    label had matured before the first held-out decision v: t + lag < v.

    Raises:
        ConfigError: the history up to `as_of` leaves no decision to train on.
    """
    end = sessions.position(as_of)
    first_matured = max(label_lag, end - window_sessions + 1)
    decisions = range(first_matured - label_lag, end - label_lag + 1)
    v = decisions.stop - valid_sessions
    last_train = v - label_lag - 1
    if last_train < decisions.start:
        raise ConfigError(
            f"no session to train on as of {as_of}: {len(decisions)} decisions have matured since "
            f"{sessions.first}, {valid_sessions} are held out for validation and {label_lag} "
            f"are dropped before them; move training.first_trained later or lower "
            f"training.valid_sessions"
        )
    keys = sessions.keys
    return TrainingWindow(
        learn=keys[first_matured : end + 1],
        context=keys[max(0, decisions.start - step_len + 1) : decisions.stop],
        train=(keys[decisions.start], keys[last_train]),
        valid=(keys[v], keys[decisions.stop - 1]),
    )


def check_sessions(keys: Sequence[str], sessions: Sessions) -> tuple[str, ...]:
    """The partition keys of a run in order, each confirmed to be a session."""
    return tuple(sorted(keys, key=sessions.position))
