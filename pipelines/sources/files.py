"""Read bars from CSV, Parquet or Feather files: one for all, one a symbol, or one a day.

The place of a file says nothing about the bars, so a folder, a glob, a single file and an object
store read alike (any URL that fsspec knows). Only the files, row groups and columns that the
days need are read. A file that is replaced meanwhile is noticed by its size and time and read
again: old rows and new ones are never mixed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase as fnmatch
from functools import partial
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs

from pipelines.config.sources import FilesSource
from pipelines.errors import SourceError
from pipelines.sources.columns import Columns
from pipelines.sources.csv_lines import CsvStyle
from pipelines.sources.file_formats import FORMATS, UNREADABLE, Wanted, columns_of, read_file
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
        said: the instrument and the day, as far as its name says them.
    """

    path: str
    form: str
    marks: str
    said: Mapping[str, str] = field(default_factory=dict)


class _Changed(Exception):
    """A file was replaced or removed while it was read."""


class FilesBars(TableBars):
    """Bars of a market that lies in files.

    Args:
        settings: the section of the YAML.
        needs_amount: refuse a table without an amount (`vwap: amount`).
    """

    def __init__(self, settings: FilesSource, *, needs_amount: bool = False) -> None:
        super().__init__(settings.basis, partial(read_events, settings.basis), settings.extra)
        self._settings = settings
        self._unread: list[str] = []
        self._columns = Columns(
            settings,
            needs_amount=needs_amount,
            thousands=settings.thousands,
            decimal=settings.decimal,
            from_names=settings.named,
        )
        self._style = CsvStyle(
            settings.delimiter,
            settings.encoding,
            settings.skip_lines,
            settings.header_rows,
            settings.names,
        )

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

    def filesystem(self) -> Any:
        """The filesystem of the files, as pyarrow takes it."""
        from fsspec.implementations.local import LocalFileSystem

        fs, _ = self._where()
        if isinstance(fs, LocalFileSystem):
            return pafs.LocalFileSystem()
        return pafs.PyFileSystem(pafs.FSSpecHandler(fs))

    def below(self, url: str) -> str:
        """The name of a file as seen from the folder of bars."""
        fs, root = self._where()
        return _below(fs._strip_protocol(url), root)

    def said_by(self, path: str) -> str:
        """The instrument and the day that a file's name says, for people."""
        return ", ".join(self._values(path).values())

    def strays(self) -> dict[str, str]:
        """Find the files whose columns are not those of bars.

        Returns:
            Its URL, and how it differs, for each.

        Raises:
            SourceError: a file cannot be read.
        """
        found: dict[str, str] = {}
        fs, arrow = self._where()[0], self.filesystem()

        def look(ref: FileRef) -> None:
            try:
                columns_of(arrow, ref.path, ref.form, self._style, self._choose(ref, None))
            except SourceError as error:
                found[fs.unstrip_protocol(ref.path)] = str(error)
            except UNREADABLE as error:
                raise _unreadable(ref, error) from error

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(look, self.files()))
        return dict(sorted(found.items()))

    def _choose(
        self, ref: FileRef, only: tuple[str, ...] | None
    ) -> Callable[[Sequence[str]], list[str]]:
        """Make the choice of a file's columns; its error says what to do with other files."""

        def choose(columns: Sequence[str]) -> list[str]:
            try:
                return self._columns.wanted(columns, ref.path, only)
            except SourceError as error:
                name = ref.path.rsplit("/", 1)[-1]
                header = "say where its header is (source.skip_lines, header, names), or "
                raise SourceError(
                    f"{error}; {header if ref.form == 'csv' else ''}if the file holds no bars, "
                    f"leave it out: source.ignore: ['{name}']"
                ) from None

        return choose

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
        arrow = self.filesystem()
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
        dated = "date" not in self._settings.named
        selection = Wanted(
            columns=self._choose(ref, only),
            numeric=self._columns.numeric,
            date=self._columns.date if dated else None,
            date_format=self._columns.date_format,
            check=lambda dates, where: self._columns.keys(dates, ref.path, where),
            first=first,
            last=last,
            said=frozenset(self._settings.columns.values()),
        )

        def bars(style: CsvStyle) -> pd.DataFrame:
            table = read_file(arrow, ref.path, ref.form, style, selection)
            return self._columns.bars(table, ref.path, ref.said)

        try:
            try:
                return bars(self._style)
            except SourceError:
                if ref.form != "csv":
                    raise
                return bars(replace(self._style, by_line=True))  # the error with its line
        except UNREADABLE as error:
            raise _unreadable(ref, error) from error

    # --- which files -------------------------------------------------------------------------

    def _where(self) -> tuple[Any, str]:
        import fsspec

        fs, path = fsspec.core.url_to_fs(self._settings.path)
        return fs, path

    def unread(self) -> list[str]:
        """List the names of files below the folder that are not read as bars."""
        self._found()
        return self._unread

    def _found(self) -> dict[str, dict[str, Any]]:
        """All files of bars by path, with the attributes that the filesystem gives."""
        fs, path = self._where()
        fs.invalidate_cache()
        try:
            if any(c in path for c in "*?["):
                entries = fs.glob(path, detail=True)
            elif fs.isdir(path):
                entries = fs.find(path, detail=True)
            else:
                entries = {path: fs.info(path)}
        except FileNotFoundError:
            entries = {}
        files = {name: info for name, info in sorted(entries.items()) if info["type"] == "file"}
        read = {name for name in files if name == path or self._is_read(name, path)}
        self._unread = [_below(name, path) for name in files if name not in read]
        return {name: info for name, info in files.items() if name in read}

    def _is_read(self, name: str, root: str) -> bool:
        """True for a file of bars: not hidden, of a known format, and none that is ignored."""
        below = _below(name, root)
        if _hidden(below) or (_form(name) is None and not any(c in root for c in "*?[")):
            return False
        last = below.rsplit("/", 1)[-1]
        return not any(fnmatch(below, p) or fnmatch(last, p) for p in self._settings.ignore)

    def _listed(self, first: str | None, last: str | None) -> list[FileRef]:
        """The files that can hold the days, in order of their paths."""
        entries = self._found()
        refs = [
            ref
            for name, info in entries.items()
            for ref in [self._ref(name, info)]
            if _holds(ref, first, last)
        ]
        if not entries:
            there = f", only {', '.join(self._unread[:5])}" if self._unread else ""
            raise SourceError(
                f"no file of bars at {self._settings.path}{there}: set market.source.path to a "
                f"file, a folder or a pattern such as bars/*.parquet (relative to the YAML), or a "
                f"URL; a pattern and source.format (--format) read files of any ending"
            )
        return refs

    def _ref(self, path: str, info: dict[str, Any]) -> FileRef:
        form = self._settings.format or _form(path)
        if form is None:
            raise SourceError(
                f"{path}: what kind of file is it? Set source.format (--format) to parquet, csv or "
                f"feather"
            )
        return FileRef(path, form, _marks(info), self._values(path))

    def _values(self, path: str) -> dict[str, str]:
        """The instrument and the day in a file's name, which hold for all of its rows."""
        settings = self._settings
        if not settings.named:
            return {}
        name = path.rsplit("/", 1)[-1]
        found: Sequence[str] = (stem_of(path),)
        if settings.name_pattern is not None:
            match = re.search(settings.name_pattern, path)
            if match is None:
                raise SourceError(
                    f"{path} does not match source.name_pattern {settings.name_pattern!r}; if it "
                    f"holds no bars, leave it out: source.ignore: ['{name}']"
                )
            found = match.groups()
        values = dict(zip(settings.named, found, strict=True))
        if "date" in values:
            day = pa.array([values["date"]])
            keys = session_keys(day, settings.date_format, settings.timezone, path)
            values["date"] = str(keys[0].as_py())
        return values

    def _require_unchanged(self, refs: Sequence[FileRef]) -> None:
        """List the files again, and confirm that those that were read are unchanged."""
        now = self._found()
        for ref in refs:
            if ref.path not in now or _marks(now[ref.path]) != ref.marks:
                raise _Changed(ref.path)


