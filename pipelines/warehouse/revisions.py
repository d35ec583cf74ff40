"""Keep served partitions and bundles that were made again since, as revisions.

A revision is the former file with its provenance and digest, under
`.revisions/TABLE/date=…/rev-N.parquet`: outside the tables' folders, so that no glob over a table
finds it. The catalog shows it in the view `TABLE_revisions`, with the column `revision`; revision
1 was served first. The same bytes are not kept twice, so an interrupted run that is started again
keeps one revision.

The bundle of a model that is trained anew is kept as `models/.revisions/MODEL/SESSION/FINGERPRINT`:
the scores of a revision name the fingerprint of the model that gave them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.warehouse.arrow_rows import Rows, ordered_rows
from pipelines.warehouse.partition_file import Provenance, encode, verify
from pipelines.warehouse.schemas import Table
from pipelines.warehouse.store import PART, Store
from pipelines.warehouse.warehouse import Warehouse

FOLDER = ".revisions"
_REVISION = re.compile(r"rev-(\d+)\.parquet$")


def keep(store: Store, table: str, key: str) -> int | None:
    """Keep the present partition as its next revision.

    Args:
        store: the warehouse's files.
        table: the table.
        key: the session.

    Returns:
        The revision's number; None if the newest revision has the same bytes already.

    Raises:
        FileNotFoundError: there is no such partition.
        OSError: the revision cannot be written.
    """
    data = store.read(table, f"date={key}", PART)
    number = _next_number(store, table, key, data)
    if number is None:
        return None
    store.write(data, *part(table, key, number))
    if store.is_local:  # when it was made: `sync` tells by that what was served
        stat = Path(store.path(table, f"date={key}", PART)).stat()
        os.utime(store.path(*part(table, key, number)), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return number


def add(
    warehouse: Warehouse, table: Table, key: str, rows: Rows, provenance: Provenance
) -> int | None:
    """Keep rows that are no partition, as an order list for somebody's own book is none.

    Args:
        warehouse: the warehouse.
        table: columns, and the name under which they are kept.
        key: the session.
        rows: the rows.
        provenance: their origin.

    Returns:
        The revision's number; None if the newest revision has the same bytes already.

    Raises:
        OSError: the revision cannot be written.
    """
    identity = warehouse.identity(table.name, key)
    data, _ = encode(ordered_rows(table, rows), provenance, identity)
    number = _next_number(warehouse.store, table.name, key, data)
    if number is not None:
        warehouse.record.claim()
        warehouse.store.write(data, *part(table.name, key, number))
    return number


def _next_number(store: Store, table: str, key: str, data: bytes) -> int | None:
    """The number of a new revision; None if the newest one has these bytes already."""
    newest = max(numbers(store, table, key), default=0)
    if newest and store.read(*part(table, key, newest)) == data:
        return None
    return newest + 1


def drop_unchanged(store: Store, table: str, keys: Iterable[str]) -> list[str]:
    """Remove newest revisions whose bytes are still or again in place; returns their sessions.

    The file in place gets the time of the revision: both are the same file.
    """
    dropped = []
    for key in keys:
        revisions = numbers(store, table, key)
        try:
            current = store.read(table, f"date={key}", PART)
        except FileNotFoundError:
            continue
        if revisions and store.read(*part(table, key, revisions[-1])) == current:
            revision = store.path(*part(table, key, revisions[-1]))
            if store.is_local:
                stat = Path(revision).stat()
                in_place = store.path(table, f"date={key}", PART)
                os.utime(in_place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            store.fs.rm(revision)
            dropped.append(key)
    return dropped


def first_rows(warehouse: Warehouse, table: str, key: str) -> pd.DataFrame:
    """Read the first revision of a partition.

    Raises:
        FileNotFoundError: it has none.
        DamagedFileError: its bytes are not those that were written at its place.
    """
    store = warehouse.store
    raw = store.read(*part(table, key, numbers(store, table, key)[0]))
    verify(raw, warehouse.identity(table, key))
    rows: pd.DataFrame = pq.read_table(pa.BufferReader(raw)).to_pandas()
    return rows


def first_written(store: Store, table: str, key: str) -> float:
    """The time at which the oldest kept version of a partition was written, seconds since 1970.

    Raises:
        FileNotFoundError: there is no such partition.
    """
    revisions = numbers(store, table, key)
    parts = part(table, key, revisions[0]) if revisions else (table, f"date={key}", PART)
    if store.is_local:
        return Path(store.path(*parts)).stat().st_mtime
    when: float = store.fs.modified(store.path(*parts)).timestamp()
    return when


def numbers(store: Store, table: str, key: str) -> list[int]:
    """The revisions of a partition, oldest first."""
    folder = store.path(FOLDER, table, f"date={key}")
    if not store.fs.exists(folder):
        return []
    matches = (_REVISION.search(str(path)) for path in store.fs.ls(folder, detail=False))
    return sorted(int(match.group(1)) for match in matches if match)


def tables(store: Store) -> list[str]:
    """The tables that have a revision."""
    return sorted({path.rsplit("/", 3)[-3] for path in _files(store, "*")})


def sessions(store: Store, table: str) -> list[str]:
    """The sessions of a table that have a revision, in order."""
    folders = {path.rsplit("/", 2)[-2] for path in _files(store, table)}
    return sorted(folder.removeprefix("date=") for folder in folders)


def _files(store: Store, table: str) -> list[str]:
    """The revisions of a table, or of all (`*`)."""
    pattern = f"{table}/date=*/rev-*.parquet"
    if store.is_local:  # a bracket in the path of the warehouse is no pattern
        return [path.as_posix() for path in Path(store.path(FOLDER)).glob(pattern)]
    return [str(path) for path in store.fs.glob(store.path(FOLDER, pattern))]


def part(table: str, key: str, number: int) -> tuple[str, ...]:
    """The path of a revision below the warehouse's root."""
    return FOLDER, table, f"date={key}", f"rev-{number}.parquet"


def keep_bundle(models: Path, model: str, as_of: str) -> None:
    """Keep a bundle beside the market's models; a bundle that does not exist is passed over.

    Raises:
        OSError: the copy cannot be written; nothing is left behind.
    """
    copy = _kept_bundle(models, model, as_of)
    if copy is None or copy.exists():
        return
    temporary = copy.with_name(f".{copy.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(models / model / as_of, temporary)
        temporary.rename(copy)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def drop_unchanged_bundle(models: Path, model: str, as_of: str) -> None:
    """Remove the copy of a bundle that is still in force."""
    copy = _kept_bundle(models, model, as_of)
    if copy is not None:
        shutil.rmtree(copy, ignore_errors=True)


def _kept_bundle(models: Path, model: str, as_of: str) -> Path | None:
    """The folder of a bundle's copy; None if the bundle is absent or has no fingerprint."""
    manifest = models / model / as_of / "manifest.json"
    try:
        fingerprint = str(json.loads(manifest.read_bytes())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return models / FOLDER / model / as_of / fingerprint[:16]
