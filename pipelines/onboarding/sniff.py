"""Read the first rows of files of bars whose form is unknown.

Only the beginning of the first file is read; `distinct_dates` reads one whole column if the
beginning cannot tell the form of dates.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import astuple, dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from pipelines.config.sources import FilesSource
from pipelines.errors import SourceError
from pipelines.sources.file_formats import CsvStyle, without_lines
from pipelines.sources.files import FilesBars
from rnn_core.text_encoding import marked_encoding

ROWS = 5000
_BLOCK_BYTES = 1 << 18
_ENCODINGS = ("utf-8", "gb18030", "latin-1")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Peek:
    """The first rows of the first file, and its form.

    Attributes:
        files: the number of files.
        path: the first file, on its filesystem.
        form: `parquet`, `csv` or `feather`.
        head: its first rows; a CSV's values are text.
        delimiter: the delimiter of a CSV.
        encoding: the encoding of a CSV.
        skip_lines: a regular expression found in the lines of a CSV that are no bars.
    """

    files: int
    path: str
    form: str
    head: pa.Table
    delimiter: str = ","
    encoding: str = "utf-8"
    skip_lines: str | None = None


def peek(path: str, skip_lines: str | None = None) -> Peek:
    """Read the first rows of a file, a folder, a pattern or a URL.

    Args:
        path: the place of the files.
        skip_lines: a regular expression found in the lines of a CSV that are no bars.

    Raises:
        SourceError: there is no such file, or the first one cannot be read or has no rows.
    """
    refs = FilesBars(FilesSource.model_validate(
        {"kind": "files", "path": path, "basis": "adjusted"}
    )).files()  # fmt: skip
    first = refs[0]
    fs, _ = fsspec.core.url_to_fs(path)
    try:
        if first.form == "csv":
            style = _style(fs, first.path, skip_lines)
            head = _csv(fs, first.path, style, None).slice(0, ROWS)
            return Peek(len(refs), first.path, "csv", head, *astuple(style))
        with fs.open(first.path, "rb") as file:
            if first.form == "parquet":
                batches = pq.ParquetFile(file).iter_batches(batch_size=ROWS)
                batch = next(batches, None)
                schema = pq.ParquetFile(file).schema_arrow
                head = schema.empty_table() if batch is None else pa.Table.from_batches([batch])
            else:
                head = ipc.open_file(file).read_all().slice(0, ROWS)
    except StopIteration:
        raise _rowless(first.path) from None
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{first.path} cannot be read as {first.form}: {error}") from error
    return Peek(len(refs), first.path, first.form, head)


def distinct_dates(first_file: Peek, path: str, column: str) -> list[Any]:
    """Read the distinct values of a column in the whole first file."""
    fs, _ = fsspec.core.url_to_fs(path)
    if first_file.form == "csv":
        style = CsvStyle(first_file.delimiter, first_file.encoding, first_file.skip_lines)
        table = _csv(fs, first_file.path, style, [column])
    else:
        with fs.open(first_file.path, "rb") as file:
            if first_file.form == "parquet":
                table = pq.read_table(file, columns=[column])
            else:
                table = ipc.open_file(file).read_all()
    values: list[Any] = table[column].unique().drop_null().to_pylist()
    return values


def _style(fs: Any, path: str, skip_lines: str | None) -> CsvStyle:
    """Guess the delimiter and the encoding of a CSV from its beginning."""
    with fs.open(path, "rb", compression="infer") as file:
        raw: bytes = file.read(_BLOCK_BYTES)
    if sum(bool(line.strip()) for line in raw.splitlines()) < 2:
        raise _rowless(path)
    cut = raw[: raw.rfind(b"\n") + 1] or raw
    marked = marked_encoding(raw)
    if marked not in (None, "utf-8-sig"):
        text = codecs.getincrementaldecoder(str(marked))().decode(raw)
        return _style_of(text, str(marked), skip_lines)
    if b"\0" in raw:
        raise SourceError(
            f"{path} is no text of {', '.join(_ENCODINGS)}: it holds zero bytes, as of UTF-16 "
            f"without a byte order mark; save it as UTF-8"
        )
    for encoding in _ENCODINGS:
        try:
            text = cut.decode(encoding)
        except UnicodeDecodeError:
            continue
        return _style_of(text, encoding, skip_lines)
    raise SourceError(f"{path}: the encoding is none of {', '.join(_ENCODINGS)}")


def _style_of(text: str, encoding: str, skip_lines: str | None) -> CsvStyle:
    """Guess the delimiter by the first line that is not left out."""
    pattern = None if skip_lines is None else re.compile(skip_lines)
    lines = (line for line in text.splitlines() if pattern is None or not pattern.search(line))
    return CsvStyle(max(_DELIMITERS, key=next(lines, "").count), encoding, skip_lines)


def _rowless(path: str) -> SourceError:
    return SourceError(
        f"{path} has no rows; expected a header and bars below it: fill the file, or leave it out "
        f"of --path"
    )


def _csv(fs: Any, path: str, style: CsvStyle, only: list[str] | None) -> pa.Table:
    """Read the first block of a CSV, or some columns of all of it, as text."""
    read = pcsv.ReadOptions(
        encoding=style.encoding, block_size=_BLOCK_BYTES if only is None else None
    )
    parse = pcsv.ParseOptions(delimiter=style.delimiter)
    with _open(fs, path, style) as file:
        names = pcsv.open_csv(file, read_options=read, parse_options=parse).schema.names
    convert = pcsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=only or [],
        strings_can_be_null=True,
    )  # fmt: skip
    with _open(fs, path, style) as file:
        reader = pcsv.open_csv(
            file, read_options=read, parse_options=parse, convert_options=convert
        )
        if only is not None:
            return reader.read_all()
        return pa.Table.from_batches([reader.read_next_batch()])


def _open(fs: Any, path: str, style: CsvStyle) -> Any:
    file = fs.open(path, "rb", compression="infer")
    if style.skip_lines is None:
        return file
    with file:
        return io.BytesIO(without_lines(file.read(), style.encoding, style.skip_lines))
