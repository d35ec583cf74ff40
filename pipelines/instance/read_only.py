"""Dagster's SQLite storages for commands that only read: no file is created, changed or touched.

As shipped, opening a storage makes folders and databases, and reading a database at rest makes and
removes its `-wal` and `-shm` files. Here a database at rest is opened as immutable, one that
another process has open through the files which are there, and one that is absent reads as empty.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as db
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool


class ReadOnlyEventLogStorage(SqliteEventLogStorage):
    """The event log below a folder, as `SqliteEventLogStorage` and `LocalEventLogStorage` keep it.

    Args:
        base_dir: folder of the databases, which need not exist.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._base_dir = base_dir
        self._inst_data = inst_data
        self._obs = None

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ReadOnlyEventLogStorage:
        """Build from the instance's settings."""
        return cls(config_value["base_dir"], inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        path = Path(self.path_for_shard(shard))
        with _read_connection(path, SqlEventLogStorageMetadata) as connection:
            yield connection


class ReadOnlyRunStorage(SqliteRunStorage):
    """The runs below a folder, as `SqliteRunStorage` keeps them; the folder need not exist."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ReadOnlyRunStorage:
        """Build from the instance's settings."""
        return cls(str(Path(config_value["base_dir"]) / "runs.db"), inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open the database for one question."""
        with _read_connection(Path(self._conn_string), RunStorageSqlMetadata) as connection:
            yield connection


@contextmanager
def _read_connection(path: Path, tables: db.MetaData) -> Iterator[Connection]:
    uri = ":memory:"
    if path.is_file():
        # While a writer has the database open its newest rows are in the -wal file.
        at_rest = not path.with_name(f"{path.name}-wal").exists()
        uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if at_rest else ''}"
    engine = db.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=SQLITE_BUSY_TIMEOUT_SECONDS),
        poolclass=NullPool,
    )
    with engine.connect() as connection, connection.begin():
        if uri == ":memory:":
            tables.create_all(connection)
        yield connection


_CLASSES = {
    "SqliteEventLogStorage": ReadOnlyEventLogStorage,
    "LocalEventLogStorage": ReadOnlyEventLogStorage,
    "SqliteRunStorage": ReadOnlyRunStorage,
    "SqliteScheduleStorage": None,  # nothing is asked of it
}


def read_only(ref: InstanceRef) -> InstanceRef:
    """The same instance with its SQLite storages opened for reading; other storages stay."""

    def storage(data: ConfigurableClassData | None) -> ConfigurableClassData | None:
        if data is None or data.class_name not in _CLASSES:
            return data
        chosen = _CLASSES[data.class_name]
        return chosen and ConfigurableClassData(__name__, chosen.__name__, data.config_yaml)

    old = (ref.run_storage_data, ref.event_storage_data, ref.schedule_storage_data)
    new = tuple(map(storage, old))
    if new == old:
        return ref
    return ref._replace(
        storage_data=None,
        run_storage_data=new[0],
        event_storage_data=new[1],
        schedule_storage_data=new[2],
    )
