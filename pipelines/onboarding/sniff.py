"""Read the first rows of files of bars whose form is unknown.

Only the beginning of the first file is read; `whole_column` reads one column of it if the
beginning cannot tell the form of dates.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config.sources import FilesSource
from pipelines.errors import SourceError
from pipelines.onboarding.infer_columns import REQUIRED, guess_columns, is_number
from pipelines.sources.columns import shown_columns
from pipelines.sources.csv_lines import (
    LINE,
    CsvStyle,
    Lines,
    decoded,
    layouts,
    read_table,
    skip_hint,
    split_lines,
)
from pipelines.sources.file_formats import UNREADABLE, content_of, read_feather, validated
from pipelines.sources.files import FileRef, FilesBars
from rnn_core.text_encoding import marked_encoding

ROWS = 5000
_BLOCK_BYTES = 1 << 18
_ENCODINGS = ("utf-8", "gb18030", "cp1252", "latin-1")
_DELIMITERS = ",;\t|"
_NUMBERS = 3  # numbers in a line of bars, at least
_COMMENT = "^#"
_MOST_HEADER = 3
_FIELDS = 2  # prices and volume in a header of fields, at least; `Price` may name a level


@dataclass(frozen=True)
class Peek:
    """The first rows of the first file, and its form.

    Attributes:
        paths: the files.
        path: the first one of bars, on its filesystem.
        form: `parquet`, `csv` or `feather`.
        head: its first rows; a CSV's values are text.
        style: the writing of a CSV.
        lines: the line of each row of a CSV.
    """

    paths: tuple[str, ...]
    path: str
    form: str
    head: pa.Table
    style: CsvStyle = field(default_factory=CsvStyle)
    lines: tuple[int, ...] = ()

    def distinct(self, column: str) -> list[Any]:
        """The distinct values of a column, without missing ones."""
        return list(self.head[column].unique().drop_null().to_pylist())

    def where(self, column: str, value: str) -> str:
        """Say the file, and the line of the first row with a value as far as it is known."""
        rows = [] if not self.lines else self.head[column].to_pylist()
        row = next((k for k, text in enumerate(rows) if text and text.strip() == value), None)
        return self.path if row is None else f"{self.path}, line {self.lines[row]}"


def peek(path: str, writing: Mapping[str, Any] | None = None, names: Collection[str] = ()) -> Peek:
    """Read the first rows of a file, a folder, a pattern or a URL.

    Args:
        path: the place of the files.
        writing: keys of the source that a person said: those of `_KEYS` count.
        names: the columns that a person named.

    Raises:
        SourceError: there is no such file, or the first ones cannot be read or have no rows.
    """
    keys = {name: (writing or {})[name] for name in _KEYS if name in (writing or {})}
    source = FilesSource.model_validate(
        {"kind": "files", "path": path, "basis": "adjusted", **keys}
    )
    bars = FilesBars(source)
    refs = bars.files()
    first_error: SourceError | None = None
    for ref in refs[:_TRIED]:  # a README may stand before the bars
        try:
            head, style, lines = _head(bars, source, path, ref)
        except SourceError as error:
            first_error = first_error or error
            continue
        columns = head.column_names
        if len(refs) == 1 or "close" in guess_columns(columns) or {*names} & {*columns}:
            paths = tuple(other.path for other in refs)
            return Peek(paths, ref.path, ref.form, head, style, lines)
        first_error = first_error or SourceError(
            f"{ref.path} has the columns {shown_columns(columns)}: no close is recognised; "
            f"name the columns, --column close=THEIR_NAME, or leave the file out, --ignore"
        )
    raise first_error or SourceError(f"no file of bars at {path}")


_KEYS = ("format", "delimiter", "encoding", "header", "names", "skip_lines", "ignore")
_TRIED = 5  # files that are looked at for columns of bars


_Head: TypeAlias = tuple[pa.Table, CsvStyle, tuple[int, ...]]


def _head(bars: FilesBars, source: FilesSource, path: str, ref: FileRef) -> _Head:
    """Read the first rows of one file; returns them, their writing and their lines."""
    fs, _ = fsspec.core.url_to_fs(path)
    try:
        if ref.form == "csv":
            raw = content_of(bars.filesystem(), ref.path, _BLOCK_BYTES)
            return _csv_head(raw, source, ref.path)
        with fs.open(ref.path, "rb") as file:
            if ref.form == "parquet":
                batches = pq.ParquetFile(file).iter_batches(batch_size=ROWS)
                batch = next(batches, None)
                schema = pq.ParquetFile(file).schema_arrow
                head = (
                    schema.empty_table()
                    if batch is None
                    else validated(pa.Table.from_batches([batch]))
                )
            else:
                head = read_feather(file).slice(0, ROWS)
    except UNREADABLE as error:
        raise SourceError(f"{ref.path} cannot be read as {ref.form}: {error}") from error
    return head, CsvStyle(), ()


def whole_column(sample: Peek, path: str, column: str) -> Peek:
    """Read one column of the whole first file."""
    fs, _ = fsspec.core.url_to_fs(path)
    if sample.form == "csv":
        with fs.open(sample.path, "rb", compression="infer") as file:
            lines = split_lines(decoded(file.read(), sample.style.encoding), sample.style)
        table = read_table(
            lines, sample.style, sample.path, lambda names: _one(column, names), [column]
        )
        return replace(sample, head=_texts(table), lines=tuple(table[LINE].to_pylist()))
    with fs.open(sample.path, "rb") as file:
        if sample.form == "parquet":
            return replace(sample, head=validated(pq.read_table(file, columns=[column])))
        return replace(sample, head=read_feather(file))


def _texts(table: pa.Table) -> pa.Table:
    """A table of text without its lines; empty texts are missing values."""
    table = table.drop_columns([LINE])
    columns = [pc.if_else(pc.equal(column, ""), None, column) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _csv_head(raw: bytes, source: FilesSource, path: str) -> _Head:
    """Guess the writing of a CSV from its beginning, and read its first rows as text."""
    if sum(bool(line.strip()) for line in raw.splitlines()) < 2:
        raise _rowless(path)
    text, encoding = _text(raw, source, path)
    complete = text[: text.rfind("\n") + 1] if len(raw) == _BLOCK_BYTES else text
    style = CsvStyle(source.delimiter, encoding, source.skip_lines, 1, source.names)
    if "delimiter" not in source.model_fields_set:
        style = replace(style, delimiter=_delimiter(complete.splitlines()))
    lines = split_lines(complete, style)
    if style.skip_lines is None and any(row[0].startswith("#") for row in lines.fields):
        style = replace(style, skip_lines=_COMMENT)
        lines = split_lines(complete, style)
    header = source.header_rows if source.header or source.names else _header(lines, style, path)
    if source.names and not source.header:
        _require_no_header(lines, style, path)
    style = replace(style, header=header)
    end = ROWS + style.header
    lines = Lines(lines.fields[:end], lines.numbers[:end])
    if len(lines.fields) <= style.header:
        raise _rowless(path)
    table = read_table(lines, style, path, _fields if header > 1 else list, _EVERY)
    return _texts(table), style, tuple(table[LINE].to_pylist())


class _Every(frozenset[str]):
    """A set that holds every name."""

    def __contains__(self, name: object) -> bool:
        return True


_EVERY = _Every()


def _fields(columns: Sequence[str]) -> list[str]:
    """All columns of a header of several rows, if its fields are known."""
    if len(guess_columns(columns).keys() & {*REQUIRED}) < _FIELDS:
        raise SourceError(
            f"the header has the columns {shown_columns(columns)}: no fields of bars are "
            f"recognised; "
            f"leave out rows that are neither fields nor instruments by source.skip_lines "
            f"(--skip-lines)"
        )
    return list(columns)


def _one(column: str, columns: Sequence[str]) -> list[str]:
    """A column, if a header has it."""
    if column not in columns:
        raise SourceError(f"there is no column {column!r}, but {shown_columns(columns)}")
    return [column]


def _text(raw: bytes, source: FilesSource, path: str) -> tuple[str, str]:
    """Decode the beginning of a CSV; returns the text and its encoding."""
    marked = marked_encoding(raw)
    stated = source.encoding if "encoding" in source.model_fields_set else None
    if marked not in (None, "utf-8-sig") or stated is not None:
        encoding = stated or str(marked)
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            return decoder.decode(raw).removeprefix("\ufeff"), encoding
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is not {encoding}: {error}") from error
    if b"\0" in raw:
        raise SourceError(
            f"{path} is no text of {', '.join(_ENCODINGS)}: it holds zero bytes, as of UTF-16 "
            f"without a byte order mark; save it as UTF-8"
        )
    cut = raw[: raw.rfind(b"\n") + 1] or raw
    whole = raw if len(raw) < _BLOCK_BYTES else cut
    for encoding in _ENCODINGS:
        try:
            text = whole.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
        if encoding != "gb18030" or _is_chinese(text):
            return text, encoding
    raise SourceError(f"{path}: the encoding is none of {', '.join(_ENCODINGS)}")


def _is_chinese(text: str) -> bool:
    """True if most characters beyond ASCII are common ones of Chinese.

    An accent and the letter after it, read as GB18030, are a rare one.
    """
    beyond = [c for c in text if c > "\x7f"]
    return 2 * sum(len(c.encode("gb2312", "ignore")) == 2 for c in beyond) > len(beyond)


def _delimiter(lines: list[str]) -> str:
    """The delimiter that most lines hold equally often."""
    plain = [re.sub(r'"[^"]*"', "", line) for line in lines[:50] if line.strip()]

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = Counter(line.count(delimiter) for line in plain)
        count, number = max(counts.items(), key=lambda item: (item[1], item[0]))
        return (number, count) if count else (0, 0)

    return max(_DELIMITERS, key=agreement)


def _header(lines: Lines, style: CsvStyle, path: str) -> int:
    """Count the rows of a header.

    Raises:
        SourceError: there is none, or a line above the bars is neither header nor bar.
    """
    width = Counter(map(len, lines.fields)).most_common(1)[0][0]
    if width == 1:
        raise SourceError(
            f"{path}, line {lines.numbers[0]}: {lines.fields[0][0]!r} is one field where the "
            f"delimiter is {style.delimiter!r}: say which it is, --delimiter (source.delimiter)"
        )
    first = next((k for k, row in enumerate(lines.fields) if _is_bar(row, width)), None)
    if first is None:
        return 1
    if first == 0:
        line = style.delimiter.join(lines.fields[0])
        raise SourceError(
            f"{path}, line {lines.numbers[0]}: {line!r} is a bar, and there is no header above "
            f"it: say the columns in order, as in --names date,open,high,low,close,volume "
            f"(source.names)"
        )
    header = Lines(lines.fields[:first], lines.numbers[:first])
    odd = next((k for k, row in enumerate(header.fields) if len(row) != width), None)
    if odd is None and (first == 1 or _is_header(header, path)):
        return first
    if odd is None:
        odd = 1 if "close" in guess_columns(lines.fields[0]) else 0
    line = style.delimiter.join(lines.fields[odd])
    raise SourceError(
        f"{path}, line {lines.numbers[odd]}: {line!r} is no row of a header of {width} columns and "
        f"no bar; {skip_hint(line)}"
    )


def _require_no_header(lines: Lines, style: CsvStyle, path: str) -> None:
    """Confirm that a CSV whose columns a person named begins with a bar.

    Raises:
        SourceError: it begins with a header.
    """
    first, second = [*lines.fields[:2], [], []][:2]
    if _is_bar(second, len(second)) and not _is_bar(first, len(second)):
        raise SourceError(
            f"{path}, line {lines.numbers[0]}: {style.delimiter.join(first)!r} is no bar; if it is "
            f"a header whose place the names take, say --header 1 (source.header)"
        )


_DATE = re.compile(r"\s*(\d{4}-\d{2}-\d{2}|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{8,19})")


def _is_bar(fields: list[str], width: int) -> bool:
    """True for a line of the usual width with a date or some numbers, which no header has."""
    enough = min(_NUMBERS, width - 1)
    return len(fields) == width and (
        any(map(_DATE.match, fields)) or sum(map(is_number, fields)) >= enough
    )


def _is_header(lines: Lines, path: str) -> bool:
    """True if rows are a header of fields, or of fields and instruments that all have a close."""
    if len(lines.fields) > _MOST_HEADER:
        return False
    try:
        candidates = layouts(lines, CsvStyle(header=len(lines.fields)), path)
    except SourceError:
        return False
    return any(
        all("close" in guess_columns(columns) for columns in layout.positions.values())
        for layout in candidates
    )


def _rowless(path: str) -> SourceError:
    return SourceError(
        f"{path} has no rows; expected a header and bars below it: fill the file, or leave it out "
        f"of --path"
    )
