"""Read session keys (`YYYY-MM-DD`) from a column of dates, whatever its type and form.

Dates may be dates, time stamps with or without a time zone, texts or integers. A time stamp with
a time zone has a day only in a place, so its time zone is asked for rather than guessed. A date
that cannot be read is an error that shows it, never a row less.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.config.types import EPOCHS
from pipelines.errors import SourceError

_ZONED = re.compile(r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})$")


def session_keys(
    values: pa.ChunkedArray | pa.Array,
    form: str | None,
    zone: str | None,
    place: str,
    *,
    optional: bool = False,
) -> pa.Array:
    """Turn dates of any type and form into text keys.

    Args:
        values: dates, time stamps, text or integers.
        form: a strptime form, one of `EPOCHS`, or None for ISO dates and typed columns.
        zone: the time zone in which a time stamp with a zone, or an epoch, has its day.
        place: the column's name in messages.
        optional: allow missing dates.

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
    days = _days(distinct, values.dictionary.type, form, zone, place)
    wrong = np.flatnonzero(days.isna())
    if len(wrong) or (values.null_count and not optional):
        examples = ", ".join(repr(distinct.iloc[k]) for k in wrong[:3]) or "an empty one"
        raise SourceError(
            f"{place}: dates that cannot be read, such as {examples}; expected "
            f"{form or 'ISO dates such as 2024-01-31'}; set source.date_format, as in "
            f"'%d/%m/%Y' or epoch_ms"
        )
    keys = pa.array(days.dt.strftime("%Y-%m-%d").to_numpy(dtype=object), pa.string())
    return keys.take(values.indices)


def _days(
    distinct: pd.Series[Any], kind: pa.DataType, form: str | None, zone: str | None, place: str
) -> pd.Series[Any]:
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
    if form is None and text.str.contains(_ZONED).any():
        return _in_zone(
            pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce"), zone, place
        )
    parsed = pd.to_datetime(text, format=form or "ISO8601", errors="coerce")
    if isinstance(parsed.dtype, pd.DatetimeTZDtype):
        return _in_zone(parsed, zone, place)
    return parsed


def _in_zone(moments: pd.Series[Any], zone: str | None, place: str) -> pd.Series[Any]:
    if zone is None:
        raise SourceError(
            f"{place} holds times with a time zone, and their day depends on where one stands: "
            f"set source.timezone to the market's, as in America/New_York"
        )
    local: pd.Series[Any] = moments.dt.tz_convert(zone).dt.tz_localize(None)
    return local