def _unreadable(ref: FileRef, error: Exception) -> SourceError:
    hint = "; source.skip_lines, header, decimal and thousands say how it is written"
    return SourceError(
        f"{ref.path} cannot be read as {ref.form}: {error}{hint if ref.form == 'csv' else ''}"
    )


def _form(path: str) -> str | None:
    """The format that a path's ending says."""
    lower = path.lower()
    return next((form for ending, form in FORMATS.items() if lower.endswith(ending)), None)


def stem_of(path: str) -> str:
    """The name of a file without the ending of its format."""
    name = path.rsplit("/", 1)[-1]
    ending = next((e for e in sorted(FORMATS, key=len)[::-1] if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


def _below(path: str, root: str) -> str:
    """A path as seen from the folder of bars, or from the first folder of a pattern."""
    fixed = re.split(r"[*?\[]", root, maxsplit=1)[0].rstrip("/")
    if fixed != root.rstrip("/"):
        fixed = fixed.rpartition("/")[0] if not root[len(fixed) :].startswith("/") else fixed
    return path.removeprefix(fixed).lstrip("/")


def _hidden(below: str) -> bool:
    """True for files that are being written or are of another program, by a dot or underscore."""
    *folders, last = below.split("/")
    return last.startswith((".", "_")) or any(f.startswith((".", "__")) for f in folders)


def _holds(ref: FileRef, first: str | None, last: str | None) -> bool:
    """True if a file can hold rows of the days."""
    day = ref.said.get("date")
    return day is None or ((first is None or day >= first) and (last is None or day <= last))


def _marks(info: dict[str, Any]) -> str:
    return repr([(name, info[name]) for name in _MARKS if name in info])
