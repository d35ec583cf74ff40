"""Write and read the warehouse: one verified Parquet file a table and session.

Writing is atomic and idempotent: the same rows and provenance give the same bytes. Reading verifies
the digest and the identity of every file that it touches (`verified_reads.py`) and names every
missing session. DuckDB is the engine, never the truth: the catalog that people open holds only
views (`catalog.py`), so an open shell blocks no run and a lost catalog costs nothing.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

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
from pipelines.warehouse.stores import open_store
from pipelines.warehouse.verified_reads import Partitions, asset_of_table, reads_of

__all__ = ["Partitions", "Warehouse"]

_WRITERS = min(4, os.cpu_count() or 1)  # encoding is work: more threads than cores get in the way
_IN_FLIGHT = 32  # partitions made and not yet in place
LONGEST_CLOSE_DAYS = 45
"""No exchange stays closed so long: what is made later of a session was not served."""
_Part = tuple[str, Rows, Provenance]


class Warehouse:
    """Tables of session partitions under one root.

    Args:
        place: its store, or a local folder or fsspec URL.
        identity: the market that the warehouse belongs to, with its `name`; the first write records
            it, and later writes of another market are refused.
        as_now: turns the identity that an earlier release recorded into that of this release.
        upgrade: the command that brings the state of an earlier release over.
        sync: the command that records the market again where its record is lost.

    Attributes:
        store: its files.
        record: its `market.json`.
        reads_unsigned: True while an upgrade reads what earlier releases wrote; otherwise state
            without identity is refused.
    """

    def __init__(
        self,
        place: Store | str | Path,
        identity: Mapping[str, Any],
        *,
        as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        upgrade: str = "rnn-pipelines upgrade",
        sync: str = "rnn-pipelines sync",
    ) -> None:
        self.store = place if isinstance(place, Store) else open_store(place)
        self.reads_unsigned = False
        self.record = MarketRecord(self.store, identity, as_now, upgrade, sync)
        self._reads = reads_of(self.store, self._digest)

    def afresh(self) -> Warehouse:
        """Return this warehouse with reads of its own.

        A file that was verified for one of the two is verified for the other once more: what a
        comparison has read shall not vouch for what an asset reads later in the same process.
        """
        other = copy(self)
        other._reads = reads_of(other.store, other._digest)
        return other

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
            self.store.write(data, name, f"date={key}", PART, durable=is_durable(table, key))
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
                    del rows  # which may be a slice of all rows of a chunk
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

    def sessions(self, name: str, first: str = "", last: str = "9999-12-31") -> list[str]:
        """The sessions of a table that have a partition, in order, within bounds if wanted."""
        return self.store.partitions(name, first, last)

    def info(self, name: str, key: str) -> PartitionInfo | None:
        """The footer of a partition, or None if it was never written.

        Raises:
            WarehouseError: its footer is damaged or that of another place.
        """
        self.require_format()
        try:
            info = self._footer(name, key)
            if info.identity is not None or not self.reads_unsigned:
                self.identity(name, key).require(info.identity)
            return info
        except DamagedFileError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise self._damaged(name, key, error) from error
        except FileNotFoundError:
            return None

    def _footer(self, name: str, key: str) -> PartitionInfo:
        """The footer of a file; of a remote one its end is fetched, or all if that is too short."""
        parts = (name, f"date={key}", PART)
        if self.store.is_local:
            return read_info(self.store.path(*parts))
        try:
            return read_info(pa.BufferReader(self.store.tail(*parts)))
        except DamagedFileError:
            return read_info(pa.BufferReader(self.store.read(*parts)))

    def require(self, name: str, keys: Sequence[str], needed_by: str) -> None:
        """Confirm that partitions exist.

        Raises:
            MissingSessionsError: sessions are absent; the message names the range to run first.
        """
        missing = self.store.absent(name, keys)
        if missing:  # another machine may have made them since a listing was kept
            self.store.forget(name)
            missing = self.store.absent(name, missing)
        if missing:
            raise MissingSessionsError(
                f"{needed_by} reads {name} of {len(keys)} sessions, {keys[0]} to {keys[-1]}, and "
                f"{len(missing)} of them are not in the warehouse: {name_sessions(missing)}; "
                f"materialize {asset_of_table(name)} from {missing[0]} to {missing[-1]} first"
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
        with self._absent_named(name, keys, needed_by):
            return self._reads.read(name, keys, needed_by, columns)

    def read_one(self, name: str, key: str, *, needed_by: str) -> tuple[pa.Table, str]:
        """Read the rows of one session without the engine, and the digest of its file.

        Raises:
            MissingSessionsError: the session is absent.
            WarehouseError: the file is damaged.
        """
        self.require_format()
        with self._absent_named(name, [key], needed_by):
            raw = self.store.read(name, f"date={key}", PART)
        return pq.read_table(pa.BufferReader(raw)), self._digest(name, key, raw)

    def content(self, name: str, key: str) -> bytes:
        """Read the file of a partition and verify it, for this and later reads.

        Raises:
            FileNotFoundError: it was never written.
            WarehouseError: the file is damaged.
        """
        return self._reads.content(name, key)

    def digests(self, name: str, keys: Sequence[str], *, needed_by: str) -> dict[str, str]:
        """Verify every file and return the digest of each partition; raises as `read` does."""
        with self._absent_named(name, keys, needed_by):
            return self._reads.digests(name, keys)

    @contextmanager
    def _absent_named(self, name: str, keys: Sequence[str], needed_by: str) -> Iterator[None]:
        """Name the sessions that a read of some misses.

        A look at each comes first where that costs next to nothing; a remote store is asked for the
        files themselves, and for a listing only if one of them is absent.

        Raises:
            MissingSessionsError: sessions are absent.
        """
        self.require_format()
        if self.store.is_local:
            self.require(name, keys, needed_by)
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            self.require(name, keys, needed_by)
            raise

    def _digest(self, name: str, key: str, raw: bytes) -> str:
        """The digest of a file, confirmed."""
        try:
            return verify(raw, self.identity(name, key), unsigned=self.reads_unsigned)
        except DamagedFileError as error:
            raise self._damaged(name, key, error) from error

    def _damaged(self, name: str, key: str, error: Exception) -> WarehouseError:
        return WarehouseError(
            f"the partition {key} of {name} is {_condition(error)}: {error}; materialize "
            f"{asset_of_table(name)} of {key} again to replace "
            f"{self.store.url(name, f'date={key}', PART)}"
        )


def is_durable(table: Table, key: str) -> bool:
    """True if a partition that is made now is put on the disk for good.

    It is of a table that records an evening, and of a session whose scores may still be traded on:
    made later, as by a backfill, it can be made again.
    """
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=LONGEST_CLOSE_DAYS)
    return table.durable and key >= str(first)


def _until_error(parts: Iterable[_Part], errors: list[Exception]) -> Iterator[_Part]:
    """Yield parts until making one fails; the error is put into a list."""
    try:
        yield from parts
    except Exception as error:
        errors.append(error)


def _condition(error: Exception) -> str:
    if isinstance(error, UnsignedFileError):
        return "without identity"
    return "another file" if isinstance(error, MisplacedFileError) else "damaged"
