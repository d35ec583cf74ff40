"""Read CSV files line by line, as people write them, and name the line of what cannot be read.

`file_formats.py` reads plain files by pyarrow, which is fast and knows one row of header. All else
is read here: several rows of header, none, a header that repeats, two columns of one name,
blank rows at the end. A line that is neither header nor bar is an error that shows it.

A header of two levels, fields and instruments, is that of a wide table (pandas' MultiIndex, as of
`yfinance.download`): every instrument has its own columns. Its rows become one row a bar; where an
instrument has no value at all there is no bar.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.errors import SourceError

LINE = "\0line"
"""Name of the column that holds the line of each row."""


@dataclass(frozen=True)
class CsvStyle:
    """The writing of a CSV file.

    Attributes:
        delimiter: between fields.
        encoding: of the text.
        skip_lines: a regular expression found in lines that are no bars.
        header: number of rows of the header.
        names: the names of the columns; none if the header says them.
        by_line: the file is read line by line, so that every row knows its line.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    skip_lines: str | None = None
    header: int = 1
    names: tuple[str, ...] = ()
    by_line: bool = False


@dataclass(frozen=True)
class Lines:
    """The fields of a CSV's lines, and the line of each in the file, from 1."""

    fields: list[list[str]]
    numbers: list[int]


def decoded(content: bytes, encoding: str) -> str:
    """Decode a file; a byte order mark is taken off.

    Raises:
        OSError: the content is not of the encoding.
    """
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OSError(f"line {line} is not {encoding} (source.encoding): {error}") from error


def without_lines(content: bytes, encoding: str, skip_lines: str) -> bytes:
    """Leave out the lines in which a regular expression is found; the rest keeps its bytes.

    Raises:
        OSError: the content is not of the encoding.
    """
    lines = decoded(content, encoding).splitlines(keepends=True)
    pattern = re.compile(skip_lines)
    return "".join(x for x in lines if not pattern.search(x.rstrip("\r\n"))).encode(encoding)


def split_lines(text: str, style: CsvStyle) -> Lines:
    """Split a text into fields; skipped and blank lines are left out."""
    pattern = None if style.skip_lines is None else re.compile(style.skip_lines)
    pending: list[int] = []

    def kept() -> Iterator[str]:
        for number, line in enumerate(io.StringIO(text, newline=None), 1):
            if pattern is None or not pattern.search(line.rstrip("\n")):
                pending.append(number)
                yield line

    out = Lines([], [])
    for fields in csv.reader(kept(), delimiter=style.delimiter):
        if any(field.strip() for field in fields):
            out.fields.append(fields)
            out.numbers.append(pending[0])
        pending.clear()
    return out


@dataclass(frozen=True)
class Layout:
    """The meaning of a header.

    Attributes:
        columns: the names of the columns, in order.
        positions: the positions of the columns by name, for each instrument of the header; one
            entry, None, if it names no instruments.
        repeated: names that stand in the header twice.
        instrument: the name of the column of the header's instruments; None if it names none.
    """

    columns: tuple[str, ...]
    positions: dict[str | None, dict[str, int]]
    repeated: frozenset[str] = frozenset()
    instrument: str | None = None


def layouts(lines: Lines, style: CsvStyle, place: str) -> list[Layout]:
    """The meanings that a header may have: two for two levels, whose order is free.

    Raises:
        SourceError: the header is no table's.
    """
    if not lines.fields:
        raise SourceError(f"{place} is empty: fill it, or leave it out (source.ignore)")
    header = [[cell.strip() for cell in row] for row in lines.fields[: style.header]]
    if style.names:
        width = len(lines.fields[0])
        if width != len(style.names):
            raise SourceError(
                f"{place}, line {lines.numbers[0]} has {width} fields, and source.names (--names) "
                f"has {len(style.names)} names: name every column, in order"
            )
        return [_plain(style.names)]
    if not header:
        raise SourceError(f"{place} has no row of header; source.names says the columns (--names)")
    levels = [row for row in header if any(row[1:])] or header[:1]
    first = [row[0] if row else "" for row in header]
    if len(header) == 1:
        return [_plain(lines.fields[0])]
    if len(levels) == 1:
        date = next((cell for cell in reversed(first) if cell), "")
        return [_plain((date, *levels[0][1:]))]
    if len(levels) > 2:
        raise SourceError(
            f"{place} has {len(levels)} rows of header; expected names, or fields and instruments: "
            f"leave out rows of units and titles by source.skip_lines (--skip-lines)"
        )
    # The first column's cells name the levels, and the last one the column itself.
    is_named = len(header) > 2 or not all(first)
    date = next((cell for cell in reversed(first) if cell), "") if is_named else ""
    return [_wide(levels, k, date, first, is_named, place) for k in (0, 1)]


def _plain(names: Sequence[str]) -> Layout:
    columns: list[str] = []
    repeated: list[str] = []
    for name in names:
        twin, k = name, 0
        while twin in columns:
            k += 1
            twin = f"{name}.{k}"
        if k:
            repeated.append(name)
        columns.append(twin)
    return Layout(
        tuple(columns), {None: {n: k for k, n in enumerate(columns)}}, frozenset(repeated)
    )


