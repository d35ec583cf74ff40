"""Read one file of bars into an Arrow table, and no more of it than the days need.

Parquet and Feather are filtered by pyarrow's datasets: row groups whose statistics exclude the
days are not read. A CSV has no such index and is parsed in blocks, of which only the rows and
columns wanted are kept. The filter is a coarse one in the column's own type (a day of slack for
time zones); the exact one is on session keys, later. A column of dates that are text or numbers is
checked as a whole first: a value that is no date must be an error, not a row that no filter finds.
"""

from __future__ import annotations

import datetime as dt
import re
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
    """The writing of a CSV file."""

    delimiter: str = ","
    encoding: str = "utf-8"
    skip_lines: str | None = None


def without_lines(content: bytes, encoding: str, skip_lines: str) -> bytes:
    """Leave out the lines in which a regular expression is found; the rest keeps its bytes.

    Raises:
        OSError: the content is not of the encoding.
    """
    try:
        lines = content.decode(encoding).splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise OSError(f"it is not {encoding}: {error}") from error
    pattern = re.compile(skip_lines)
    return "".join(x for x in lines if not pattern.search(x.rstrip("\r\n"))).encode(encoding)


@dataclass(frozen=True)
class Wanted:
    """The part of a file that is to be read.

    Attributes:
        columns: selects the file's names of the columns to read from all of its columns; raises
            an error if one is absent.
        numeric: tells whether a column holds numbers in plain writing.
        date: the file's name of the date column; None if it has none.
        date_format: the form of its dates; None for ISO dates and typed columns.
        check: raises an error if a value of the date column is no date; it is also given the
            number of rows before them.
        first: the first day; None for the beginning.
        last: the last day; None for the end.
    """

    columns: Callable[[Sequence[str]], list[str]]
    numeric: Callable[[str], bool]
    date: str | None
    date_format: str | None
    check: Callable[[pa.ChunkedArray, int], object]
    first: str | None
    last: str | None


def read_file(
    filesystem: Any, path: str, form: str, style: CsvStyle, selection: Wanted
) -> pa.Table:
    """Read columns of a file, and at least the rows of the days that are to be read.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowException: its content is not of its format.
    """
    if form == "csv":
        return _read_csv(filesystem, path, style, selection)
    kind = ds.ParquetFileFormat() if form == "parquet" else ds.IpcFileFormat()
    fragment = kind.make_fragment(path, filesystem=filesystem)
    schema = fragment.physical_schema
    names = selection.columns(schema.names)
    if selection.date is None:
        return fragment.to_table(schema=schema, columns=names)
    typed = schema.field(selection.date).type
    if not (pa.types.is_timestamp(typed) or pa.types.is_date(typed)):
        dates = fragment.to_table(schema=schema, columns=[selection.date])[selection.date]
        selection.check(dates, 0)
    row_filter = day_filter(typed, selection)
    return fragment.to_table(schema=schema, columns=names, filter=row_filter)


def _read_csv(filesystem: Any, path: str, style: CsvStyle, selection: Wanted) -> pa.Table:
    parse = pcsv.ParseOptions(delimiter=style.delimiter)
    with _stream(filesystem, path, style) as stream:
        head = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(block_size=_HEADER_BYTES, encoding=style.encoding),
            parse_options=parse,
            convert_options=pcsv.ConvertOptions(
                column_types={}, strings_can_be_null=False, check_utf8=False
            ),
        )
        header = head.schema.names
    names = selection.columns(header)
    types = {name: pa.float64() if selection.numeric(name) else pa.string() for name in names}
    options = pcsv.ConvertOptions(
        include_columns=names, column_types=types, null_values=list(NOTHING)
    )
    blocks = []
    with _stream(filesystem, path, style) as stream:
        reader = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(block_size=_BLOCK_BYTES, encoding=style.encoding),
            parse_options=parse,
            convert_options=options,
        )
        row_filter = None if selection.date is None else day_filter(pa.string(), selection)
        rows = 0
        for batch in reader:
            block = pa.Table.from_batches([batch])
            if selection.date is not None:
                selection.check(block[selection.date], rows)
            rows += block.num_rows
            blocks.append(block if row_filter is None else block.filter(row_filter))
        schema = reader.schema
    return pa.concat_tables(blocks) if blocks else schema.empty_table()


def _stream(filesystem: Any, path: str, style: CsvStyle) -> Any:
    stream = filesystem.open_input_stream(path)
    if style.skip_lines is None:
        return stream
    with stream:
        return pa.BufferReader(without_lines(stream.read(), style.encoding, style.skip_lines))


def day_filter(kind: pa.DataType, selection: Wanted) -> pc.Expression | None:
    """A filter on the date column in its own type; None if its order is not that of days."""
    bounds = _bounds(kind, selection)
    if bounds is None or selection.date is None:
        return None
    low, high = bounds
    field, row_filter = pc.field(selection.date), None
    if low is not None:
        row_filter = field >= low
    if high is not None:
        row_filter = field < high if row_filter is None else row_filter & (field < high)
    if row_filter is None:
        return None
    # Rows without a date pass: they are an error later, not rows less.
    return row_filter | field.is_null()


def _bounds(kind: pa.DataType, selection: Wanted) -> tuple[Any, Any] | None:
    """The bound below the first day, and the bound above the last."""
    low = None if selection.first is None else dt.date.fromisoformat(selection.first)
    high = None if selection.last is None else dt.date.fromisoformat(selection.last)
    slack, form = dt.timedelta(days=1), selection.date_format
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
