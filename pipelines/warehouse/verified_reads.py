"""Read the rows of partitions whose bytes were verified, from a disk or from a remote store.

From a disk DuckDB reads the files by their paths. A file is verified once a process as long as its
size and time stay, and a read is taken back if one was replaced since its verification. A remote
store has no such times, and each look costs a request: a file is fetched once, verified, and its
rows are taken from those very bytes, so nothing can come in between.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import WarehouseError
from pipelines.warehouse.store import PART, Store

_READERS = 4
_FETCHERS = 16  # of a remote store, whose answers are waited for
_READ_ATTEMPTS = 3
Digest = Callable[[str, str, bytes], str]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Partitions:
    """Rows of several partitions.

    Attributes:
        frame: column `date` (datetime64[ns], the session), then the columns that were read, sorted
            by session and the file's own order.
        digests: digest of each partition, by session key.
        columns: versions of columns that were read from the table beside, by input and session.
    """

    frame: pd.DataFrame
    digests: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Reads(Protocol):
    """Verified reads of one store; a partition that is absent is a `FileNotFoundError`."""

    def content(self, name: str, key: str) -> bytes:
        """Read the file of a partition, and verify it."""

    def digests(self, name: str, keys: Sequence[str]) -> dict[str, str]:
        """Verify every file, and return the digest of each partition."""

    def read(
        self, name: str, keys: Sequence[str], needed_by: str, columns: Sequence[str] | None
    ) -> Partitions:
        """Read the rows of some partitions; see `Warehouse.read`."""


def reads_of(store: Store, digest: Digest) -> Reads:
    """The verified reads of a store.

    Args:
        store: the warehouse's files.
        digest: confirms the bytes of a partition, by table and session, and returns their digest.
    """
    return LocalReads(store, digest) if store.is_local else RemoteReads(store, digest)


class LocalReads:
    """Reads by DuckDB, of files whose size and time stand for their bytes."""

    def __init__(self, store: Store, digest: Digest) -> None:
        self._store, self._digest = store, digest
        self._verified: dict[str, tuple[int, int, str]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._engine: list[duckdb.DuckDBPyConnection] = []
        weakref.finalize(self, _close, self._engine)

    def content(self, name: str, key: str) -> bytes:
        """Read the file of a partition and verify it, which later reads need not."""
        path = self._path(name, key)
        stamp = _stamp(path)
        raw = self._store.read(name, f"date={key}", PART)
        digest = self._digest(name, key, raw)
        if path in self._columns:
            self._columns[path] = _columns(pa.BufferReader(raw))
        self._verified[path] = (*stamp, digest)
        return raw

    def digests(self, name: str, keys: Sequence[str]) -> dict[str, str]:
        """Verify every file that is not known yet."""
        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(keys, pool.map(lambda key: self._verify(name, key), keys), strict=True))

    def read(
        self, name: str, keys: Sequence[str], needed_by: str, columns: Sequence[str] | None
    ) -> Partitions:
        """Read rows, again if a file was replaced meanwhile."""
        for _ in range(_READ_ATTEMPTS):
            digests = self.digests(name, keys)
            frame = self._rows(name, keys, needed_by, columns)
            if self._unchanged(name, digests):
                return Partitions(frame, digests)
        raise WarehouseError(
            f"{needed_by}: {name} from {keys[0]} to {keys[-1]} kept changing while it was read; "
            f"wait for the run that writes it"
        )

    def _verify(self, name: str, key: str) -> str:
        path = self._path(name, key)
        verified = self._verified.get(path)
        if verified is None or verified[:2] != _stamp(path):
            self._columns[path] = _columns(pa.BufferReader(self.content(name, key)))
        elif path not in self._columns:
            self._columns[path] = _columns(path)
        return self._verified[path][2]

    def _rows(
        self, name: str, keys: Sequence[str], needed_by: str, columns: Sequence[str] | None
    ) -> pd.DataFrame:
        _require_same_columns(
            name, {key: self._columns.get(self._path(name, key), ()) for key in keys}, needed_by
        )
        selection = (
            "* EXCLUDE (date, file_row_number)"
            if columns is None
            else ", ".join(map(_quoted, columns))
        )
        paths = [self._path(name, key) for key in keys]
        query = (
            f"SELECT date, {selection} FROM read_parquet($paths, hive_partitioning=true, "  # noqa: S608 - identifiers are quoted, values bound
            "hive_types={'date': DATE}, file_row_number=true) ORDER BY date, file_row_number"
        )
        try:
            rows = self._cursor().sql(query, params={"paths": paths}).to_arrow_table()
        except RuntimeError as error:  # what DuckDB makes of Ctrl-C while it runs a query
            if "interrupted" in str(error):
                raise KeyboardInterrupt from error
            raise
        except duckdb.Error as error:
            raise _unreadable(name, keys, error, needed_by) from error
        return _frame(rows)

    def _unchanged(self, name: str, keys: Iterable[str]) -> bool:
        """True if no other process replaced a file since its verification."""
        paths = (self._path(name, key) for key in keys)
        return all(self._verified[path][:2] == _stamp(path) for path in paths)

    def _path(self, name: str, key: str) -> str:
        return self._store.path(name, f"date={key}", PART)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        if not self._engine:
            self._engine.append(duckdb.connect())
        return self._engine[0].cursor()


class RemoteReads:
    """Reads of bytes that were fetched once and verified."""

    def __init__(self, store: Store, digest: Digest) -> None:
        self._store, self._digest = store, digest

    def content(self, name: str, key: str) -> bytes:
        """Fetch the file of a partition, and verify it."""
        raw = self._store.read(name, f"date={key}", PART)
        self._digest(name, key, raw)
        return raw

    def digests(self, name: str, keys: Sequence[str]) -> dict[str, str]:
        """Fetch and verify every file."""
        return {key: digest for key, _, digest in self._fetch(name, keys, lambda key, raw: None)}

    def read(
        self, name: str, keys: Sequence[str], needed_by: str, columns: Sequence[str] | None
    ) -> Partitions:
        """Take the rows from the bytes that were verified."""

        def rows(key: str, raw: bytes) -> tuple[pa.Table, tuple[str, ...]]:
            try:
                table = pq.read_table(pa.BufferReader(raw))
                chosen = table if columns is None else table.select(list(columns))
            except (KeyError, pa.ArrowException) as error:
                raise _unreadable(name, keys, error, needed_by) from error
            date = pa.array([key] * table.num_rows, pa.string()).cast(pa.date32())
            return chosen.add_column(0, "date", date), tuple(table.column_names)

        parts = self._fetch(name, keys, rows)
        _require_same_columns(name, {key: part[1] for key, part, _ in parts}, needed_by)
        by_key = {key: part[0].replace_schema_metadata(None) for key, part, _ in parts}
        whole = pa.concat_tables([by_key[key] for key in sorted(by_key)])
        return Partitions(_frame(whole), {key: digest for key, _, digest in parts})

    def _fetch(
        self, name: str, keys: Sequence[str], work: Callable[[str, bytes], _T]
    ) -> list[tuple[str, _T, str]]:
        """Fetch and verify partitions at once, and do something with the bytes of each."""

        def fetch(key: str) -> tuple[str, _T, str]:
            raw = self._store.read(name, f"date={key}", PART)
            digest = self._digest(name, key, raw)
            return key, work(key, raw), digest

        with ThreadPoolExecutor(_FETCHERS) as pool:
            return list(pool.map(fetch, keys))


def _require_same_columns(name: str, columns: dict[str, tuple[str, ...]], needed_by: str) -> None:
    """Refuse files of different columns: DuckDB reads only the columns of the first."""
    first, last = next(iter(columns)), next(reversed(columns))
    odd = [key for key, found in columns.items() if found != columns[first]]
    if odd:
        raise WarehouseError(
            f"{needed_by}: {name} of {odd[0]} has other columns than {name} of {first}: the "
            f"configuration changed between them; materialize {asset_of_table(name)} from {first} "
            f"to {last} again"
        )


def asset_of_table(table: str) -> str:
    """The asset that writes a table, for an error that asks for its materialization."""
    table = re.sub("_(book|trades|orders)$", "_portfolio", table)
    return re.sub("_(quarantine|extra)$", "", table)


def _unreadable(name: str, keys: Sequence[str], error: Exception, needed_by: str) -> WarehouseError:
    return WarehouseError(
        f"{needed_by} cannot read {name} from {keys[0]} to {keys[-1]}: {error}; if the "
        f"configuration asks for other columns now, or an earlier version wrote the files, "
        f"materialize {asset_of_table(name)} again from its first session on"
    )


def _frame(rows: pa.Table) -> pd.DataFrame:
    frame = rows.to_pandas(date_as_object=False)
    frame["date"] = frame["date"].astype("datetime64[ns]")
    return frame  # type: ignore[no-any-return]


def _columns(source: str | pa.BufferReader) -> tuple[str, ...]:
    return tuple(pq.read_schema(source).names)


def _stamp(path: str) -> tuple[int, int]:
    stat = Path(path).stat()
    return stat.st_mtime_ns, stat.st_size


def _close(engine: list[duckdb.DuckDBPyConnection]) -> None:
    """Let go of the engine before the interpreter ends, as DuckDB's bindings want it."""
    while engine:
        engine.pop().close()


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
