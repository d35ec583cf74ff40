"""Next session of a market: the decision behind the schedule and its sensors.

A closed session since training begins is missing if some model has no evaluation of it. Only the
oldest is ever looked at, since a session builds on all before it: one that fails holds back those
after it, and is never overtaken. The oldest is asked for, or waited for until its next attempt is
due (the wait doubles), or given up and reported by name. The calendar decides what is closed: a
session has closed when the midnight after it has passed in the calendar's time zone.

A run is a process that derives the calendar anew; this one may live for weeks. So a calendar
that is no exchange's is derived again before a session is asked for: a day that is no session any
more is passed over, a new session is an error, since the partitions of this process lack it.

A model that was added to a market at work must not hold its signals back (`new_models.py`): only
sessions from its first evaluation on count for it.

A session whose bars the source does not have yet has not failed: it waits. It is asked for again
after the same waits, and given up by time, not by number: when the waits of all the attempts that
the YAML allows have passed since the bars were first found absent. However many runs a drop folder
or a person starts meanwhile, it is given up no earlier. The last run that finds no bars fails, so
that the alert tells somebody.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from zoneinfo import ZoneInfo

import dagster as dg

from pipelines.automation.new_models import NOBODY, Newcomers, newcomers
from pipelines.config.market_file import ScheduleConfig
from pipelines.errors import PipelineError, name_sessions
from pipelines.instance.made_keys import made_in_order
from pipelines.instance.names import DAILY, asset_key
from pipelines.instance.run_history import (
    WAITING,
    Attempts,
    failed_attempts,
    work_in_progress,
)
from pipelines.market.calendar_end import calendar_end, way_on
from pipelines.market.market import Market
from pipelines.market.stage import Stage, last_stages

_AT_ONCE = 512  # sessions


class SessionFailedError(PipelineError):
    """A session has used up its attempts; the message names it, the reason and the remedy."""


class CalendarEndedError(PipelineError):
    """The sessions that this process knows have run out."""


class CalendarChangedError(PipelineError):
    """A day has become a session since this process began."""


@dataclass(frozen=True)
class Outlook:
    """The state of a market's sessions at one moment.

    Attributes:
        newest: the newest session that is due; None before the first.
        missing: the sessions that are due and not done, oldest first.
        busy: the work on sessions now, in words.
        attempts: the failed runs of the oldest missing session.
        next_try: when its next attempt is due; None if it is due now or was given up.
        given_up: True if it has used up its attempts.
        last_wait: True if a run that finds no bars now is not followed by another.
        newcomers: the models that were added later than the others.
        calendar: a remark on the end of what the calendar knows; None if it is far.
        command: see `Market.command`.
        job: the job that makes one session.
    """

    newest: str | None
    missing: tuple[str, ...] = ()
    busy: str | None = None
    attempts: Attempts | None = None
    next_try: dt.datetime | None = None
    given_up: bool = False
    last_wait: bool = False
    newcomers: Newcomers = NOBODY
    calendar: str | None = None
    command: Callable[[str], str] = "rnn-pipelines {}".format
    job: str = DAILY

    @property
    def ask_for(self) -> str | None:
        """The session to run now."""
        waits = self.busy is not None or self.next_try is not None or self.given_up
        return None if waits or not self.missing else self.missing[0]

    def reason(self, settings: ScheduleConfig, zone: str) -> str:
        """Explain in words that no session is asked for now."""
        note = self.newcomers.note(self.newest, self.command)
        end = f"; {self.calendar}" if self.calendar else ""
        return f"{self._reason(settings, zone)}{note}{end}"

    def _reason(self, settings: ScheduleConfig, zone: str) -> str:
        if not self.missing:
            return f"every closed session is done, the newest is {self.newest or 'none'}"
        if self.busy is not None:
            return f"{_sessions(len(self.missing))} missing from {self.missing[0]} on, and " + (
                f"{self.busy}; one at a time"
            )
        if self.attempts is None:
            raise AssertionError(f"{self.missing[0]} waits for nothing")
        waits = self.attempts.late_since is not None and not self.given_up
        named = f"{self.missing[0]} {WAITING}" if waits else self.missing[0]
        failed = f"{named}: {_failed(self.attempts, settings, zone)}"
        behind = len(self.missing) - 1
        after = f"; {_sessions(behind)} behind it" if behind else ""
        if self.next_try is not None:
            return f"{failed}; the next is due at {clock(self.next_try, zone)}{after}"
        key = self.missing[0]
        return (
            f"{failed}; it was the last, and the schedule asks no more{after}. Put right what the "
            f"reason names and run `{self.command(f'backfill --start {key} --end {key}')}`, or "
            f"launch `{self.job}` of {key} in the UI; the schedule goes on by itself once {key} is "
            f"done"
        )


def done_sessions(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance
) -> dict[Stage, tuple[str, ...]]:
    """The sessions on record of each stage that ends the graph, oldest first."""
    return {
        stage: made_in_order(instance, asset_key(market, stage.name))
        for stage in last_stages(stages)
    }


def look(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    job: str,
    now: dt.datetime,
    closed_by: dt.datetime | None = None,
    done: Mapping[Stage, Sequence[str]] | None = None,
) -> Outlook:
    """Find the next session of a market at a moment.

    Args:
        market: the market.
        stages: its stages; a session is done when all that end the graph are.
        instance: its Dagster record.
        job: the job that makes one session.
        now: the moment, with a time zone.
        closed_by: consider only sessions closed by then (default `now`).
        done: the sessions on record that `done_sessions` has just found, if the caller has them.

    Raises:
        CalendarEndedError: the sessions known to this process end before `now`.
        CalendarChangedError: a session that is due is not known to this process.
        SourceError: the data has bars on a day that was passed over when it was the past.
    """
    closed = closed_at(market, closed_by or now)
    due = closed[bisect_left(closed, market.plan.first_trained) :]
    if done is None:
        done = done_sessions(market, stages, instance)
    # A stage without any session on record is a new model: it holds nothing back.
    new_models = newcomers(due, done)
    lacking = set[str]()
    for stage, keys in done.items():
        if stage not in new_models.without:
            since = bisect_left(due, new_models.since.get(stage, ""))
            lacking.update(_lacking(due[since:], keys))
    missing = tuple(sorted(lacking))
    newest = due[-1] if due else None
    today = now.astimezone(ZoneInfo(market.sessions.timezone)).date().isoformat()
    outlook = Outlook(
        newest,
        missing,
        newcomers=new_models,
        calendar=calendar_end(market.config.market, market.sessions, today),
        command=market.command,
        job=job,
    )
    if not missing:
        return outlook
    # One session at a time, whoever launched the run.
    busy = work_in_progress(instance, market, market.sessions.keys)
    if busy is not None:
        return replace(outlook, busy=busy)
    # A run derives the calendar anew, so ask only for sessions that it will know.
    missing = _still_sessions(market, missing, done.values(), closed_by or now)
    outlook = replace(outlook, missing=missing)
    if not missing:
        return outlook
    # A failed session waits for its next attempt, or is given up after the last one.
    attempts = failed_attempts(
        instance, job, missing[0], [asset_key(market, stage.name) for stage in done]
    )
    if attempts is None:
        return outlook
    settings = market.config.schedule
    due_at = next_attempt(settings, attempts)
    waits_until = due_at if due_at is not None and due_at > now else None
    late = attempts.late_since is not None
    is_last = late and next_attempt(settings, replace(attempts, ended=now)) is None
    return replace(
        outlook,
        attempts=attempts,
        next_try=waits_until,
        given_up=due_at is None,
        last_wait=is_last,
    )


def _lacking(due: Sequence[str], done: Sequence[str]) -> Sequence[str]:
    """The sessions that are due and not done, given both in order.

    As a rule they agree up to the newest, and equal parts of two tuples are passed over ten times
    as fast as sets of them are made.
    """
    done = done[bisect_left(done, due[0]) :] if due else ()
    for i in range(0, len(due), _AT_ONCE):
        if due[i : i + _AT_ONCE] != done[i : i + _AT_ONCE]:
            return sorted(set(due[i:]).difference(done[i:]))
    return []


def _still_sessions(
    market: Market,
    missing: tuple[str, ...],
    done: Iterable[Sequence[str]],
    moment: dt.datetime,
) -> tuple[str, ...]:
    """The missing sessions that a run, which derives the calendar anew, knows as well.

    Raises:
        CalendarChangedError: a session that is due is not known to this process.
    """
    sessions, first = market.sessions_now(), market.plan.first_trained
    if sessions is market.sessions:
        return missing
    new_keys = [
        key for key in sessions.closed(moment) if key >= first and key not in market.sessions
    ]
    if new_keys := sorted(set(new_keys).difference(*done)):
        raise CalendarChangedError(
            f"{name_sessions(new_keys)} became a session of {sessions.calendar} after this process "
            f"began, whose partitions lack it; reload the code location"
        )
    return tuple(key for key in missing if key in sessions)


def closed_at(market: Market, moment: dt.datetime) -> tuple[str, ...]:
    """The sessions that are over at a moment.

    Raises:
        CalendarEndedError: the market goes on and the sessions known to this process do not.
    """
    sessions = market.sessions
    today = moment.astimezone(ZoneInfo(sessions.timezone)).date().isoformat()
    if market.config.market.end is None and today > sessions.keys[-1]:
        way = way_on(market.config.market.calendar)
        raise CalendarEndedError(
            f"the sessions of {sessions.calendar} that this process knows end with "
            f"{sessions.keys[-1]}, and it is {today} there; reload the code location, and if that "
            f"does not help: {way}"
        )
    return sessions.closed(moment)


def wait_after(settings: ScheduleConfig, failures: int) -> dt.timedelta:
    """The wait after so many failed runs: retry_minutes × 2^(failures − 1), capped."""
    minutes = settings.retry_minutes * 2 ** min(failures - 1, 20)
    return dt.timedelta(minutes=min(minutes, settings.max_retry_minutes))


def next_attempt(settings: ScheduleConfig, attempts: Attempts) -> dt.datetime | None:
    """The time at which a session is tried again after failed runs; None if it is given up."""
    if attempts.late_since is not None:
        waited = attempts.ended - attempts.late_since
        later = (wait for wait in _late_waits(settings) if wait > waited)
        wait = next(later, None)
        return None if wait is None else attempts.late_since + wait
    if attempts.count >= settings.max_attempts:
        return None
    return attempts.ended + wait_after(settings, attempts.count)


def _late_waits(settings: ScheduleConfig) -> Iterator[dt.timedelta]:
    """Times after the first look in vain at which the bars of a session are asked for again."""
    waits = (wait_after(settings, n) for n in range(1, settings.max_attempts + 1))
    return accumulate(waits)


def _failed(attempts: Attempts, settings: ScheduleConfig, zone: str) -> str:
    """The newest run that did not make the session, in words."""
    when = f"at {clock(attempts.ended, zone)} (run {attempts.run_id[:8]}): {attempts.reason}"
    if attempts.late_since is None:
        return f"attempt {attempts.count} of {settings.max_attempts} failed {when}"
    since = clock(attempts.late_since, zone)
    times = "once" if attempts.late == 1 else f"{attempts.late} times since {since}"
    return f"its bars were asked for {times} and were not there {when}"


def clock(moment: dt.datetime, zone: str) -> str:
    """A moment on the wall clock of the calendar's time zone."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
