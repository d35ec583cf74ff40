"""Fetch the bars of sessions from a source, and check that it keeps its contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.errors import BarsNotArrivedError, SourceError, name_sessions
from pipelines.sources.base import RAW_COLUMNS, BarSource, DatedSource, SpanSource


def fetch_bars(source: BarSource, keys: Sequence[str]) -> pd.DataFrame:
    """Bars of the given sessions, after confirming that every session has some.

    Raises:
        BarsNotArrivedError: sessions later than the newest that the source has; those before it
            are all there.
        SourceError: a column is absent, a row belongs to a session that was not asked for, or a
            session has no row at all.
    """
    frame, asked = _columns_of(source, source.fetch(keys)), set(keys)
    given = set(frame["date"].unique())
    if given - asked:
        raise SourceError(
            f"{type(source).__name__} gave bars of {name_sessions(given - asked)}, which were not "
            f"asked for"
        )
    if asked - given:
        raise _absence(source, type(source).__name__, asked - given)
    return frame.reset_index(drop=True)


def fetch_sessions(source: BarSource, sessions: Sessions, keys: Sequence[str]) -> pd.DataFrame:
    """Bars of the given sessions and, where the source can tell, rows dated on no session.

    A row off the calendar is seen with the session that follows it: that of a Saturday with
    Monday's, however the range was cut. Before the market's first session nothing is looked for.

    Args:
        source: the bars.
        sessions: the market's calendar.
        keys: sessions, in order.

    Returns:
        `RAW_COLUMNS` and `session`, the key under which the row is stored.

    Raises:
        BarsNotArrivedError, SourceError: as `fetch_bars`.
    """
    if not isinstance(source, SpanSource):
        frame = fetch_bars(source, keys)
        return frame.assign(session=frame["date"])
    before = sessions.back(keys[0], 1)
    first = keys[0] if before is None else _day_after(before)
    frame, asked = _columns_of(source, source.fetch_span(first, keys[-1])), set(keys)
    at, days = pd.factorize(frame["date"])
    seen_with = [day if day in sessions else sessions.at_or_after(day) for day in days]
    wanted = np.array([key in asked for key in seen_with], dtype=bool)
    absent = asked - set(days)
    if absent:
        raise _absence(source, type(source).__name__, absent)
    frame["session"] = pd.Series(np.array(seen_with, dtype=object)[at], frame.index, dtype="str")
    return frame[wanted[at]].reset_index(drop=True)


def _day_after(key: str) -> str:
    return str(dt.date.fromisoformat(key) + dt.timedelta(days=1))


def _columns_of(source: BarSource, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that the contract names.

    Raises:
        SourceError: one is absent.
    """
    absent = [c for c in RAW_COLUMNS if c not in frame.columns]
    if absent:
        raise SourceError(
            f"{type(source).__name__} gave no column {', '.join(absent)}; expected "
            f"{', '.join(RAW_COLUMNS)}"
        )
    return frame[list(RAW_COLUMNS)]


def _absence(source: BarSource, name: str, missing: set[str]) -> SourceError:
    """What to say of sessions without a bar: late, or absent."""
    newest = None
    if isinstance(source, DatedSource):
        newest = _newest(source, min(missing))
        holes = {key for key in missing if newest is not None and key <= newest}
        if newest is not None and not holes:
            return BarsNotArrivedError(
                f"{name} has no bar at all for {name_sessions(missing)}: the newest session that "
                f"it has is {newest}, so the data has not arrived yet; nothing was written, run "
                f"it again once it is there"
            )
        missing = holes or missing
    span = "" if newest is None else f", though it reaches {newest}"
    return SourceError(
        f"{name} has no bar at all for {name_sessions(missing)}{span}: the data has not arrived, "
        f"or the source does not cover it; nothing was written, run the range again once it is "
        f"there, end market.end before it, or name days on which the market was closed after all "
        f"under market.closed"
    )


def _newest(source: DatedSource, key: str) -> str | None:
    """The newest session that a source has; the weeks before `key` are looked at first."""
    near = str((pd.Timestamp(key) - pd.Timedelta(days=60)).date())
    for first in (near, None):
        there = source.days(first)
        if len(there):
            return str(there.index[-1])
    return None
