"""From a table as a vendor writes it to bars in our names, types and units.

Dates become session keys (`YYYY-MM-DD`) whatever they were: dates, time stamps with or without a
time zone, texts, integers. A time stamp with a time zone has a day only once it is said where, so
`timezone` is asked for rather than guessed; a date that cannot be read is an error that shows it,
never a row less. Prices, however wrong, pass: the rules of `quarantine.py` judge them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.sources import COLUMNS, EPOCHS, REQUIRED, TableSource
from pipelines.errors import SourceError, did_you_mean
from rnn_core.suggestions import near_matches

BASIS = "basis"
"""Our name of the column that carries the price basis."""

NUMBERS = tuple(c for c in COLUMNS if c not in ("date", "instrument"))
NOTHING = ("", "-", "--", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None")
"""Texts that stand for no number."""

_ZONED = re.compile(r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})$")


class Columns:
    """What the columns of a table mean.

    Args:
        source: the section of the YAML.
        needs_amount: whether bars without an amount are of no use.
        thousands: separator of thousands in numbers that are text.
        decimal: their decimal point.
        given: our names of columns that do not come from the table (from file names).
    """

    def __init__(
        self,
        source: TableSource,
        *,
        needs_amount: bool = False,
        thousands: str | None = None,
        decimal: str = ".",
        given: Iterable[str] = (),
    ) -> None:
        self._source = source
        self._thousands, self._decimal = thousands, decimal
        self._given = frozenset(given)
        self._required = (*REQUIRED, "amount") if needs_amount else REQUIRED
        self._names = {ours: source.columns.get(ours, ours) for ours in COLUMNS}
        if source.basis.column is not None:
            self._names[BASIS] = source.basis.column

    @property
    def date(self) -> str:
        """Their name of the date."""
        return self._names["date"]

    @property
    def instrument(self) -> str:
        """Their name of the instrument."""
        return self._names["instrument"]

    @property
    def date_format(self) -> str | None:
        """How dates are written."""
        return self._source.date_format

    def numeric(self, name: str) -> bool:
        """Whether a column of theirs holds numbers in plain writing."""
        plain = self._thousands is None and self._decimal == "."
        return plain and any(self._names.get(ours) == name for ours in (*NUMBERS, BASIS))

    def wanted(
        self, there: Iterable[str], place: str, only: Iterable[str] | None = None
    ) -> list[str]:
        """Their names of the columns to read.

        Args:
            there: the columns that the table has.
            place: what the table is called in messages.
            only: our names of those needed besides date and instrument (default all).

        Raises:
            SourceError: a column is not there.
        """
        there = list(there)
        ours = {"date", "instrument", *(self._names if only is None else only)} & set(self._names)
        names: list[str] = []
        for name in self._names:  # our order
            if name not in ours or name in self._given:
                continue
            theirs = self._names[name]
            if theirs in there:
                names.append(theirs)
            elif name in self._required or name in self._source.columns or name == BASIS:
                raise SourceError(self._absence(name, theirs, there, place))
        for theirs in self._source.keep:
            if theirs not in there:
                raise SourceError(
                    f"{place} has no column {theirs!r} that source.keep names; "
                    f"{did_you_mean(theirs, there)}"
                )
            names.append(theirs)
        return list(dict.fromkeys(names))

    def _absence(self, name: str, theirs: str, there: list[str], place: str) -> str:
        if name == BASIS:
            where = f"that source.basis names ({self._source.basis.kind})"
        elif name in self._source.columns:
            where = f"that source.columns gives for {name}"
        else:
            where = f"for {name}: write `{name}: THEIR NAME` under source.columns"
            if name == "amount":
                where += ", or choose market.vwap: typical"
        near = near_matches(theirs, there)  # `; did you mean …`, or nothing
        has = ", ".join(there[:30]) or "none"
        return f"{place} has no column {theirs!r} {where}{near}; it has: {has}"

    def bars(
        self, table: pa.Table, place: str, given: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Rows in our names and units.

        Args:
            table: columns as `wanted` names them; more are ignored.
            place: what the table is called in messages.
            given: values of columns that do not come from the table: date as a key, instrument.

        Returns:
            date (text key), instrument (text) and the numbers that the table has, float64, among
            them `basis`.

        Raises:
            SourceError: a date or a number cannot be read.
        """
        given = given or {}
        table = self._kept(table)
        out: dict[str, Any] = {}
        for name in ("date", "instrument"):
            if name in given:
                out[name] = pa.repeat(pa.scalar(given[name]), table.num_rows)
        if "date" not in out:
            out["date"] = self.keys(table[self.date], place)
        if "instrument" not in out:
            out["instrument"] = table[self.instrument]
        out["instrument"] = codes(out["instrument"], self._source.codes)
        for name in (*NUMBERS, BASIS):
            theirs = self._names.get(name)
            if theirs in table.column_names:
                scale = self._source.scale.get(name, 1.0)
                values = self._number(table[theirs], f"{place}, column {theirs}")
                out[name] = values if scale == 1.0 else values * scale
        ordered = {name: out[name] for name in ("date", "instrument")}
        frame: pd.DataFrame = pa.table(ordered).to_pandas()
        for name in (*NUMBERS, BASIS):
            if name in out:
                frame[name] = out[name]
        return frame

    def keys(self, dates: pa.ChunkedArray, place: str) -> pa.Array:
        """Session keys of the date column; see `session_keys`."""
        form, zone = self._source.date_format, self._source.timezone
        return session_keys(dates, form, zone, f"{place}, column {self.date}")

    def _kept(self, table: pa.Table) -> pa.Table:
        """The rows whose columns have one of the values that `keep` names."""
        for name, values in self._source.keep.items():
            column = table[name]
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                chosen = pc.is_in(column.cast("float64"), pa.array([float(v) for v in values]))
            elif pa.types.is_boolean(column.type):
                chosen = pc.is_in(column, pa.array([bool(v) for v in values]))
            else:
                chosen = pc.is_in(column.cast("string"), pa.array([str(v) for v in values]))
            table = table.filter(chosen)
        return table

    def _number(self, column: pa.ChunkedArray, place: str) -> np.ndarray:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text = pc.utf8_trim_whitespace(column)
            text = pc.if_else(pc.is_in(text, pa.array(NOTHING, text.type)), None, text)
            if self._thousands is not None:
                text = pc.replace_substring(text, self._thousands, "")
            if self._decimal != ".":
                text = pc.replace_substring(text, self._decimal, ".")
            column = text
        try:
            values: np.ndarray = column.cast("float64").to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"{place} holds what is no number: {error}; say how numbers are written "
                f"(source.thousands, source.decimal), or map another column"
            ) from error
        return values


