"""Write and read the warehouse: one verified Parquet file a table and session.

Writing is atomic and idempotent: the same rows and provenance give the same bytes. Reading verifies
the digest and the identity of every file that it touches, names every missing session, and pushes
columns and dates down to DuckDB in an in-memory connection. DuckDB is the engine, never the truth:
the catalog that people open holds only views (`catalog.py`), so an open shell blocks no run and a
lost catalog costs nothing.
"""

from __future__ import annotations

import os
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import MissingSessionsError, WarehouseError, name_sessions
from pipelines.warehouse.arrow_rows import Rows, RowsError, ordered_rows
from pipelines.warehouse.identity import (
    DamagedFileError,
    Identity,
    MisplacedFileError,
    UnsignedFileError,
)
from pipelines.warehouse.market_record import MarketRecord
from pipelines.warehouse.partition_file import (
    PartitionInfo,
    Provenance,
    encode,
    read_info,
    verify,
)
from pipelines.warehouse.schemas import Table
from pipelines.warehouse.store import PART, Store

_READERS = 4
_WRITERS = min(4, os.cpu_count() or 1)  # encoding is work: more threads than cores get in the way
_IN_FLIGHT = 32  # partitions made and not yet in place
_READ_ATTEMPTS = 3
_Part = tuple[str, Rows, Provenance]


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


