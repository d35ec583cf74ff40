"""The end of what a calendar knows: a warning in time, and the sessions after it.

Some exchanges publish their holidays a year ahead, and their calendars end with the year. A market
goes on: by the closures that a person names, and after these by weekdays, which are provisional. A
provisional weekday that has bars is a session; one without bars was a holiday once a later day has
bars. A ledger keeps the sessions of the past, so that neither a newer calendar nor restated data
shifts what was made of them.
"""

from __future__ import annotations

import datetime as dt
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.calendar import ExchangeCalendar, FileCalendar, exchange_of
from pipelines.config.market_file import MarketConfig
from pipelines.errors import SourceError
from pipelines.market.calendar_ledger import read_ledger, write_ledger
from pipelines.sources.base import BarSource, DatedSource
from pipelines.warehouse.store import StateFile

DAYS_AHEAD = 366
SOON_SESSIONS = 60
"""The number of sessions before the end of what a calendar knows at which people are told."""

logger = logging.getLogger(__name__)


def extended_sessions(
    calendar: ExchangeCalendar,
    base: Sessions,
    market: MarketConfig,
    ledger: StateFile,
    source: Callable[[], BarSource],
    begun: Callable[[], bool],
    today: dt.date,
    *,
    keep: bool,
) -> Sessions:
    """The sessions of an exchange, and those that follow the end of its calendar.

    Args:
        calendar: the section of the YAML.
        base: the sessions that the exchange's calendar knows.
        market: the section that holds it.
        ledger: the file of the market's state that keeps past sessions after the end.
        source: gives the source of bars; called only if provisional weekdays have passed.
        begun: tells whether the warehouse has bars; before that the ledger does not bind.
        today: the present day in the calendar's time zone.
        keep: write the ledger.

    Raises:
        ConfigError: the ledger is damaged.
    """
    end = str(base.known_to)
    content = read_ledger(ledger) if begun() else {}
    known: list[str] = content["sessions"] if "after" in content else []
    after = str(content["after"]) if known else end
    # Days that may be sessions: those of a calendar that knows more by now, then weekdays.
    horizon = max(pd.Timestamp(today) + pd.Timedelta(days=DAYS_AHEAD), pd.Timestamp(end))
    weekdays = pd.bdate_range(pd.Timestamp(end) + pd.Timedelta(days=1), horizon)
    closures = {str(day) for day in calendar.closures}
    days = [*(key for key in base.keys if key > after), *weekdays.strftime("%Y-%m-%d")]
    sure_to = max(end, str(calendar.closures_to or ""))
    # Those of the past are known for good; a provisional one needs bars.
    newest = known[-1] if known else after
    new = [key for key in days if newest < key < str(today) and key not in closures]
    with_bars = _with_bars([key for key in new if key > sure_to], source)
    known = [*known, *(key for key in new if key <= sure_to or key in with_bars)]
    if keep and known:
        write_ledger(ledger, {"fingerprint": None, "sessions": known, "after": after})
    newest = known[-1] if known else after
    keys = [*(key for key in base.keys if key <= after), *known, *(k for k in days if k > newest)]
    last = str(market.end or horizon.date())
    keys = [key for key in keys if key <= last and key not in closures]
    provisional = next((key for key in keys if key > max(sure_to, newest)), None)
    return replace(base, keys=tuple(keys), known_to=None, provisional=provisional)


def _with_bars(doubtful: Sequence[str], source: Callable[[], BarSource]) -> set[str]:
    """The provisional weekdays of the past that have bars, none where that cannot be told now.

    All of them for a source that does not tell the days that it has.
    """
    if not doubtful:
        return set()
    bars = source()
    if not isinstance(bars, DatedSource):
        return set(doubtful)
    try:
        counts = bars.days(doubtful[0])
    except SourceError as error:
        logger.warning("the calendar is the one last seen, the data cannot be read: %s", error)
        return set()
    return set(doubtful) & set(counts[counts > 0].index)


def calendar_end(market: MarketConfig, sessions: Sessions, today: str) -> str | None:
    """Say that the end of what the calendar knows is near or past; None if it is not.

    Args:
        market: the section of the YAML.
        sessions: the market's sessions.
        today: the present day in the calendar's time zone.
    """
    if sessions.provisional is not None:
        until = bisect_left(sessions.keys, sessions.provisional)
        if until - bisect_right(sessions.keys, today) > SOON_SESSIONS:
            return None
        return (
            f"the sessions of {sessions.calendar} from {sessions.provisional} on are weekdays, "
            f"provisional: a holiday among them is passed over once a later day has bars; name "
            f"holidays under market.calendar.closures, and the day up to which these are complete "
            f"under market.calendar.closures_to"
        )
    end = sessions.known_to
    if end is None or (market.end is not None and str(market.end) <= end):
        return None
    left = max(0, bisect_right(sessions.keys, end) - bisect_right(sessions.keys, today))
    if left > SOON_SESSIONS:
        return None
    when = f", {left} sessions from now" if left else f", and it is {today}"
    return f"calendar {sessions.calendar} is known to {end} only{when}: {way_on(market.calendar)}"


def way_on(calendar: Any) -> str:
    """Say how a market goes on after the end of its calendar, by the kind of calendar."""
    exchange = exchange_of(calendar)
    if exchange is not None:
        return (
            f"`calendar: {{exchange: {exchange}, closures: [DAYS], closures_to: DAY}}` goes on "
            f"with weekdays less the closures (docs/markets.md)"
        )
    if isinstance(calendar, FileCalendar):
        return f"add the sessions that follow to {calendar.file}"
    return (
        f"the calendar is derived from the data and reaches {DAYS_AHEAD} days beyond today or the "
        f"newest bar"
    )
