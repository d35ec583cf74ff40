"""Session labels and bounds: every date that enters the library passes here.

A session label names a trading day. It is a datetime64 at midnight without a zone (of any
resolution), a date object, or text with the year first: 2022-01-03, 20220103 or 2022/01/03. All
else is an error, because it would be read as some other day: the number 20220103 as 20
milliseconds after 1970, 16:00 as a session of its own, midnight in Berlin as the day before. A
bound of a range is a label too, or a moment, or a month or a year, from its first day to its last.

Labels are judged once for each distinct value, so a frame of a million rows costs no more than a
hash of its dates, and the level of an index next to nothing.

Shape letters: T sessions, R rows.
"""

from __future__ import annotations

import datetime
import math
import numbers
import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DateLike = str | datetime.date | np.datetime64

LEVELS = ("datetime", "instrument")

_DAY = r"(?:\d{8}|\d{4}(?:-\d\d?-\d\d?|/\d\d?/\d\d?|\.\d\d?\.\d\d?))"
_LABEL = re.compile(rf"{_DAY}(?:[ T]00:00(?::00(?:\.0+)?)?)?")
_PERIOD = re.compile(r"\d{4}(?:[-/]\d\d?)?")
_BOUND = re.compile(rf"{_DAY}(?:[ T].+)?|{_PERIOD.pattern}")

_UNITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of a moment of this century, counted from 1970 in each unit."""


def session_labels(values: Any, what: str) -> pd.DatetimeIndex:
    """Return labels as midnights without a zone.

    Args:
        values: a sequence, array, Series or Index of T labels.
        what: name of the values in an error, e.g. "`date`".

    Returns:
        The T labels, in the order given; an index that holds such labels comes back as it is.

    Raises:
        ValueError: a label is missing, has a time of day or a zone, or is no day at all.
    """
    if isinstance(values, pd.DatetimeIndex):
        _require_midnights(values, what)
        return values
    days, code = session_codes(values, what)
    return pd.DatetimeIndex(days[code], name=getattr(values, "name", None))


def session_codes(values: Any, what: str) -> tuple[pd.DatetimeIndex, NDArray[np.intp]]:
    """Return the distinct labels of rows, and the place of each row's label among them.

    Args:
        values: a sequence, array, Series or Index of R labels.
        what: name of the values in an error, e.g. "`date`".

    Returns:
        T distinct midnights, in the order of their first row, and int [R].

    Raises:
        ValueError: as `session_labels`.
    """
    rows = values if isinstance(values, (pd.Series, pd.Index)) else pd.Index(values)
    code, distinct = pd.factorize(rows)
    if len(code) and code.min() < 0:
        raise ValueError(f"{what} is missing in {int((code < 0).sum())} rows: drop them")
    days = _days(pd.Index(distinct), what)
    if not days.is_unique:  # one day written in two ways
        again, once = pd.factorize(days)
        days, code = pd.DatetimeIndex(once), again[code]
    return days, code.astype(np.intp, copy=False)


def session_index(index: pd.Index, what: str) -> pd.MultiIndex:
    """Return the (datetime, instrument) index of a long frame with session labels as its dates.

    Args:
        index: two levels. Levels named `datetime` (or `date`) and `instrument` are recognised in
            either order; unnamed levels are taken as (datetime, instrument).
        what: name of the frame in an error, e.g. "pred".

    Returns:
        The same rows in the same order; an index that is right already comes back as it is.

    Raises:
        ValueError: not two levels, a missing key, or a label that `session_labels` refuses.
    """
    if not isinstance(index, pd.MultiIndex) or index.nlevels != 2:
        raise ValueError(
            f"{what} has the index {list(index.names)}; expected two levels (datetime, instrument):"
            f" use {what}.set_index(['datetime', 'instrument']) or pd.MultiIndex.from_product"
        )
    if index.names[1] in ("datetime", "date") or index.names[0] == "instrument":
        index = index.swaplevel()
    if tuple(index.names) != LEVELS:
        index = index.set_names(list(LEVELS))
    for level, codes in zip(LEVELS, index.codes, strict=True):
        if len(codes) and codes.min() < 0:
            n_missing = int((np.asarray(codes) < 0).sum())
            raise ValueError(f"{n_missing} of {len(codes)} rows have no {level}: drop them first")
    days = index.levels[0]
    if isinstance(days, pd.DatetimeIndex) and _are_midnights(days):
        return index
    # Only labels that a row uses are judged, and one day has one label.
    index = index.remove_unused_levels()
    days, code = session_codes(index.levels[0], f"the datetime level of {what}")
    levels: list[Any] = [days, index.levels[1]]
    places: list[Any] = [code[np.asarray(index.codes[0])], index.codes[1]]
    return pd.MultiIndex(levels=levels, codes=places, names=LEVELS, verify_integrity=False)


def session_bound(date: DateLike | None, *, last: bool = False) -> pd.Timestamp | None:
    """Return the moment that a bound of a range of sessions names; None stays None.

    Args:
        date: a label, a moment without a zone, or a text of a month or a year.
        last: True for the end of a range: a month or a year then stands for its last day, else for
            its first.

    Raises:
        ValueError: a zone, a missing date, or a text that is not clearly a date.
        TypeError: a number, a period or anything else that is no date.
    """
    if date is None:
        return None
    if isinstance(date, str):
        if not _BOUND.fullmatch(date.strip()):
            raise ValueError(f"{date!r} is no date that begins with its year: write 2022-01-03")
    elif isinstance(date, (numbers.Number, np.number)):
        raise TypeError(f"{date!r} is no date but a number: {_from_number(date)}")
    elif not isinstance(date, (datetime.date, np.datetime64, type(pd.NaT))):
        raise TypeError(f"{date!r} is no date: give a text, a date or a Timestamp")
    stamp: Any = pd.Timestamp(date)
    if stamp is pd.NaT:
        raise ValueError(f"{date!r} is a missing date: leave the bound out, or give None")
    if stamp.tzinfo is not None:
        raise ValueError(f"{date!r} has a time zone, expected a session label: drop the zone")
    if last and isinstance(date, str) and _PERIOD.fullmatch(date.strip()):
        return pd.Period(date.strip()).end_time.normalize()
    return pd.Timestamp(stamp)


def session_range(
    sessions: pd.DatetimeIndex, start: DateLike | None, end: DateLike | None
) -> slice[int, int, None]:
    """Return the positions of the sessions from `start` to `end`, both included.

    Args:
        sessions: sorted, T.
        start: as for `session_bound`; None for the first one.
        end: alike; None for the last one.

    Returns:
        A slice of positions, empty if no session lies between the two.

    Raises:
        ValueError, TypeError: as `session_bound`.
    """
    low, high = session_bound(start), session_bound(end, last=True)
    first = 0 if low is None else int(sessions.searchsorted(low, "left"))
    stop = len(sessions) if high is None else int(sessions.searchsorted(high, "right"))
    return slice(first, max(first, stop))


def session_day(date: DateLike) -> pd.Timestamp:
    """Return the moment that names one session.

    Args:
        date: a label, or a moment without a zone.

    Raises:
        ValueError: a month or a year; and as `session_bound`.
        TypeError: None; and as `session_bound`.
    """
    if isinstance(date, str) and _PERIOD.fullmatch(date.strip()):
        raise ValueError(f"{date!r} is a whole period, expected one day such as 2022-01-03")
    stamp = session_bound(date)
    if stamp is None:
        raise TypeError("the date is None, expected one day such as 2022-01-03")
    return stamp


def _are_midnights(days: pd.DatetimeIndex) -> bool:
    """True if a datetime64 index holds session labels."""
    if days.tz is not None or days.hasnans:
        return False
    return not (days.asi8 % _per_day(days)).any()


def _per_day(days: pd.DatetimeIndex) -> int:
    """Return the ticks of a day in the resolution of an index."""
    return 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[days.unit]


def _require_midnights(days: pd.DatetimeIndex, what: str) -> None:
    """Refuse a datetime64 index that holds anything but session labels."""
    if days.tz is not None:
        raise ValueError(
            f"{what} is tz-aware (time zone {days.tz}, e.g. {next(iter(days), None)}), expected "
            f"tz-naive session labels: use tz_localize(None), after tz_convert to the zone of the "
            f"exchange"
        )
    if days.hasnans:
        raise ValueError(f"{what} is missing in {int(np.sum(days.isna()))} rows: drop them")
    late = np.flatnonzero(days.asi8 % _per_day(days))
    if len(late):
        raise ValueError(
            f"{what} has times of day: {days[late[0]]} is the first of {len(late)} among "
            f"{len(days)} labels. A session label is a day: use .dt.normalize() (of an index "
            f".normalize()), after converting to the zone of the exchange if these are moments of "
            f"another zone"
        )


def _days(distinct: pd.Index, what: str) -> pd.DatetimeIndex:
    """Return distinct labels of any type as midnights."""
    if not isinstance(distinct, pd.DatetimeIndex):
        labels = [_day(value, what) for value in distinct]
        distinct = pd.DatetimeIndex(np.array(labels, dtype="datetime64[us]"))
    _require_midnights(distinct, what)
    return distinct


def _day(value: Any, what: str) -> np.datetime64:
    """Return one label that is no datetime64 of an index; only its time of day is not judged."""
    if isinstance(value, str):
        if not _LABEL.fullmatch(value.strip()):
            raise ValueError(
                f"{what} holds the text {value!r}, expected days such as 2022-01-03: convert it "
                f"with pd.to_datetime(..., format='%d/%m/%Y') or the format that it has"
            )
    elif isinstance(value, (numbers.Number, np.number)):
        raise ValueError(f"{what} holds the number {value!r}, expected days: {_from_number(value)}")
    elif isinstance(value, pd.Period):
        raise ValueError(
            f"{what} holds the period {value}, expected days: use .dt.to_timestamp() (of an index "
            f".to_timestamp())"
        )
    elif not isinstance(value, (datetime.date, np.datetime64)):
        raise ValueError(
            f"{what} holds {value!r} ({type(value).__name__}), expected days: convert it with "
            f"pd.to_datetime"
        )
    try:
        stamp = pd.Timestamp(value)
    except ValueError as error:
        raise ValueError(f"{what} holds {value!r}, which is no day: {error}") from error
    if stamp.tzinfo is not None:
        _require_midnights(pd.DatetimeIndex([stamp]), what)
    return stamp.to_datetime64()


def _from_number(value: Any) -> str:
    """Advise how to convert numbers like this one to dates."""
    digits = str(int(value)) if math.isfinite(value) else ""
    if re.fullmatch(r"(1[789]|2\d)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])", digits):
        return "for digits like these use pd.to_datetime(values.astype(str), format='%Y%m%d')"
    unit = _UNITS.get(len(digits), "D")
    return (
        f"use pd.to_datetime(values, unit='{unit}') with the unit that they count since 1970, "
        f"tz_convert to the zone of the exchange, and normalize()"
    )