class Warehouse:
    """Tables of session partitions under one root.

    Args:
        url: local folder or fsspec URL.
        identity: the market that the warehouse belongs to, with its `name`; the first write records
            it, and later writes of another market are refused.
        as_now: turns the identity that an earlier release recorded into that of this release.
        upgrade: the command that brings the state of an earlier release over.

    Attributes:
        store: its files.
        record: its `market.json`.
        reads_unsigned: True while an upgrade reads what earlier releases wrote; otherwise state
            without identity is refused.
    """

    def __init__(
        self,
        url: str | Path,
        identity: Mapping[str, Any],
        *,
        as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        upgrade: str = "rnn-pipelines upgrade",
    ) -> None:
        self.store = Store(url)
        self.reads_unsigned = False
        self.record = MarketRecord(self.store, identity, as_now, upgrade)
        self._verified: dict[str, tuple[int, int, str]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._engine: list[duckdb.DuckDBPyConnection] = []
        weakref.finalize(self, _close, self._engine)

    # --- writing -----------------------------------------------------------------------------

    def write(
        self, table: Table, name: str, key: str, rows: Rows, provenance: Provenance
    ) -> PartitionInfo:
        """Write one partition, replacing what was there in one step.

        Args:
            table: columns and order of the rows.
            name: the table's folder (several tables may share a schema).
            key: the session, `YYYY-MM-DD`.
            rows: exactly the table's columns, rows in any order (`rows.ordered_rows`).
            provenance: the origin of the rows.

        Raises:
            WarehouseError: the columns differ, a value does not fit its type, the warehouse
                belongs to another market, or the file cannot be written.
        """
        try:
            rows = ordered_rows(table, rows)
        except (RowsError, pa.ArrowException) as error:
            raise WarehouseError(f"{name} of {key}: {error}") from error
        identity = self.identity(name, key)
        data, digest = encode(rows, provenance, identity)
        self.record.claim()
        try:
            self.store.write(data, name, f"date={key}", PART)
        except OSError as error:
            raise WarehouseError(
                f"cannot write {name} of {key} below {self.store.root}: {error}; check that the "
                f"folder is writable and the disk not full, nothing of this partition was changed"
            ) from error
        return PartitionInfo(rows.num_rows, digest, provenance, identity.to_dict())

    def write_each(
        self, table: Table, name: str, parts: Iterable[tuple[str, Rows, Provenance]]
    ) -> Iterator[tuple[str, PartitionInfo]]:
        """Write partitions of one table in parallel, and yield each in order once it is in place.

        The next of `parts` is made while earlier ones are written, at most `_IN_FLIGHT` ahead:
        making and writing overlap, and memory does not grow with the range. If one cannot be made,
        those before it are written and yielded first. After an error of a write no further write
        begins; `write` lists the errors.
        """
        jobs: deque[tuple[str, Future[PartitionInfo]]] = deque()
        unmade: list[Exception] = []
        with ThreadPoolExecutor(_WRITERS) as pool:
            try:
                for key, rows, provenance in _until_error(parts, unmade):
                    jobs.append((key, pool.submit(self.write, table, name, key, rows, provenance)))
                    if len(jobs) >= _IN_FLIGHT:
                        done, job = jobs.popleft()
                        yield done, job.result()
                while jobs:
                    done, job = jobs.popleft()
                    yield done, job.result()
                if unmade:
                    raise unmade[0]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def write_many(
        self, table: Table, name: str, parts: Iterable[tuple[str, Rows, Provenance]]
    ) -> dict[str, PartitionInfo]:
        """Write partitions of one table in parallel; see `write_each`."""
        return dict(self.write_each(table, name, parts))

    def identity(self, name: str, key: str) -> Identity:
        """The identity of a partition of this warehouse."""
        return Identity(self.record.name, "table", name, key)

    def require_format(self) -> None:
        """Confirm that the state on disk has this program's format.

        Raises:
            OlderStateError: an earlier release made it, and it is not upgraded yet.
            NewerStateError: a newer release made it.
        """
        if not self.reads_unsigned:
            self.record.require_format()

    # --- reading -----------------------------------------------------------------------------

    def sessions(self, name: str) -> list[str]:
        """The sessions of a table that have a partition, in order."""
        return self.store.partitions(name)

    def info(self, name: str, key: str) -> PartitionInfo | None:
        """The footer of a partition, or None if it was never written.

        Raises:
            WarehouseError: its footer is damaged or that of another place.
        """
        self.require_format()
        try:
            if self.store.is_local:
                info = read_info(self.store.path(name, f"date={key}", PART))
            else:
                with self.store.open(name, f"date={key}", PART) as file:
                    info = read_info(file)
            if info.identity is not None or not self.reads_unsigned:
                self.identity(name, key).require(info.identity)
            return info
        except DamagedFileError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise self._damaged(name, key, error) from error
        except FileNotFoundError:
            return None

    def require(self, name: str, keys: Sequence[str], needed_by: str) -> None:
        """Confirm that partitions exist.

        Raises:
            MissingSessionsError: sessions are absent; the message names the range to run first.
        """
        missing = self.store.absent(name, keys)
        if missing:
            raise MissingSessionsError(
                f"{needed_by} reads {name} of {len(keys)} sessions, {keys[0]} to {keys[-1]}, and "
                f"{len(missing)} of them are not in the warehouse: {name_sessions(missing)}; "
                f"materialize {_asset(name)} from {missing[0]} to {missing[-1]} first"
            )

    def read(
        self,
        name: str,
        keys: Sequence[str],
        *,
        needed_by: str,
        columns: Sequence[str] | None = None,
    ) -> Partitions:
        """Read the rows of some sessions, and verify every file.

        Args:
            name: the table.
            keys: the sessions; each must exist.
            needed_by: the reader, for the error.
            columns: the columns to read (default all); `date` is always first.

        Raises:
            MissingSessionsError: a session is absent.
            WarehouseError: a file is damaged, or the files have different columns.
        """
        if not keys:
            raise ValueError(f"{needed_by}: no session of {name} was asked for")
        for _ in range(_READ_ATTEMPTS):
            digests = self.digests(name, keys, needed_by=needed_by)
            frame = self._read_verified(name, keys, needed_by, columns)
            if self._unchanged(name, digests):
                return Partitions(frame, digests)
        raise WarehouseError(
            f"{needed_by}: {name} from {keys[0]} to {keys[-1]} kept changing while it was read; "
            f"wait for the run that writes it"
        )

    def read_one(self, name: str, key: str, *, needed_by: str) -> tuple[pa.Table, str]:
        """Read the rows of one session without the engine, and the digest of its file.

        Raises:
            MissingSessionsError: the session is absent.
            WarehouseError: the file is damaged.
        """
        self.require_format()
        try:
            raw = self.store.read(name, f"date={key}", PART)
        except (FileNotFoundError, NotADirectoryError):
            self.require(name, [key], needed_by)
            raise
        return pq.read_table(pa.BufferReader(raw)), self._digest(name, key, raw)

    def _read_verified(
        self, name: str, keys: Sequence[str], needed_by: str, columns: Sequence[str] | None
    ) -> pd.DataFrame:
        self._require_same_columns(name, keys, needed_by)
        selection = (
            "* EXCLUDE (date, file_row_number)"
            if columns is None
            else ", ".join(map(_quoted, columns))
        )
        paths = [self.store.url(name, f"date={key}", PART) for key in keys]
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
            raise WarehouseError(
                f"{needed_by} cannot read {name} from {keys[0]} to {keys[-1]}: {error}; if the "
                f"configuration asks for other columns now, or an earlier version wrote the files, "
                f"materialize {_asset(name)} again from its first session on"
            ) from error
        frame = rows.to_pandas(date_as_object=False)
        frame["date"] = frame["date"].astype("datetime64[ns]")
        return frame  # type: ignore[no-any-return]

    def _require_same_columns(self, name: str, keys: Sequence[str], needed_by: str) -> None:
        """Refuse files of different columns: DuckDB reads only the columns of the first."""
        of_path = {key: self._columns.get(self._path(name, key)) for key in keys}
        odd = [key for key in keys if of_path[key] != of_path[keys[0]]]
        if odd:
            raise WarehouseError(
                f"{needed_by}: {name} of {odd[0]} has other columns than {name} of {keys[0]}: the "
                f"configuration changed between them; materialize {_asset(name)} from {keys[0]} to "
                f"{keys[-1]} again"
            )

    def _unchanged(self, name: str, digests: Mapping[str, str]) -> bool:
        """True if no other process replaced a file since its verification."""
        return all(
            self._stamp(path) is None or self._verified[path][:2] == self._stamp(path)
            for path in (self._path(name, key) for key in digests)
        )

    def digests(self, name: str, keys: Sequence[str], *, needed_by: str) -> dict[str, str]:
        """Verify every file and return the digest of each partition; raises as `read` does."""
        self.require_format()
        self.require(name, keys, needed_by)
        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(keys, pool.map(lambda k: self._verify(name, k), keys), strict=True))

    def _verify(self, name: str, key: str) -> str:
        path = self._path(name, key)
        stamp = self._stamp(path)
        verified = self._verified.get(path)
        if verified is not None and stamp is not None and verified[:2] == stamp:
            return verified[2]
        raw = self.store.read(name, f"date={key}", PART)
        digest = self._digest(name, key, raw)
        self._columns[path] = tuple(pq.read_schema(pa.BufferReader(raw)).names)
        if stamp is not None:
            self._verified[path] = (*stamp, digest)
        return digest

    def _digest(self, name: str, key: str, raw: bytes) -> str:
        """The digest of a file, confirmed."""
        try:
            return verify(raw, self.identity(name, key), unsigned=self.reads_unsigned)
        except DamagedFileError as error:
            raise self._damaged(name, key, error) from error

    def _path(self, name: str, key: str) -> str:
        return self.store.path(name, f"date={key}", PART)

    def _stamp(self, path: str) -> tuple[int, int] | None:
        if not self.store.is_local:
            return None
        stat = Path(path).stat()
        return stat.st_mtime_ns, stat.st_size

    def _damaged(self, name: str, key: str, error: Exception) -> WarehouseError:
        return WarehouseError(
            f"the partition {key} of {name} is {_condition(error)}: {error}; materialize "
            f"{_asset(name)} of {key} again to replace {self._path(name, key)}"
        )

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        if not self._engine:
            connection = duckdb.connect()
            if not self.store.is_local:
                connection.register_filesystem(self.store.fs)
            self._engine.append(connection)
        return self._engine[0].cursor()


def _until_error(parts: Iterable[_Part], errors: list[Exception]) -> Iterator[_Part]:
    """Yield parts until making one fails; the error is put into a list."""
    try:
        yield from parts
    except Exception as error:
        errors.append(error)


def _close(engine: list[duckdb.DuckDBPyConnection]) -> None:
    """Let go of the engine before the interpreter ends, as DuckDB's bindings want it."""
    while engine:
        engine.pop().close()


def _condition(error: Exception) -> str:
    if isinstance(error, UnsignedFileError):
        return "without identity"
    return "another file" if isinstance(error, MisplacedFileError) else "damaged"


def _asset(table: str) -> str:
    """The asset that writes a table, for an error that asks for its materialization."""
    table = re.sub("_(book|trades|orders)$", "_portfolio", table)
    return re.sub("_(quarantine|extra)$", "", table)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
