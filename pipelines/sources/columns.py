"""From a table as a vendor writes it to bars in our names, types and units.

Dates become session keys (`YYYY-MM-DD`) whatever they were: dates, time stamps with or without a
time zone, texts, integers. A time stamp with a time zone has a day only once it is said where, so
`timezone` is asked for rather than guessed; a date that cannot be read is an error that shows it,
never a row less. Prices, however wrong, pass: the rules of `quarantine.py` judge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.sources import COLUMNS, NUMBERS, REQUIRED, TableSource
from pipelines.errors import SourceError, did_you_mean
from pipelines.sources.base import BASIS, NOTHING
from pipelines.sources.session_dates import session_keys
from rnn_core.panel.frames import near_matches


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