def session_keys(
    values: pa.ChunkedArray | pa.Array,
    form: str | None,
    zone: str | None,
    place: str,
    *,
    optional: bool = False,
) -> pa.Array:
    """Dates, however they are written, as text keys.

    Args:
        values: dates, time stamps, text or integers.
        form: a strptime form, one of `EPOCHS`, or None for ISO dates and typed columns.
        zone: time zone in which the day of a time stamp with a zone, or of an epoch, is read.
        place: what the column is called in messages.
        optional: whether a date may be missing.

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
        shown = ", ".join(repr(distinct.iloc[k]) for k in wrong[:3]) or "an empty one"
        raise SourceError(
            f"{place}: dates that cannot be read, such as {shown}; expected "
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


def codes(values: pa.ChunkedArray | pa.Array, style: str) -> pa.Array:
    """Instruments in a style, `qlib` being SH600000 for sh.600000, 600000.SH or 600000.XSHG."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.cast("string").dictionary_encode()
    names = [code_of(str(name), style) or None for name in values.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(values.indices)


_PLACES = {"SH": "SH", "SS": "SH", "XSHG": "SH", "SZ": "SZ", "XSHE": "SZ", "BJ": "BJ"}


def code_of(name: str, style: str) -> str:
    """One instrument in a style: as_is, upper or qlib."""
    if style == "as_is":
        return name.strip()
    upper = name.strip().upper()
    if style == "qlib":
        head, dot, tail = upper.partition(".")
        if dot and head in _PLACES:
            return _PLACES[head] + tail
        if dot and tail in _PLACES:
            return _PLACES[tail] + head
    return upper
