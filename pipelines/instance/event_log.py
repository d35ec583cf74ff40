"""Dagster's SQLite event log with its connections kept open, in batches and without fsync.

A range run writes two events for every asset and session. As shipped, each opens new connections
and waits for the disk twice; the log, not the work, then bounds a backfill. Here one connection
per database stays open, with `PRAGMA synchronous=OFF`, and the events that Dagster hands over
together (all sessions of an asset) are stored in one transaction. That is fair because the log is
not the truth: the warehouse is, and a log lost to a power cut costs a re-run that changes no byte.
A crash of the process loses nothing that was handed over.

`dagster.yaml` names this class; every process that opens the home uses it. Figures are in
`benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as db
from dagster import DagsterEventType, EventLogEntry, StringSource
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

_OPEN_DATABASES = 32  # the index and the runs looked at last; each holds a few file handles
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"  # Dagster's variable; unset, it hands over one by one
_BATCH_EVENTS = 1000  # bounds what waits in memory, a few kB an event
_BATCHED = {
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_MATERIALIZATION,
}


class LocalEventLogStorage(SqliteEventLogStorage):
    """The event log of one machine: a database a run and one index, below `$DAGSTER_HOME`.

    Args:
        base_dir: folder of the databases.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)
        # Re-entrant, since a batch holds two databases at once.
        self._db_lock = threading.RLock()  # type: ignore[assignment]
        os.environ.setdefault(_BATCH_SIZE, str(_BATCH_EVENTS))

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

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events as `store_event` does, neighbours of one kind in one transaction.

        The plan of a run is one batch: the partitions of each asset, then its checks, which are
        stored one by one.

        Args:
            events: in order.
        """
        for (_, batched), some in groupby(events, lambda e: (e.run_id, _kind(e) in _BATCHED)):
            if batched:
                self._store_together(list(some))
            else:
                super().store_event_batch(list(some))

    def _store_together(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run in one transaction of its database and of the index.

        The run's database commits first. If it fails, neither database has an event, and Dagster
        stores them one by one. If the index fails to commit after it, the run's database has the
        events already and gets each a second time: the log of that run shows them twice, while the
        index, which says what is materialized, has each once.
        """
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert()
        # The context entered last is left, and commits, first.
        with self.index_transaction() as index, self.run_connection(events[0].run_id) as run:
            run.execute(insert, rows)
            keys = [index.execute(insert, row).inserted_primary_key for row in rows]
            ids = [int(key[0]) for key in keys if key is not None]
            self._store_asset_event_tags(index, events, ids)
            # The row of an asset says what happened to it last: earlier events would be replaced.
            newest = {(r["asset_key"], r["dagster_event_type"]): at for at, r in enumerate(rows)}
            for at in newest.values():
                self._store_asset_event(index, events[at], ids[at])

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """One row a planned check, where Dagster writes one a session and never completes them.

        A check of a range run is evaluated once, without a partition; the rows that Dagster plans
        for every session of the range would stay planned for good, at 5 ms each.
        """
        planned = event.get_dagster_event()
        data = planned.event_specific_data
        if isinstance(data, AssetCheckEvaluationPlanned) and data.partitions_subset is not None:
            of_run = AssetCheckEvaluationPlanned(
                asset_key=data.asset_key, check_name=data.check_name
            )
            whole = planned._replace(event_specific_data=of_run)
            event = event._replace(dagster_event=whole)
        super()._store_asset_check_evaluation_planned(event, event_id)

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

    def _close(self, shard: str) -> None:
        engine = self._engines.pop(shard, None)
        if engine is not None:
            engine.dispose()

    def dispose(self) -> None:
        """Close every database."""
        for shard in list(self._engines):
            self._close(shard)
        super().dispose()


def _kind(event: EventLogEntry) -> DagsterEventType | None:
    return event.dagster_event_type if event.is_dagster_event else None


def _no_fsync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
