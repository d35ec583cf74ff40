"""Translate a vendor's table into our column names, types and units.

Dates become session keys (`session_dates.py`). Prices, however wrong, pass: the rules of
`bars/quarantine.py` judge them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.extra_columns import KEY
from pipelines.config.sources import COLUMNS, NUMBERS, REQUIRED, FilesSource, TableSource
from pipelines.errors import SourceError, did_you_mean
from pipelines.sources.base import BASIS, NOTHING, require_extra
from pipelines.sources.file_formats import line_of
from pipelines.sources.numbers import OF_FILES, parse_numbers
from pipelines.sources.session_dates import session_keys
from rnn_core.suggestions import near_matches


class Columns:
    """The meaning of a table's columns.

    Args:
        source: the section of the YAML.
        needs_amount: refuse a table without an amount.
        thousands: the separator of thousands in numbers that are text.
        decimal: the decimal point in them.
        from_names: our names of the columns that come from file names.
    """

    def __init__(
        self,
        source: TableSource,
        *,
        needs_amount: bool = False,
        thousands: str | None = None,
        decimal: str = ".",
        from_names: Iterable[str] = (),
    ) -> None:
        self._source, self.date_format = source, source.date_format
        self._thousands, self._decimal = thousands, decimal
        self._from_names = frozenset(from_names)
        unread = "amount" if "vwap" in source.columns else "vwap"
        turnover = "vwap" if "vwap" in source.columns else "amount"
        self._required = (*REQUIRED, turnover) if needs_amount else REQUIRED
        self._names = {ours: source.columns.get(ours, ours) for ours in COLUMNS if ours != unread}
        if source.basis.column is not None:
            self._names[BASIS] = source.basis.column
        self._names |= {one.name: one.column for one in source.extra}
        self._extra_numbers = tuple(one.name for one in source.extra if one.kind == "number")
        self._categories = tuple(one.name for one in source.extra if one.kind == "category")
        self.date, self._instrument = self._names["date"], self._names["instrument"]

    def numeric(self, name: str) -> bool:
        """True if a column of the table holds numbers in plain writing."""
        plain = self._thousands is None and self._decimal == "."
        return plain and any(self._names.get(ours) == name for ours in self._numbers)

    @property
    def _numbers(self) -> tuple[str, ...]:
        """Our names of the columns of numbers."""
        return (*NUMBERS, BASIS, *self._extra_numbers)

    def wanted(
        self, columns: Iterable[str], place: str, only: Iterable[str] | None = None
    ) -> list[str]:
        """The table's names of the columns to read.

        Args:
            columns: the table's columns.
            place: the table's name in messages.
            only: our names of the columns needed besides date and instrument (default all).

        Raises:
            SourceError: a column is not there.
        """
        columns = list(columns)
        ours = {"date", "instrument", *(self._names if only is None else only)} & set(self._names)
        names: list[str] = []
        for name in self._names:  # our order
            if name not in ours or name in self._from_names:
                continue
            theirs = self._names[name]
            if theirs in columns:
                names.append(theirs)
            elif name in self._required or name in self._source.columns or name == BASIS:
                raise SourceError(self._absence(name, theirs, columns, place))
            elif name in (*self._extra_numbers, *self._categories):
                require_extra(self._source.extra, columns, place)
        for theirs in self._source.keep:
            if theirs not in columns:
                raise SourceError(
                    f"{place} has no column {theirs!r} that source.keep names; "
                    f"{did_you_mean(theirs, columns)}"
                )
            names.append(theirs)
        return list(dict.fromkeys(names))

    def _absence(self, name: str, theirs: str, columns: list[str], place: str) -> str:
        if name == BASIS:
            where = f"that source.basis names ({self._source.basis.kind})"
        elif name in self._source.columns:
            where = f"that source.columns gives for {name}"
        else:
            where = f"for {name}: write `{name}: THEIR NAME` under source.columns"
            if name == "amount":
                where += ", or choose market.vwap: typical"
        near = near_matches(theirs, columns)  # `; did you mean …`, or nothing
        return f"{place} has no column {theirs!r} {where}{near}; it has: {shown_columns(columns)}"

    def bars(
        self, table: pa.Table, place: str, from_name: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Rows in our names and units.

        Args:
            table: the columns that `wanted` names; others are ignored.
            place: the table's name in messages.
            from_name: value of a column that the file's name says: date as a key, or instrument.

        Returns:
            date (text key), instrument (text) and the numbers that the table has, float64, among
            them `basis`; of a vwap the `amount`, vwap × volume. Of the columns beside the bars a
            number is float64, NaN where it is missing, and a category text or None.

        Raises:
            SourceError: a date or a number cannot be read.
        """
        from_name = from_name or {}
        table = self._kept(table)
        where = line_of(table)
        out: dict[str, Any] = {}
        for name in ("date", "instrument"):
            if name in from_name:
                out[name] = pa.repeat(pa.scalar(from_name[name]), table.num_rows)
        if "date" not in out:
            out["date"] = self.keys(table[self.date], place)
        if "instrument" not in out:
            out["instrument"] = table[self._instrument]
        out["instrument"] = codes(out["instrument"], self._source.codes)
        for name in self._numbers:
            theirs = self._names.get(name)
            if theirs in table.column_names:
                scale = self._source.scale.get(name, 1.0)
                values = self._number(table[theirs], f"{place}, column {theirs}", where, name)
                out[name] = values if scale == 1.0 else values * scale
        ordered = {name: out[name] for name in ("date", "instrument")}
        frame: pd.DataFrame = pa.table(ordered).to_pandas()
        for name in self._numbers:
            if name in out:
                frame[name] = out[name]
        for name in self._categories:
            if self._names[name] in table.column_names:
                frame[name] = categories(table[self._names[name]].to_pandas())
        if "vwap" in out:
            frame["amount"] = frame.pop("vwap") * frame["volume"]
        return frame

    def keys(
        self, dates: pa.ChunkedArray, place: str, where: Callable[[int], str] = lambda row: ""
    ) -> pa.Array:
        """Session keys of the date column; see `session_keys`."""
        form, zone = self._source.date_format, self._source.timezone
        return session_keys(dates, form, zone, f"{place}, column {self.date}", where=where)

    def _kept(self, table: pa.Table) -> pa.Table:
        """The rows whose columns hold one of the values that `keep` names."""
        for name, values in self._source.keep.items():
            column = table[name]
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                is_kept = pc.is_in(column.cast("float64"), pa.array([float(v) for v in values]))
            elif pa.types.is_boolean(column.type):
                is_kept = pc.is_in(column, pa.array([bool(v) for v in values]))
            else:
                is_kept = pc.is_in(column.cast("string"), pa.array([str(v) for v in values]))
            table = table.filter(is_kept)
        return table

    def _number(
        self, column: pa.ChunkedArray, place: str, where: Callable[[int], str], name: str
    ) -> np.ndarray:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text = column.cast("string")
            advice = OF_FILES if isinstance(self._source, FilesSource) else "name another column"
            if name in self._extra_numbers:
                advice = f"if these are texts, write `{name}: category` in source.{KEY}; {advice}"
            return parse_numbers(text, self._decimal, self._thousands, place, where, advice)
        try:
            values: np.ndarray = column.cast("float64").to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # pyarrow has no such cast
            raise SourceError(
                f"{place} holds what is no number: {error}; map another column (source.columns)"
                + (f", or write `{name}: category`" if name in self._extra_numbers else "")
            ) from error
        return values


def shown_columns(columns: Sequence[str]) -> str:
    """The names of a table's columns, for messages."""
    more = len(columns) - _SHOWN
    return ", ".join(columns[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"


_SHOWN = 20


def categories(values: pd.Series) -> pd.Series:
    """The texts of a category: without space around, NaN for none, whole numbers as `10`."""
    code, distinct = pd.factorize(values)  # -1 for a missing one
    names = [
        str(int(v) if isinstance(v, float) and v.is_integer() else v).strip() for v in distinct
    ]
    texts = np.array([*(None if name in NOTHING else name for name in names), None], dtype=object)
    return pd.Series(texts[code], values.index, dtype="str")


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
