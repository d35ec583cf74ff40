"""Read session keys (`YYYY-MM-DD`) from a column of dates, whatever its type and form.

Dates may be dates, time stamps with or without a time zone, texts or integers. A time stamp with
a time zone has a day only in a place, so its time zone is asked for rather than guessed. A date
that cannot be read is an error that shows it, never a row less.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.types import EPOCH, EPOCHS
from pipelines.errors import SourceError

OFFSET = r"\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
ZONED = re.compile(r"\d{2}:\d{2}.*" + OFFSET)
"""Times with an offset from UTC, as `05:00:00Z` or `00:00:00-05`."""

MOMENTS = "moments"
"""In a time zone's place: keys are the moments themselves, `2024-01-31T05:00:00Z`."""


def session_keys(
    values: pa.ChunkedArray | pa.Array,
    form: str | None,
    zone: str | None,
    place: str,
    *,
    optional: bool = False,
    where: Callable[[int], str] = lambda row: "",
) -> pa.Array:
    """Turn dates of any type and form into text keys.

    Args:
        values: dates, time stamps, text or integers.
        form: a strptime form, one of `EPOCHS`, `EPOCH`, or None for ISO dates and typed columns.
        zone: the time zone in which a time stamp with a zone, or an epoch, has its day; `MOMENTS`
            asks for the moment instead of the day.
        place: the column's name in messages.
        optional: allow missing dates.
        where: says the place of a row in messages, as in `, line 12`.

    Returns:
        `YYYY-MM-DD`, one a row.

    Raises:
        SourceError: a date is missing or cannot be read, or a time zone has to be said.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = values.dictionary.to_pandas()
    if form in EPOCHS:
        _require_unit(distinct, form, values, place, where)
    days = _days(distinct, values.dictionary.type, form, zone, place)
    wrong = np.flatnonzero(days.isna())
    if len(wrong) or (values.null_count and not optional):
        examples = ", ".join(repr(distinct.iloc[k]) for k in wrong[:3]) or "an empty one"
        row = _row_of(values, wrong[0] if len(wrong) else None)
        raise SourceError(
            f"{place}{where(row)}: dates that cannot be read, such as {examples}; expected "
            f"{form or 'ISO dates such as 2024-01-31'}; set source.date_format, as in "
            f"'%d/%m/%Y' or epoch_ms; lines of a CSV that are no bars, such as titles and "
            f"totals, are left out by source.skip_lines (--skip-lines)"
        )
    is_moment = isinstance(days.dtype, pd.DatetimeTZDtype)
    text = days.dt.strftime("%Y-%m-%dT%H:%M:%SZ" if is_moment else "%Y-%m-%d")
    keys = pa.array(text.to_numpy(dtype=object), pa.string())
    return keys.take(values.indices)


_OLD_SECONDS = 10**8  # 1973-03-03
_FAR_SECONDS = 7_258_118_400  # 2200-01-01
_NEAR_SECONDS = 90 * 86_400  # a moment in seconds read as milliseconds lies in early 1970
_MINUTE_SECONDS = 60


def _require_unit(
    distinct: pd.Series[Any],
    form: str,
    values: pa.DictionaryArray,
    place: str,
    where: Callable[[int], str],
) -> None:
    """Confirm that moments are of the stated unit.

    A finer unit gives days after 2200. A coarser unit gives moments of early 1970 that are no
    whole minutes; bars that are really that old are stamped on whole minutes, or just before them.

    Raises:
        SourceError: a moment is of another unit.
    """
    numbers = pd.to_numeric(distinct, errors="coerce").to_numpy(dtype="float64")
    seconds = numbers / EPOCHS[form].per_second
    past_minute = np.mod(seconds, _MINUTE_SECONDS)
    is_odd = (past_minute >= 1) & (past_minute < _MINUTE_SECONDS - 1)
    is_coarser = (seconds > 1) & (seconds < _NEAR_SECONDS) & is_odd
    wrong = np.flatnonzero((seconds >= _FAR_SECONDS) | is_coarser)
    if len(wrong):
        value = distinct.iloc[wrong[0]]
        unit = epoch_of(float(numbers[wrong[0]]))
        raise SourceError(
            f"{place}{where(_row_of(values, wrong[0]))}: {value} is no moment in {form}"
            f"{f', but one in {unit}' if unit else ''}: correct the value; where rows differ in "
            f"their unit, source.date_format: epoch (--date-format epoch) tells the unit of each "
            f"by its magnitude"
        )


def epoch_of(number: float) -> str | None:
    """The unit in which a number is a moment between 1973 and 2200; None if in none."""
    units = (u for u in EPOCHS if _OLD_SECONDS <= number / EPOCHS[u].per_second < _FAR_SECONDS)
    return next(units, None)


def _row_of(values: pa.DictionaryArray, code: Any) -> int:
    """The first row of a distinct value, or of a missing one without a code."""
    is_there = pc.is_null(values) if code is None else pc.equal(values.indices, int(code))
    return int(pc.index(is_there, True).as_py())


def _days(
    distinct: pd.Series[Any], kind: pa.DataType, form: str | None, zone: str | None, place: str
) -> pd.Series[Any]:
    if form == EPOCH:
        numbers = pd.to_numeric(distinct, errors="coerce").astype("float64")
        units = numbers.map(epoch_of)
        per_second = units.map({unit: EPOCHS[unit].per_second for unit in EPOCHS})
        seconds = np.floor(numbers / per_second.astype("float64"))
        moments = pd.Series(pd.to_datetime(seconds, unit="s", utc=True))
        return _in_zone(moments, zone or "UTC", place)
    if form in EPOCHS:
        stamps = pa.array(pd.to_numeric(distinct, errors="coerce"), from_pandas=True)
        moments = stamps.cast("int64").cast(pa.timestamp(EPOCHS[form].unit, "UTC"))
        return _in_zone(moments.to_pandas(), zone or "UTC", place)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return _in_zone(pd.to_datetime(distinct, utc=True), zone, place)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pd.to_datetime(distinct, errors="coerce")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if form is None:
            raise SourceError(
                f"{place} holds numbers such as {distinct.iloc[0] if len(distinct) else 0}: say "
                f"what they are, source.date_format: '%Y%m%d' or {', '.join(EPOCHS)}"
            )
        distinct = distinct.map(lambda x: f"{int(x)}" if x == x else "")
    text = distinct.astype("str").str.strip()
    is_zoned = bool(text.str.contains(ZONED).any()) if form is None else "%z" in form
    parsed = pd.to_datetime(text, format=form or "ISO8601", errors="coerce", utc=is_zoned)
    return _in_zone(parsed, zone, place) if isinstance(parsed.dtype, pd.DatetimeTZDtype) else parsed


def _in_zone(moments: pd.Series[Any], zone: str | None, place: str) -> pd.Series[Any]:
    if zone is None:
        raise SourceError(
            f"{place} holds times with a time zone, and their day depends on where one stands: "
            f"set source.timezone to the market's, as in America/New_York"
        )
    local: pd.Series[Any] = moments.dt.tz_convert("UTC" if zone == MOMENTS else zone)
    return local if zone == MOMENTS else local.dt.tz_localize(None)
