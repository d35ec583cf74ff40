"""Find the sessions of a market: from an exchange's calendar, a file, or the days with bars.

Training and serving count in sessions, so a session that appears or vanishes in the past would
shift every later one: the sessions that train, the model in force. An exchange's calendar changes
by a new release only. A calendar derived from data would change whenever the data is restated, so a
ledger in the market's state keeps its sessions and is the truth from then on: later days are added,
a day that has lost its bars stays, and a day inserted into the past is an error that names it.

Beyond the newest bar such a calendar is a guess, the weekdays of the last weeks for a year ahead,
since partitions and the schedule need some future. A holiday is among them until a later day has
bars or `market.closed` names it; the bars of such a session "have not arrived yet".
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.calendar import DataCalendar, ExchangeCalendar, FileCalendar, exchange_of
from pipelines.config.market_file import MarketConfig
from pipelines.config.text_files import read_text
from pipelines.errors import ConfigError, SourceError
from pipelines.market.calendar_end import DAYS_AHEAD, extended_sessions
from pipelines.market.calendar_ledger import merged, read_ledger, write_ledger
from pipelines.sources.base import BarSource, DatedSource, FingerprintedSource
from pipelines.sources.table_file import read_table
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.store import StateFile

WEEKS_SEEN = 8
"""A weekday with bars in more than half of these weeks is a usual session day."""

logger = logging.getLogger(__name__)


def market_sessions(
    market: MarketConfig,
    ledger: StateFile,
    source: Callable[[], BarSource],
    begun: Callable[[], bool] = lambda: True,
    today: dt.date | None = None,
    *,
    keep: bool = True,
) -> Sessions:
    """The sessions of a market between its start and end, with its declared exceptions.

    Args:
        market: the section of the YAML.
        ledger: the file of the market's state that keeps a derived calendar.
        source: gives the source of bars; called only if the calendar is derived from them.
        begun: tells whether the warehouse has bars; before that the ledger does not bind.
        today: a derived calendar's present day (default: now, in its time zone).
        keep: write a derived calendar into the ledger.

    Raises:
        ConfigError: the calendar cannot be evaluated, its file is absent or wrong, there is no
            session between the dates, or a derived calendar has no data and was never seen.
        SourceError: the data has bars on a day that was passed over when it was the past.
    """
    calendar = market.calendar
    if isinstance(calendar, str | ExchangeCalendar):
        sessions = Sessions.of(str(exchange_of(calendar)), market.start, market.end)
        if isinstance(calendar, ExchangeCalendar):
            now = today or pd.Timestamp.now(tz=sessions.timezone).date()
            sessions = extended_sessions(
                calendar, sessions, market, ledger, source, begun, now, keep=keep
            )
    else:
        known_to = None
        if isinstance(calendar, FileCalendar):
            name, keys = str(calendar.file), file_sessions(calendar)
            known_to = keys[-1]
        else:
            now = today or pd.Timestamp.now(tz=calendar.timezone).date()
            name = "the data's calendar"
            known = _known(calendar, market, ledger, source, begun, now, keep)
            keys = known + ahead(known, market.end, now)
        first, last = str(market.start), "9999" if market.end is None else str(market.end)
        inside = tuple(key for key in keys if first <= key <= last)
        sessions = Sessions(name, calendar.timezone, inside, calendar.opens, known_to)
    return with_exceptions(sessions, market.closed, market.extra_sessions, market.start, market.end)


def with_exceptions(
    sessions: Sessions,
    closed: Sequence[dt.date],
    extra: Sequence[dt.date],
    start: dt.date,
    end: dt.date | None,
) -> Sessions:
    """Take the declared closed days from the sessions, and add the declared special ones.

    Raises:
        ConfigError: no session is left.
    """
    special = {str(day) for day in extra if start <= day and (end is None or day <= end)}
    keys = sorted((set(sessions.keys) | special) - {str(day) for day in closed})
    if not keys:
        raise ConfigError(f"{sessions.calendar} has no session between {start} and {end}")
    return replace(sessions, keys=tuple(map(sys.intern, keys)))


def file_sessions(calendar: FileCalendar) -> list[str]:
    """Read the sessions that a file lists, in order.

    Raises:
        ConfigError: the file is absent, holds none, or a line of it is no date.
    """
    path = calendar.file
    if calendar.column is not None or path.suffix.lower() == ".parquet":
        return _column_sessions(path, calendar.column or "date")
    lines = read_text(path, "market.calendar.file").splitlines()
    keys = set()
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            keys.add(str(dt.date.fromisoformat(text)))
        except ValueError:
            raise ConfigError(
                f"{path}, line {number}: {text!r} is no date such as 2024-01-31; expected one a "
                f"line, or name the column of a table: market.calendar.column"
            ) from None
    if not keys:
        raise ConfigError(f"{path} lists no session: expected a date a line")
    return sorted(keys)


def _column_sessions(path: Path, column: str) -> list[str]:
    try:
        frame = read_table(path, (column,), "market.calendar.file", dates=(column,))
    except SourceError as error:
        raise ConfigError(str(error)) from error
    if frame.empty:
        raise ConfigError(f"{path} lists no session: its column {column} is empty")
    return sorted(set(frame[column]))


# --- derived from data -----------------------------------------------------------------------


def _known(
    calendar: DataCalendar,
    market: MarketConfig,
    ledger: StateFile,
    source: Callable[[], BarSource],
    begun: Callable[[], bool],
    today: dt.date,
    keep: bool,
) -> list[str]:
    """The sessions of the ledger and the new ones of the data, which the ledger keeps if asked."""
    content, bar_source = read_ledger(ledger), source()
    if not isinstance(bar_source, DatedSource):
        raise ConfigError(
            f"market.calendar: the source {market.source.kind} does not tell the days that it "
            f"has; name an exchange's calendar or a file"
        )
    known: list[str] = content["sessions"]
    try:
        mark = _mark(bar_source, calendar, market, today)
        if known and mark is not None and content["fingerprint"] == mark:
            return known
        counts = bar_source.days(str(market.start))
    except SourceError as error:
        if not known:
            raise ConfigError(
                f"market.calendar is derived from the data, which has to be there: {error}"
            ) from error
        logger.warning("the calendar is the one last seen, the data cannot be read: %s", error)
        return known
    counts = counts[counts >= calendar.min_instruments]
    days = [key for key in counts.index if key < str(today)]
    declared = {str(day) for day in (*market.closed, *market.extra_sessions)}
    sessions = merged(known if begun() else [], days, declared, ledger)
    if not sessions:
        raise ConfigError(
            f"market.calendar: the data has no day with {calendar.min_instruments} instruments "
            f"from {market.start} on"
        )
    if keep:
        write_ledger(ledger, {"fingerprint": mark, "sessions": sessions})
    return sessions


def _mark(
    source: BarSource, calendar: DataCalendar, market: MarketConfig, today: dt.date
) -> str | None:
    """A fingerprint whose equality means that the ledger is up to date; None if there is none."""
    if not isinstance(source, FingerprintedSource):
        return None
    conditions = [str(today), str(market.start), calendar.min_instruments]
    return fingerprint([source.fingerprint(), *conditions])


def ahead(known: Sequence[str], end: dt.date | None, today: dt.date) -> list[str]:
    """The days after the newest known session that are probably sessions."""
    newest = pd.Timestamp(known[-1])
    last = max(newest, pd.Timestamp(today)) + pd.Timedelta(days=DAYS_AHEAD)
    if end is not None:
        last = min(last, pd.Timestamp(end))
    days = pd.date_range(newest + pd.Timedelta(days=1), last)
    return list(days[days.day_of_week.isin(usual_weekdays(known))].strftime("%Y-%m-%d"))


def usual_weekdays(known: Sequence[str]) -> list[int]:
    """The usual weekdays of sessions, 0 for Monday; a Saturday now and then is none."""
    days = pd.DatetimeIndex(list(known))
    begin = max(days[0], days[-1] - pd.Timedelta(days=7 * WEEKS_SEEN - 1))
    counts = days[days >= begin].day_of_week.value_counts()
    possible = pd.date_range(begin, days[-1]).day_of_week.value_counts()
    return sorted(int(w) for w in counts.index if 2 * counts[w] > possible[w])
