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
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.warehouse.arrow_rows import Rows, ordered_rows
from pipelines.warehouse.partition_file import Provenance, encode, verify
from pipelines.warehouse.schemas import Table
from pipelines.warehouse.store import PART, Store
from pipelines.warehouse.warehouse import Warehouse
from rnn_core.training.bundle_files import IDENTITY as _IDENTITY
from rnn_core.training.bundle_files import MANIFEST as _MANIFEST

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
    # It keeps the time when it was made: `sync` tells by that what was served.
    store.write_as_of(data, (table, f"date={key}", PART), *part(table, key, number))
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
        warehouse.store.write(data, *part(table.name, key, number), durable=True)
    return number


def _next_number(store: Store, table: str, key: str, data: bytes) -> int | None:
    """The number of a new revision; None if the newest one has these bytes already."""
    newest = max(numbers(store, table, key), default=0)
    if newest and store.read(*part(table, key, newest)) == data:
        return None
    return newest + 1


def drop_unchanged(store: Store, table: str, keys: Iterable[str]) -> list[str]:
    """Remove newest revisions whose bytes are still or again in place; returns their sessions.

    The file in place gets the time of the revision where files keep times: both are the same file.
    """
    dropped = []
    for key in keys:
        revisions = numbers(store, table, key)
        try:
            current = store.read(table, f"date={key}", PART)
        except FileNotFoundError:
            continue
        if revisions and store.read(*part(table, key, revisions[-1])) == current:
            revision = part(table, key, revisions[-1])
            if store.is_local:
                store.write_as_of(current, revision, table, f"date={key}", PART)
            store.remove(*revision)
            with suppress(OSError):  # an empty folder would be looked into by every step
                if store.is_local:
                    Path(store.path(FOLDER, table, f"date={key}")).rmdir()
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
    if revisions:
        return store.written(*part(table, key, revisions[0]))
    if not store.is_local:
        store.partitions(table)  # so that all of them are listed at once
    return store.written(table, f"date={key}", PART)


def numbers(store: Store, table: str, key: str) -> list[int]:
    """The revisions of a partition, oldest first."""
    files = _files(store, table, f"date={key}")
    matches = (_REVISION.search(name) for name in files)
    return sorted(int(match.group(1)) for match in matches if match)


def tables(store: Store) -> list[str]:
    """The tables that have a revision."""
    if store.is_local:  # every step asks, so only the first file of each is looked for
        below = store.below(FOLDER)
        return [t for t in below.tables() if any(Path(below.path(t)).glob("date=*/rev-*"))]
    return sorted({name.split("/")[0] for name in _files(store)})


def sessions(store: Store, table: str) -> list[str]:
    """The sessions of a table that have a revision, in order."""
    folders = {name.split("/")[0] for name in _files(store, table)}
    return sorted(folder.removeprefix("date=") for folder in folders)


def _files(store: Store, *parts: str) -> list[str]:
    """The revisions below a folder, as seen from it; a remote store lists all of them at once."""
    if store.is_local:
        names = store.files(FOLDER, *parts)
    else:
        inside = "/".join((*parts, ""))
        names = [n.removeprefix(inside) for n in store.files(FOLDER) if n.startswith(inside)]
    return [name for name in names if _REVISION.search(name)]


def part(table: str, key: str, number: int) -> tuple[str, ...]:
    """The path of a revision below the warehouse's root."""
    return FOLDER, table, f"date={key}", f"rev-{number}.parquet"


def keep_bundle(models: Store, model: str, as_of: str) -> None:
    """Keep a bundle beside the market's models; a bundle that does not exist is passed over.

    Raises:
        OSError: the copy cannot be written; nothing is left behind.
    """
    bundle = models.below(model, as_of)
    manifest, copy = _manifest(bundle), _kept_bundle(models, model, as_of)
    if manifest is None or copy is None or copy.exists(_MANIFEST):
        return
    contents = {_MANIFEST: manifest}
    for name in (*json.loads(manifest)["files"], _IDENTITY):
        with suppress(FileNotFoundError):  # a damaged bundle is kept as it is
            contents[name] = bundle.published(name, manifest)
    copy.publish(contents, _MANIFEST)
    copy.settle()


def drop_unchanged_bundle(models: Store, model: str, as_of: str) -> None:
    """Remove the copy of a bundle that is still in force."""
    copy = _kept_bundle(models, model, as_of)
    if copy is not None:
        copy.remove_all()


def _kept_bundle(models: Store, model: str, as_of: str) -> Store | None:
    """The folder of a bundle's copy; None if the bundle is absent or has no fingerprint."""
    manifest = _manifest(models.below(model, as_of))
    try:
        fingerprint = str(json.loads(manifest or b"")["fingerprint"])
    except (ValueError, KeyError, TypeError):
        return None
    return models.below(FOLDER, model, as_of, fingerprint[:16])


def _manifest(bundle: Store) -> bytes | None:
    try:
        return bundle.read(_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
