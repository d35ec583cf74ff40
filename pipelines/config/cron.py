"""Times of a cron string, as Dagster's scheduler counts them over both changes of the clocks."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

# A time of the day, on every day of the week, one of them or the days of work: no need to ask
# Dagster, which takes a second to import.
_EVERYDAY = re.compile(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* (\*|[0-6]|1-5)", re.ASCII)


def is_cron(text: str) -> bool:
    """True if a schedule of Dagster can run at the times of the string."""
    if _EVERYDAY.fullmatch(text):
        return True
    import dagster as dg

    try:
        _windows(text, "UTC")
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


def last_tick(cron: str, now: dt.datetime, zone: str) -> dt.datetime:
    """The newest time of a cron string that is not after `now`."""
    window = _windows(cron, zone).get_prev_partition_window(now, respect_bounds=False)
    assert window is not None  # noqa: S101 - only where bounds are respected
    return window.end


def next_tick(cron: str, now: dt.datetime, zone: str) -> dt.datetime:
    """The first time of a cron string that is not before `now`."""
    window = _windows(cron, zone).get_next_partition_window(now, respect_bounds=False)
    assert window is not None  # noqa: S101 - only where bounds are respected
    return window.start


def _windows(cron: str, zone: str) -> dg.TimeWindowPartitionsDefinition:
    """The windows between the times of a cron string, without bounds."""
    import dagster as dg

    return dg.TimeWindowPartitionsDefinition(
        start=dt.datetime(2000, 1, 1), fmt="%Y-%m-%dT%H:%M%z", cron_schedule=cron, timezone=zone
    )
