"""Read one file of bars into an Arrow table, and no more of it than the days need.

Parquet is filtered by pyarrow's datasets: row groups whose statistics exclude the days are not
read. A Feather file is read as a whole. A CSV has no such index and is parsed in blocks, of which
only the rows and columns wanted are kept; `csv_lines.py` reads those that pyarrow cannot. The
filter is a coarse one in the column's own type (a day of slack for time zones); the exact one is on
session keys, later. A column of dates that are text or numbers is checked as a whole first: a value
that is no date must be an error, not a row that no filter finds.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.dataset as ds
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from pipelines.config.types import EPOCHS
from pipelines.errors import SourceError
from pipelines.sources.base import NOTHING
from pipelines.sources.csv_lines import (
    LINE,
    CsvStyle,
    decoded,
    layouts,
    read_table,
    split_lines,
    without_lines,
)

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".txt": "csv",
    ".feather": "feather",
    ".arrow": "feather",
}
UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)
"""The errors of a file that is not of its format, or is damaged."""

_HEADER_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 24
_LINES_BYTES = 1 << 28  # a larger file takes too much memory line by line

Where = Callable[[int], str]
"""Says the place of a row in messages, as in `, line 12`."""


@dataclass(frozen=True)
class Wanted:
    """The part of a file that is to be read.

    Attributes:
        columns: selects the file's names of the columns to read from all of its columns; raises
            an error if one is absent.
        numeric: tells whether a column holds numbers in plain writing.
        date: the file's name of the date column; None if it has none.
        date_format: the form of its dates; None for ISO dates and typed columns.
        check: raises an error if a value of the date column is no date; it is also given a
            function that says the place of a row.
        first: the first day; None for the beginning.
        last: the last day; None for the end.
        said: names of columns that the YAML gives.
    """

    columns: Callable[[Sequence[str]], list[str]]
    numeric: Callable[[str], bool]
    date: str | None
    date_format: str | None
    check: Callable[[pa.ChunkedArray, Where], object]
    first: str | None
    last: str | None
    said: frozenset[str] = frozenset()


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
    schema, rows = _opened(filesystem, path, form)
    names = selection.columns(schema.names)
    if selection.date is None:
        return rows(columns=names)
    typed, dates = schema.field(selection.date).type, None
    if not (pa.types.is_timestamp(typed) or pa.types.is_date(typed)):
        dates = rows(columns=[selection.date])[selection.date]
        selection.check(dates, lambda row: f", row {row + 1}")
    row_filter = day_filter(typed, selection, dates)
    return rows(columns=names, filter=row_filter)


def _opened(filesystem: Any, path: str, form: str) -> tuple[pa.Schema, Callable[..., pa.Table]]:
    """The columns of a Parquet or Feather file, and a reader of some of them with a filter.

    Raises:
        pyarrow.ArrowInvalid: the file is damaged.
    """
    if form == "parquet":
        fragment = ds.ParquetFileFormat().make_fragment(path, filesystem=filesystem)
        schema = fragment.physical_schema

        def rows(**chosen: Any) -> pa.Table:
            return validated(fragment.to_table(schema=schema, **chosen))

        return schema, rows
    with filesystem.open_input_file(path) as file:
        table = read_feather(file)
    return table.schema, ds.InMemoryDataset(table).to_table


def validated(table: pa.Table) -> pa.Table:
    """Confirm every offset, length and text of a table that came from outside.

    Arrow's kernels trust them: without this, one flipped bit in eight of a Feather file ends the
    process with a segmentation fault, and a text that is no UTF-8 fails wherever it is shown.

    Raises:
        pyarrow.ArrowInvalid: the table is damaged.
    """
    table.validate(full=True)
    return table


def read_feather(file: Any) -> pa.Table:
    """Read a Feather file as a whole, `validated`.

    Args:
        file: opened for reading bytes.

    Raises:
        pyarrow.ArrowInvalid: the file is damaged.
    """
    return validated(ipc.open_file(file).read_all())


def _read_csv(filesystem: Any, path: str, style: CsvStyle, selection: Wanted) -> pa.Table:
    """Read a CSV by pyarrow, and line by line what that cannot read."""
    if style.header == 1 and not style.names:
        is_large = (filesystem.get_file_info(path).size or 0) > _LINES_BYTES
        if is_large or not style.by_line:
            try:
                return _read_plain_csv(filesystem, path, style, selection)
            except (SourceError, pa.ArrowInvalid, UnicodeDecodeError):
                if is_large:
                    raise
        # Line by line it can be read after all, or the line that cannot is known.
    text = decoded(content_of(filesystem, path), style.encoding)
    try:
        lines = split_lines(text, style)
    except csv.Error as error:
        raise OSError(f"{error}; say how it is written (source.delimiter)") from error
    table = read_table(lines, style, path, selection.columns, selection.said)
    if selection.date is not None:
        selection.check(table[selection.date], line_of(table))
    return table


def _read_plain_csv(filesystem: Any, path: str, style: CsvStyle, selection: Wanted) -> pa.Table:
    """Read a CSV with one row of header and plain numbers.

    Raises:
        SourceError: a column is absent or ambiguous, or a date cannot be read.
        pyarrow.ArrowInvalid: a value or a line cannot be read.
    """
    parse = pcsv.ParseOptions(delimiter=style.delimiter)
    # A reader reads ahead in a thread of its own. Closed beneath it, the stream's descriptor may be
    # that of the next file by then, whose bytes the thread would take: a reader closes its stream.
    head = pcsv.open_csv(
        _stream(filesystem, path, style),
        read_options=pcsv.ReadOptions(block_size=_HEADER_BYTES, encoding=style.encoding),
        parse_options=parse,
        convert_options=pcsv.ConvertOptions(
            column_types={}, strings_can_be_null=False, check_utf8=False
        ),
    )
    header = head.schema.names
    names = selection.columns(header)
    if any(header.count(name) > 1 for name in names):
        raise pa.ArrowInvalid("two columns of one name")
    types = {name: pa.float64() if selection.numeric(name) else pa.string() for name in names}
    options = pcsv.ConvertOptions(
        include_columns=names, column_types=types, null_values=list(NOTHING)
    )
    blocks = []
    reader = pcsv.open_csv(
        _stream(filesystem, path, style),
        read_options=pcsv.ReadOptions(block_size=_BLOCK_BYTES, encoding=style.encoding),
        parse_options=parse,
        convert_options=options,
    )
    for batch in reader:
        block = pa.Table.from_batches([batch])
        if selection.date is not None:
            dates = block[selection.date]
            selection.check(dates, lambda row: "")
            row_filter = day_filter(dates.type, selection, dates)
            block = block if row_filter is None else block.filter(row_filter)
        blocks.append(block)
    return pa.concat_tables(blocks) if blocks else reader.schema.empty_table()


def columns_of(
    filesystem: Any,
    path: str,
    form: str,
    style: CsvStyle,
    choose: Callable[[Sequence[str]], list[str]],
) -> list[str]:
    """Choose from the columns of a file without reading its rows.

    Raises:
        SourceError: as `choose`, or the file has no header.
        OSError: the file cannot be read.
    """
    if form != "csv":
        with filesystem.open_input_file(path) as file:
            schema = pq.read_schema(file) if form == "parquet" else ipc.open_file(file).schema
        return choose(schema.names)
    content = content_of(filesystem, path, _HEADER_BYTES)
    complete = content[: content.rfind(b"\n") + 1] or content
    lines = split_lines(decoded(complete, style.encoding), style)
    for layout in reversed(layouts(lines, style, path)):
        try:
            return choose(layout.columns)
        except SourceError as error:
            last = error
    raise last


def line_of(table: pa.Table) -> Where:
    """Say the line of a row, as far as the table knows it."""
    if LINE not in table.column_names:
        return lambda row: ""
    lines = table[LINE]
    return lambda row: f", line {lines[row].as_py()}"


def content_of(filesystem: Any, path: str, size: int | None = None) -> bytes:
    """Read a file, or its first bytes; a compressed one is decompressed."""
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read(size))


def _stream(filesystem: Any, path: str, style: CsvStyle) -> Any:
    if style.skip_lines is None:
        return filesystem.open_input_stream(path)
    content = content_of(filesystem, path)
    return pa.BufferReader(without_lines(content, style.encoding, style.skip_lines))


_PADDED = {
    None: r"^\d{4}-\d{2}-\d{2}",
    "%Y-%m-%d": r"^\d{4}-\d{2}-\d{2}",
    "%Y/%m/%d": r"^\d{4}/\d{2}/\d{2}",
    "%Y%m%d": r"^\d{8}",
}
"""Texts by form whose order is that of their days, as that of 2024-1-31 is not."""


def day_filter(
    kind: pa.DataType, selection: Wanted, dates: pa.ChunkedArray | None = None
) -> pc.Expression | None:
    """A filter on the date column in its own type; None if its order is not that of days.

    Args:
        kind: the column's type.
        selection: the days that are to be read.
        dates: the column itself, of texts.
    """
    bounds = _bounds(kind, selection)
    if bounds is None or selection.date is None:
        return None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        is_padded = pc.match_substring_regex(pc.unique(dates), _PADDED[selection.date_format])
        if not pc.all(is_padded, min_count=0).as_py():
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
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and form in _PADDED:
        return _each(ends, lambda day: day.strftime(form or "%Y-%m-%d"))
    return None


def _each(ends: tuple[Any, Any], make: Callable[[Any], Any]) -> tuple[Any, Any]:
    low, high = (None if day is None else make(day) for day in ends)
    return low, high
