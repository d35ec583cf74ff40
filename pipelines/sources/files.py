"""Read bars from CSV, Parquet or Feather files: one for all, one a symbol, or one a day.

The place of a file says nothing about the bars, so a folder, a glob, a single file and an object
store read alike (any URL that fsspec knows). Only the files, row groups and columns that the
days need are read. A file that is replaced meanwhile is noticed by its size and time and read
again: old rows and new ones are never mixed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
from fsspec.implementations.local import LocalFileSystem

from pipelines.config.sources import FilesSource
from pipelines.errors import SourceError
from pipelines.sources.columns import Columns
from pipelines.sources.file_formats import FORMATS, CsvStyle, Wanted, read_file
from pipelines.sources.session_dates import session_keys
from pipelines.sources.table_file import read_events
from pipelines.sources.tabular import TableBars
from pipelines.warehouse.partition_file import fingerprint

_READERS = 4
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_MARKS = ("size", "mtime", "ino", "ETag", "LastModified", "last_modified", "etag", "md5Hash",
          "generation", "created")  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class FileRef:
    """A file of bars.

    Attributes:
        path: the path on its filesystem.
        form: `parquet`, `csv` or `feather`.
        marks: attributes that change if the file is replaced.
        value: the instrument or day in its name; None if names say neither.
    """

    path: str
    form: str
    marks: str
    value: str | None = None


class _Changed(Exception):
    """A file was replaced or removed while it was read."""


class FilesBars(TableBars):
    """Bars of a market that lies in files.

    Args:
        settings: the section of the YAML.
        needs_amount: refuse a table without an amount (`vwap: amount`).
    """

    def __init__(self, settings: FilesSource, *, needs_amount: bool = False) -> None:
        super().__init__(settings.basis, partial(read_events, settings.basis))
        self._settings = settings
        from_names = () if settings.from_name is None else (settings.from_name,)
        self._columns = Columns(
            settings,
            needs_amount=needs_amount,
            thousands=settings.thousands,
            decimal=settings.decimal,
            from_names=from_names,
        )
        self._style = CsvStyle(settings.delimiter, settings.encoding, settings.skip_lines)

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the number of bars a day, by session key in order."""
        return self._rows(first, None, ())["date"].value_counts().sort_index()

    def fingerprint(self) -> str:
        """Return the digest of the names, sizes and times of all files."""
        refs = self.files()
        return fingerprint([[ref.path, ref.marks] for ref in refs])

    def files(self) -> list[FileRef]:
        """List all files, in order of their paths.

        Raises:
            SourceError: there is none, or the format of one cannot be told.
        """
        return self._listed(None, None)

    # --- reading -----------------------------------------------------------------------------

    def _rows(
        self, first: str | None, last: str | None, only: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Rows from one day to another in our names, all files together."""
        frames = self._steadily(lambda: self._read_all(first, last, only))
        rows = pd.concat(frames, ignore_index=True)
        inside = pd.Series(True, index=rows.index)
        if first is not None:
            inside &= rows["date"] >= first
        if last is not None:
            inside &= rows["date"] <= last
        return rows[inside.to_numpy()].reset_index(drop=True)

    def _steadily(self, read: Callable[[], T]) -> T:
        """Read again if a file was replaced meanwhile."""
        for attempt in range(_ATTEMPTS):
            try:
                return read()
            except _Changed as changed:
                if attempt == _ATTEMPTS - 1:
                    raise SourceError(
                        f"{changed} was replaced while it was read, {_ATTEMPTS} times in a row: "
                        f"wait until what writes it is done, and let it write under another name "
                        f"and rename"
                    ) from None
                time.sleep(_PAUSE_SECONDS)
        raise AssertionError("the last attempt returned or raised")

    def _read_all(
        self, first: str | None, last: str | None, only: Iterable[str] | None
    ) -> list[pd.DataFrame]:
        refs = self._listed(first, last)
        fs, _ = self._where()
        arrow = pafs.LocalFileSystem() if isinstance(fs, LocalFileSystem) else None
        arrow = arrow or pafs.PyFileSystem(pafs.FSSpecHandler(fs))
        needed = None if only is None else tuple(only)
        with ThreadPoolExecutor(_READERS) as pool:
            jobs = [pool.submit(self._read, arrow, ref, first, last, needed) for ref in refs]
            try:
                frames = [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._require_unchanged(refs)  # what looks damaged may be half written
                raise
        self._require_unchanged(refs)
        return frames or [pd.DataFrame({"date": [], "instrument": []}, dtype="str")]

    def _read(
        self,
        arrow: Any,
        ref: FileRef,
        first: str | None,
        last: str | None,
        only: tuple[str, ...] | None,
    ) -> pd.DataFrame:
        dated = self._settings.from_name != "date"
        selection = Wanted(
            columns=lambda there: self._columns.wanted(there, ref.path, only),
            numeric=self._columns.numeric,
            date=self._columns.date if dated else None,
            date_format=self._columns.date_format,
            check=lambda dates, row: self._columns.keys(dates, ref.path, row),
            first=first,
            last=last,
        )
        try:
            table = read_file(arrow, ref.path, ref.form, self._style, selection)
        except (OSError, pa.ArrowException) as error:
            hint = ""
            if "conversion error" in str(error):
                hint = (
                    "; say how numbers are written (source.decimal, source.thousands), or which "
                    "lines are no bars (source.skip_lines, a regular expression)"
                )
            elif "invalid UTF8" in str(error):
                hint = "; say how the text is written, source.encoding, as in utf-16 or gb18030"
            raise SourceError(f"{ref.path} cannot be read as {ref.form}: {error}{hint}") from error
        name = self._settings.from_name
        from_name = {} if name is None or ref.value is None else {str(name): ref.value}
        return self._columns.bars(table, ref.path, from_name)

    # --- which files -------------------------------------------------------------------------

    def _where(self) -> tuple[Any, str]:
        fs, path = fsspec.core.url_to_fs(self._settings.path)
        return fs, path

    def _found(self) -> dict[str, dict[str, Any]]:
        """All files by path, with the attributes that the filesystem gives."""
        fs, path = self._where()
        fs.invalidate_cache()
        try:
            if any(c in path for c in "*?["):
                entries = fs.glob(path, detail=True)
            elif fs.isdir(path):
                entries = {p: i for p, i in fs.find(path, detail=True).items() if _form(p)}
            else:
                entries = {path: fs.info(path)}
        except FileNotFoundError:
            entries = {}
        return {
            name: info
            for name, info in sorted(entries.items())
            if info["type"] == "file" and not _hidden(name, path)
        }

    def _listed(self, first: str | None, last: str | None) -> list[FileRef]:
        """The files that can hold the days, in order of their paths."""
        entries = self._found()
        refs = [
            ref
            for name, info in entries.items()
            for ref in [self._ref(name, info)]
            if _holds(ref, self._settings.from_name, first, last)
        ]
        if not entries:
            raise SourceError(
                f"no file of bars at {self._settings.path}: set market.source.path to a file, a "
                f"folder or a pattern such as bars/*.parquet (relative to the YAML), or a URL"
            )
        return refs

    def _ref(self, path: str, info: dict[str, Any]) -> FileRef:
        form = self._settings.format or _form(path)
        if form is None:
            raise SourceError(
                f"{path}: what kind of file is it? Set source.format to parquet, csv or feather"
            )
        return FileRef(path, form, _marks(info), self._value(path))

    def _value(self, path: str) -> str | None:
        """The instrument or day in a file's name, which holds for all of its rows."""
        settings = self._settings
        if settings.from_name is None:
            return None
        name = path.rsplit("/", 1)[-1]
        ending = next((e for e in sorted(FORMATS, key=len)[::-1] if name.lower().endswith(e)), "")
        value = name[: len(name) - len(ending)]
        if settings.name_pattern is not None:
            match = re.search(settings.name_pattern, path)
            if match is None:
                raise SourceError(
                    f"{path} does not match source.name_pattern {settings.name_pattern!r}"
                )
            value = match.group(1)
        if settings.from_name == "instrument":
            return value
        keys = session_keys(pa.array([value]), settings.date_format, settings.timezone, path)
        return str(keys[0].as_py())

    def _require_unchanged(self, refs: Sequence[FileRef]) -> None:
        """List the files again, and confirm that those that were read are unchanged."""
        now = self._found()
        for ref in refs:
            if ref.path not in now or _marks(now[ref.path]) != ref.marks:
                raise _Changed(ref.path)


def _form(path: str) -> str | None:
    """The format that a path's ending says."""
    lower = path.lower()
    return next((form for ending, form in FORMATS.items() if lower.endswith(ending)), None)


def _hidden(path: str, root: str) -> bool:
    """True if a name starts with a dot or an underscore, as of files that are being written."""
    return path != root and path.rsplit("/", 1)[-1].startswith((".", "_"))


def _holds(ref: FileRef, from_name: str | None, first: str | None, last: str | None) -> bool:
    """True if a file can hold rows of the days."""
    if from_name != "date" or ref.value is None:
        return True
    return (first is None or ref.value >= first) and (last is None or ref.value <= last)


def _marks(info: dict[str, Any]) -> str:
    return repr([(name, info[name]) for name in _MARKS if name in info])
