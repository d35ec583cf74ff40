"""The one Dagster partitions definition of a market's graph: its trading sessions.

One Dagster job can hold only one partitions definition, and every dependency is the identity
mapping; an asset reads its look-back from the warehouse, by the arithmetic of `Sessions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import dagster as dg
import pandas as pd

from pipelines.calendar.sessions import Sessions


class SessionPartitions(dg.DailyPartitionsDefinition):
    """Daily partitions whose hash is made once.

    Dagster hashes the definition some two hundred times in a run, each time from the text of all
    of its closed days: of forty years 370.
    """

    @cached_property
    def _hash(self) -> int:
        made: int = super().__hash__()  # type: ignore[no-untyped-call]
        return made

    def __hash__(self) -> int:
        return self._hash


def partitions_definition(sessions: Sessions, *, closed: bool) -> SessionPartitions:
    """Build the partitions definition of a market's sessions.

    Weekdays on which the market never trades are excluded by cron strings, other closed days one
    by one; windows run from midnight to midnight of the calendar's time zone, so the key D exists
    from the midnight that follows D.

    Args:
        sessions: the market's sessions.
        closed: True if the market's span has an end (a historical sample); otherwise partitions
            go on appearing day by day, and reloading the code location extends the known
            future holidays.
    """
    days = pd.date_range(sessions.keys[0], sessions.keys[-1])
    trading = days.isin(pd.DatetimeIndex(sessions.keys))
    open_weekdays = set(days[trading].day_of_week)
    closed_weekdays = [w for w in range(7) if w not in open_weekdays]
    closed_days = days[~trading]
    holidays = list(closed_days[closed_days.day_of_week.isin(open_weekdays)].to_pydatetime())
    crons = [f"0 0 * * {(w + 1) % 7}" for w in closed_weekdays]  # cron counts from Sunday
    last = pd.Timestamp(sessions.keys[-1])
    return SessionPartitions(
        start_date=sessions.keys[0],
        end_date=(last + pd.Timedelta(days=1)).strftime("%Y-%m-%d") if closed else None,
        timezone=sessions.timezone,
        exclusions=[*crons, *holidays] or None,
    )


def check_sessions(keys: Sequence[str], sessions: Sessions) -> tuple[str, ...]:
    """Sort the partition keys of a run, and confirm that each is a session."""
    return tuple(sorted(keys, key=sessions.position))
