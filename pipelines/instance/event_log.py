"""Dagster's SQLite event log with its connections kept open, in batches and without fsync.

As shipped, every event opens new connections and waits for the disk twice. Here one connection per
database stays open, with `PRAGMA synchronous=OFF`, and `BatchedEvents` stores what Dagster hands
over together. That is fair because the log is not the truth: the warehouse is, and a log lost to a
power cut costs a re-run that changes no byte. A crash of the process loses nothing that was handed
over.

`dagster.yaml` names this class; every process that opens the home uses it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as db
from dagster import StringSource
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from pipelines.instance.event_batches import BatchedEvents, Row, ask_for_batches

_OPEN_DATABASES = 32  # the index and the runs looked at last; each holds a few file handles


class LocalEventLogStorage(BatchedEvents, SqliteEventLogStorage):
    """The event log of one machine: a database a run and one index, below `$DAGSTER_HOME`.

    Args:
        base_dir: folder of the databases.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)
        # Re-entrant, since a batch holds two databases at once.
        self._db_lock = threading.RLock()  # type: ignore[assignment]
        ask_for_batches()

    @classmethod
    def config_type(cls) -> Any:
        """The keys of the storage's `config` in `dagster.yaml`."""
        return {"base_dir": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> LocalEventLogStorage:
        """Build from `dagster.yaml`."""
        return cls(config_value["base_dir"], inst_data)

    @contextmanager
    def _run_log(self, rows: Sequence[Row]) -> Iterator[None]:
        """Store rows in the database of their run, which commits before the index.

        If it fails, neither database has an event, and Dagster stores them one by one. If the index
        fails to commit after it, the run's database has the events already and gets each a second
        time: the log of that run shows them twice, while the index, which says what is
        materialized, has each once.
        """
        with self.run_connection(rows[0]["run_id"]) as run:
            run.execute(SqlEventLogStorageTable.insert(), rows)
            yield

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        """Open the database of a shard; beyond the limit close the one used longest ago."""
        engine = self._engines.get(shard)
        if engine is None or not Path(self.path_for_shard(shard)).exists():
            self._close(shard)
            engine = db.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            db.event.listen(engine, "connect", _no_fsync)
            self._initdb(engine)
            self._initialized_dbs.add(shard)
            self._engines[shard] = engine
            while len(self._engines) > _OPEN_DATABASES:
                self._close(next(iter(self._engines)))
        self._engines.move_to_end(shard)
        return engine

    def close_log(self, run_id: str) -> None:
        """Close the database of a run, whose files are about to be removed."""
        with self._db_lock:
            self._close(run_id)

    def _close(self, shard: str) -> None:
        engine = self._engines.pop(shard, None)
        if engine is not None:
            engine.dispose()

    def dispose(self) -> None:
        """Close every database."""
        for shard in list(self._engines):
            self._close(shard)
        super().dispose()


def _no_fsync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
