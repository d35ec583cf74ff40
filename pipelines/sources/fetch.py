"""Fetch the bars of sessions from a source, and check that it keeps its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import Sessions, day_after
from pipelines.config.extra_columns import KEY, ExtraColumn
from pipelines.errors import BarsNotArrivedError, SourceError, name_sessions
from pipelines.sources.base import (
    RAW_COLUMNS,
    BarSource,
    DatedSource,
    SpanSource,
    require_extra,
)
from pipelines.sources.columns import categories
from rnn_core.text_encoding import hidden_character


def fetch_bars(
    source: BarSource,
    keys: Sequence[str],
    provisional: str | None = None,
    extra: Sequence[ExtraColumn] = (),
) -> pd.DataFrame:
    """Fetch the bars of some sessions, and confirm that every session has some.

    Args:
        source: the bars.
        keys: sessions.
        provisional: the first session that may turn out a holiday; None for none.
        extra: the columns beside the bars.

    Raises:
        BarsNotArrivedError: sessions later than the newest that the source has, or provisional
            ones; the others are all there.
        SourceError: a column is absent, a row belongs to a session that was not asked for, or a
            session has no row at all.
    """
    frame, sessions = _columns_of(source, source.fetch(keys), extra), set(keys)
    days = set(frame["date"].unique())
    if days - sessions:
        raise SourceError(
            f"{type(source).__name__} gave bars of {name_sessions(days - sessions)}, which were "
            f"not asked for"
        )
    if sessions - days:
        raise _absence(source, sessions - days, provisional)
    return frame.reset_index(drop=True)


def fetch_sessions(
    source: BarSource,
    sessions: Sessions,
    keys: Sequence[str],
    extra: Sequence[ExtraColumn] = (),
) -> pd.DataFrame:
    """Fetch the bars of some sessions and, if the source can tell, rows dated on no session.

    A row off the calendar comes with the session that follows it: a Saturday's with Monday's,
    however the range was cut. Days before the market's first session are not asked for.

    Args:
        source: the bars.
        sessions: the market's calendar.
        keys: sessions, in order.
        extra: the columns beside the bars.

    Returns:
        `RAW_COLUMNS`, the columns beside them (float64, or text), and `session`, the key of the
        partition that stores the row.

    Raises:
        BarsNotArrivedError, SourceError: as `fetch_bars`.
    """
    if not isinstance(source, SpanSource):
        frame = fetch_bars(source, keys, sessions.provisional, extra)
        return frame.assign(session=frame["date"])
    before = sessions.back(keys[0], 1)
    first = keys[0] if before is None else day_after(before)
    given, session_keys = source.fetch_span(first, keys[-1]), set(keys)
    frame = _columns_of(source, given, extra)
    at, days = pd.factorize(frame["date"])
    stored_with = [day if day in sessions else sessions.at_or_after(day) for day in days]
    is_wanted = np.array([key in session_keys for key in stored_with], dtype=bool)
    empty_keys = session_keys - set(days)
    if empty_keys:
        raise _absence(source, empty_keys, sessions.provisional)
    frame["session"] = pd.array(stored_with, dtype="str").take(at)
    return (frame if is_wanted.all() else frame[is_wanted[at]]).reset_index(drop=True)


def _columns_of(
    source: BarSource, frame: pd.DataFrame, extra: Sequence[ExtraColumn]
) -> pd.DataFrame:
    """Select the columns that the contract names.

    Raises:
        SourceError: one is absent, or holds values of another kind.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SourceError(
            f"{type(source).__name__} gave {type(frame).__name__}, expected a pandas DataFrame of "
            f"the bars, empty where there are none"
        )
    absent_columns = [c for c in RAW_COLUMNS if c not in frame.columns]
    if absent_columns:
        raise SourceError(
            f"{type(source).__name__} gave no column {', '.join(absent_columns)}; expected "
            f"{', '.join(RAW_COLUMNS)}"
        )
    require_extra([replace(one, column=one.name) for one in extra], frame, type(source).__name__)
    frame = frame[[*RAW_COLUMNS, *(one.name for one in extra)]]
    if frame.empty:  # its columns have no kind
        return frame
    for column in ("date", "instrument"):
        if not pd.api.types.is_string_dtype(frame[column]):
            raise SourceError(
                f"{type(source).__name__} gave {column} as {frame[column].dtype}, expected texts"
                + (" as 2024-01-31" if column == "date" else "")
            )
    for name in frame["instrument"].unique():
        hidden = hidden_character(name) if isinstance(name, str) else None
        if hidden is not None:
            raise SourceError(
                f"{type(source).__name__} gave the instrument {name!r}, which holds {hidden}; "
                f"correct the data, as nobody could tell it from another"
            )
    for column in RAW_COLUMNS[2:]:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise SourceError(
                f"{type(source).__name__} gave {column} as {frame[column].dtype}, expected numbers"
            )
    return frame.assign(**{one.name: _extra_values(source, frame[one.name], one) for one in extra})


def _extra_values(source: BarSource, values: pd.Series, column: ExtraColumn) -> pd.Series:
    """The values of a column beside the bars, as float64 or as text.

    Raises:
        SourceError: a column of numbers holds something else.
    """
    if column.kind == "category":
        return categories(values)
    if values.isna().all():  # of no kind
        return pd.Series(np.nan, values.index)
    if not pd.api.types.is_numeric_dtype(values):
        raise SourceError(
            f"{type(source).__name__} gave {column.name} as {values.dtype}, expected numbers; if "
            f"these are texts, write `{column.name}: category` in source.{KEY}"
        )
    return values.astype("float64")


def _absence(source: BarSource, missing: set[str], provisional: str | None) -> SourceError:
    """The error for sessions without a bar: their bars are late or absent, or it was a holiday."""
    name, newest = type(source).__name__, None
    doubtful = {key for key in missing if provisional is not None and key >= provisional}
    if isinstance(source, DatedSource):
        newest = _newest(source, min(missing))
        holes = {key for key in missing if newest is not None and key <= newest}
        if holes and holes <= doubtful:
            return BarsNotArrivedError(
                f"{name} has no bar at all for {name_sessions(missing)}, weekdays beyond what the "
                f"calendar knows, and reaches {newest}: one that was a holiday is passed over once "
                f"a later day has bars, or name it under market.calendar.closures; nothing was "
                f"written",
                session=min(missing),
            )
        if newest is not None and not holes:
            maybe = ", or it was a holiday beyond what the calendar knows" if doubtful else ""
            return BarsNotArrivedError(
                f"{name} has no bar at all for {name_sessions(missing)}: the newest session that "
                f"it has is {newest}, so the data has not arrived yet{maybe}; nothing was written, "
                f"run it again once it is there",
                session=min(missing),
            )
        missing = holes or missing
    span = "" if newest is None else f", though it reaches {newest}"
    return SourceError(
        f"{name} has no bar at all for {name_sessions(missing)}{span}: the data has not arrived, "
        f"or the source does not cover it; run the range again once it is there, end market.end "
        f"before it, or name days on which the market was closed after all under market.closed",
        session=min(missing),
    )


def _newest(source: DatedSource, key: str) -> str | None:
    """The newest session that a source has; the weeks before `key` are searched first."""
    near = str((pd.Timestamp(key) - pd.Timedelta(days=60)).date())
    for first in (near, None):
        days = source.days(first)
        if len(days):
            return str(days.index[-1])
    return None