def _wide(
    levels: Sequence[list[str]],
    fields_at: int,
    date: str,
    first: Sequence[str],
    is_named: bool,
    place: str,
) -> Layout:
    """The layout of two levels, of which one holds fields and the other instruments."""
    above, below = levels
    positions: dict[str | None, dict[str, int]] = {}
    upper = ""
    for k in range(1, max(len(above), len(below))):
        pair = [row[k] if k < len(row) else "" for row in levels]
        if not any(pair):
            continue
        upper = pair[0] or upper  # a merged cell stands in its first column only
        field, name = (upper, pair[1]) if fields_at == 0 else (pair[1], upper)
        if field in positions.setdefault(name, {date: 0}):
            raise SourceError(f"{place} has two columns {upper!r}, {pair[1]!r} in its header")
        positions[name][field] = k
    labels = dict.fromkeys(field for columns in positions.values() for field in columns)
    level_name = first[1 - fields_at] if not is_named or len(first) > 2 else ""
    instrument = level_name if level_name and level_name not in labels else "instrument"
    return Layout((instrument, *labels), positions, instrument=instrument)


def read_table(
    lines: Lines,
    style: CsvStyle,
    place: str,
    choose: Callable[[Sequence[str]], list[str]],
    said: Collection[str] = (),
) -> pa.Table:
    """Make a table of text of the lines of a CSV.

    Args:
        lines: its lines, with those of the header.
        style: its writing.
        place: its name in messages.
        choose: selects from the columns the ones to read; raises an error if one is absent.
        said: columns that the YAML names, which may have a twin.

    Returns:
        The columns chosen, and `LINE`.

    Raises:
        SourceError: a line has another number of fields than the header, or a column that is to
            be read stands there twice.
    """
    candidates = layouts(lines, style, place)
    layout, names = candidates[0], []
    for k, layout in enumerate(candidates):
        try:
            names = choose(layout.columns)
            break
        except SourceError:
            if k == len(candidates) - 1:
                raise
    twins = [n for n in names if n in layout.repeated and n not in said]
    if twins:
        raise SourceError(f"{place}{twins_hint(twins[0])}")
    rows, numbers = _rows(lines, style, place)
    tables = []
    for instrument, positions in layout.positions.items():
        columns = {n: [row[positions[n]] for row in rows] for n in names if n in positions}
        absent = [n for n in names if n not in positions and n != layout.instrument]
        if absent:
            raise SourceError(
                f"{place}: the header has no column {absent[0]!r} of {instrument!r}; if a row of "
                f"it holds neither fields nor instruments, as units, leave it out by "
                f"source.skip_lines (--skip-lines)"
            )
        if layout.instrument in names:
            columns[layout.instrument] = [str(instrument)] * len(rows)
        table = pa.table({n: pa.array(columns[n], pa.string()) for n in names})
        table = table.append_column(LINE, pa.array(numbers, pa.int64()))
        if instrument is not None:
            at = [k for k in positions.values() if k]
            has_bar = [any(row[k].strip() for k in at) for row in rows]
            table = table.filter(pa.array(has_bar, pa.bool_()))
        tables.append(table)
    return pa.concat_tables(tables)


def _rows(lines: Lines, style: CsvStyle, place: str) -> tuple[list[list[str]], list[int]]:
    """The rows below the header without copies of it, and their lines."""
    header = [[cell.strip() for cell in row] for row in lines.fields[: style.header]]
    width = len(lines.fields[0]) if lines.fields else 0
    rows, numbers = [], []
    for fields, number in zip(
        lines.fields[style.header :], lines.numbers[style.header :], strict=True
    ):
        if len(fields) != width:
            if [cell.strip() for cell in fields] in header:
                continue
            line = style.delimiter.join(fields)
            raise SourceError(
                f"{place}, line {number}: {line!r} has {len(fields)} fields, and line "
                f"{lines.numbers[0]} has {width}; {skip_hint(line)}"
            )
        if fields[0].strip() in {row[0] for row in header} and (
            [cell.strip() for cell in fields] in header
        ):
            continue
        rows.append(fields)
        numbers.append(number)
    return rows, numbers


def twins_hint(name: str) -> str:
    """Say of a name that it stands in a header twice, and how to choose."""
    return (
        f" has several columns named {name!r}: say which one under source.columns, {name!r} for "
        f"the first and {name + '.1'!r} for the second (--column OURS=THEIRS)"
    )


def skip_hint(line: str) -> str:
    """Advise how to leave out a line that is no bar: by its beginning, up to a digit or quote."""
    start = re.match(r"[^\d\"'\\]{0,30}", line)
    text = "" if start is None else start[0]
    pattern = f"^{re.escape(text)}".replace("\\ ", " ") if text.strip() else "REGEX"
    return (
        f"if it is no bar, leave it out: source.skip_lines: '{pattern}' (--skip-lines '{pattern}')"
    )
