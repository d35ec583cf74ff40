"""One file of bars to an Arrow table, reading as little of it as the asked days need.

Parquet and Feather are filtered by pyarrow's datasets: row groups whose statistics exclude the
days are not read. A CSV has no such index and is parsed in blocks, of which only the rows and
columns wanted are kept. The filter is a coarse one in the column's own type (a day of slack for
time zones); the exact one is on session keys, later. Where dates are text or numbers, all of the
column is looked at first: what is no date at all must be an error, not a row that no filter finds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.dataset as ds

from pipelines.config.types import EPOCHS
from pipelines.sources.base import NOTHING

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".txt": "csv",
    ".feather": "feather",
    ".arrow": "feather",
}
_HEADER_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class CsvStyle:
    """How a CSV is written."""

    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Wanted:
    """What to read of a file.

    Attributes:
        columns: gives their names of the columns wanted, from those that the file has; raises
            where one is not there.
        numeric: whether a column holds numbers in plain writing.
        date: their name of the date column, None where the file has none.
        date_format: how its dates are written, None for ISO and typed columns.
        check: raises where a value of the date column is no date.
        first: first day, None for the beginning.
        last: last day, None for the end.
    """

    columns: Callable[[Sequence[str]], list[str]]
    numeric: Callable[[str], bool]
    date: str | None
    date_format: str | None
    check: Callable[[pa.ChunkedArray], object]
    first: str | None
    last: str | None


def read_file(filesystem: Any, path: str, form: str, style: CsvStyle, wanted: Wanted) -> pa.Table:
    """The wanted columns of a file, and of its rows at least those of the wanted days.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowException: it is not what its format says.
    """
    if form == "csv":
        return _read_csv(filesystem, path, style, wanted)
    kind = ds.ParquetFileFormat() if form == "parquet" else ds.IpcFileFormat()
    fragment = kind.make_fragment(path, filesystem=filesystem)
    schema = fragment.physical_schema
    names = wanted.columns(schema.names)
    if wanted.date is None:
        return fragment.to_table(schema=schema, columns=names)
    typed = schema.field(wanted.date).type
    if not (pa.types.is_timestamp(typed) or pa.types.is_date(typed)):
        wanted.check(fragment.to_table(schema=schema, columns=[wanted.date])[wanted.date])
    chosen = day_filter(typed, wanted)
    return fragment.to_table(schema=schema, columns=names, filter=chosen)


def _read_csv(filesystem: Any, path: str, style: CsvStyle, wanted: Wanted) -> pa.Table:
    parse = pcsv.ParseOptions(delimiter=style.delimiter)
    with filesystem.open_input_stream(path) as stream:
        head = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(block_size=_HEADER_BYTES, encoding=style.encoding),
            parse_options=parse,
            convert_options=pcsv.ConvertOptions(
                column_types={}, strings_can_be_null=False, check_utf8=False
            ),
        )
        there = head.schema.names
    names = wanted.columns(there)
    types = {name: pa.float64() if wanted.numeric(name) else pa.string() for name in names}
    options = pcsv.ConvertOptions(
        include_columns=names, column_types=types, null_values=list(NOTHING)
    )
    blocks = []
    with filesystem.open_input_stream(path) as stream:
        reader = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(block_size=_BLOCK_BYTES, encoding=style.encoding),
            parse_options=parse,
            convert_options=options,
        )
        chosen = None if wanted.date is None else day_filter(pa.string(), wanted)
        for batch in reader:
            block = pa.Table.from_batches([batch])
            if wanted.date is not None:
                wanted.check(block[wanted.date])
            blocks.append(block if chosen is None else block.filter(chosen))
        schema = reader.schema
    return pa.concat_tables(blocks) if blocks else schema.empty_table()


def day_filter(kind: pa.DataType, wanted: Wanted) -> pc.Expression | None:
    """A filter on the date column in its own type; None where its order is not that of days."""
    bounds = _bounds(kind, wanted)
    if bounds is None or wanted.date is None:
        return None
    low, high = bounds
    field, chosen = pc.field(wanted.date), None
    if low is not None:
        chosen = field >= low
    if high is not None:
        chosen = field < high if chosen is None else chosen & (field < high)
    if chosen is None:
        return None
    # Rows without a date pass: they are an error later, not rows less.
    return chosen | field.is_null()


def _bounds(kind: pa.DataType, wanted: Wanted) -> tuple[Any, Any] | None:
    """Where the days begin, and where those after them do."""
    low = None if wanted.first is None else dt.date.fromisoformat(wanted.first)
    high = None if wanted.last is None else dt.date.fromisoformat(wanted.last)
    slack, form = dt.timedelta(days=1), wanted.date_format
    ends = (None if low is None else low - slack, None if high is None else high + 2 * slack)
    if pa.types.is_date(kind):
        return _each(ends, lambda day: pa.scalar(day, kind))
    if pa.types.is_timestamp(kind):
        zone = dt.UTC if kind.tz is not None else None
        return _each(
            ends,
            lambda day: pa.scalar(dt.datetime(day.year, day.month, day.day, tzinfo=zone), kind),
        )
    if pa.types.is_integer(kind):
        if form in EPOCHS:
            per = EPOCHS[form].per_second
            return _each(ends, lambda day: (day - dt.date(1970, 1, 1)).days * 86_400 * per)
        if form == "%Y%m%d":
            return _each(ends, lambda day: int(day.strftime("%Y%m%d")))
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text and form in (None, "%Y-%m-%d", "%Y%m%d", "%Y/%m/%d"):
        return _each(ends, lambda day: day.strftime(form or "%Y-%m-%d"))
    return None


def _each(ends: tuple[Any, Any], make: Callable[[Any], Any]) -> tuple[Any, Any]:
    low, high = (None if day is None else make(day) for day in ends)
    return low, high
