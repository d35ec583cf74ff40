"""Dagster's record in Postgres with its connections kept open and its events in batches.

For several machines, or several people. The owner of a home chooses it in `dagster.yaml`; the extra
`postgres` brings Dagster's storages, of which these are subclasses:

    storage:
      custom:
        module: pipelines.instance.postgres_record
        class: PostgresRecord
        config:
          postgres_url: {env: RNN_RECORD_URL}

`config` has the keys of Dagster's own `storage: postgres`. As shipped, that opens a connection for
every question and commits an event up to three times. Here what a step did and found is one
transaction with the events before it (`held_events.py`), and so is a batch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as db
from dagster import AssetKey, EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS
from dagster._core.storage.event_log import EventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import ConcurrencySlotsTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DisconnectionError

from pipelines.instance.event_batches import (
    BatchedEvents,
    Row,
    ask_for_batches,
    kind_of,
    show_warning,
)
from pipelines.instance.held_events import HeldEvents

_DRIVER = "postgresql+psycopg2://"  # the one that dagster-postgres needs; SQLAlchemy has another
_OVERFLOW = 10  # connections of a process beside the one that stays open, as of parallel questions


class PostgresEventLog(BatchedEvents, PostgresEventLogStorage):
    """The event log in Postgres; `event_log_storage` of a `dagster.yaml` may name it by itself."""

    def __init__(self, postgres_url: str, *args: Any, **options: Any) -> None:
        self._held, self._open = HeldEvents(self._store_together), threading.local()
        super().__init__(with_driver(postgres_url), *args, **options)
        self._engine = _lasting_engine(self.postgres_url, self._token_provider)
        ask_for_batches()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PostgresEventLog:
        """Build from `dagster.yaml`."""
        return cls(inst_data=inst_data, **_options(config_value))

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event at once or, if it only tells progress, with those that follow.

        Args:
            event: the event.
        """
        self._held.add([event])
        show_warning(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction, with those that are held.

        Args:
            events: in order.
        """
        self._held.add(events)

    def _store_together(self, events: Sequence[EventLogEntry]) -> list[int]:
        """Store events in one transaction, with the results of checks, and return their numbers."""
        with self._all_on(self.index_transaction()):
            ids = super()._store_together(events)
            for event, event_id in zip(events, ids, strict=True):
                if kind_of(event) in ASSET_CHECK_EVENTS:
                    self.store_asset_check_event(event, event_id)
            return ids

    def run_connection(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        """A connection to the events of a run, what is held in this process among them."""
        if not self._is_open():
            self._held.store()
        return super().run_connection(run_id)

    def get_asset_partitions_for_run(
        self, run_id: str, of_type: Any = None
    ) -> Mapping[AssetKey, AbstractSet[str | None]]:
        """The partitions that events of a run name; none of those is held, and every step asks."""
        with self._all_on(self.index_connection()):
            return super().get_asset_partitions_for_run(run_id, of_type)

    @contextmanager
    def _all_on(self, connection: AbstractContextManager[Connection]) -> Iterator[None]:
        """Give one connection to whatever asks for one in this thread."""
        with connection as self._open.connection:
            try:
                yield
            finally:
                self._open.connection = None

    def _is_open(self) -> bool:
        return getattr(self._open, "connection", None) is not None

    def _connect(self) -> AbstractContextManager[Connection]:
        return nullcontext(self._open.connection) if self._is_open() else super()._connect()

    def _insert(self, index: Connection, rows: Sequence[Row]) -> list[int]:
        """Insert rows by one statement, and return their numbers in their order."""
        log = SqlEventLogStorageTable
        insert = db.insert(log).returning(log.c.id, sort_by_parameter_order=True)
        return list(index.execute(insert, list(rows)).scalars())

    def _reconcile_concurrency_limits_from_slots(self) -> None:
        """Leave the limits alone where every slot is to go once its run gives it back.

        Dagster's own then inserts a limit without a pool, which Postgres refuses. It is met where
        hosts have other settings of pools, until they agree.
        """
        live = db.select(ConcurrencySlotsTable.c.id).where(~ConcurrencySlotsTable.c.deleted)
        with self.index_connection() as connection:
            is_any = connection.execute(live.limit(1)).first() is not None
        if is_any:
            super()._reconcile_concurrency_limits_from_slots()

    def dispose(self) -> None:
        """Store what is held, and close the connections."""
        self._held.store()
        super().dispose()
        self._engine.dispose()


class PostgresRecord(DagsterPostgresStorage):
    """Runs, events and schedules in one Postgres database; `storage: custom` names it."""

    def __init__(self, postgres_url: str, *args: Any, **options: Any) -> None:
        super().__init__(with_driver(postgres_url), *args, **options)
        plain = self._event_log_storage
        self._batched = PostgresEventLog(
            plain.postgres_url, plain.should_autocreate_tables, token_provider=plain._token_provider
        )
        for storage in (self._run_storage, self._schedule_storage):
            storage._engine = _lasting_engine(storage.postgres_url, plain._token_provider)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PostgresRecord:
        """Build from `dagster.yaml`."""
        return cls(inst_data=inst_data, **_options(config_value))

    @property
    def event_log_storage(self) -> EventLogStorage:
        """The event log."""
        return self._batched


def with_driver(url: str) -> str:
    """A URL of Postgres that names the driver which is installed with the extra `postgres`."""
    scheme, separator, rest = url.partition("://")
    return _DRIVER + rest if separator and scheme in ("postgres", "postgresql") else url


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "postgres_url": pg_url_from_config(config),
        "should_autocreate_tables": config.get("should_autocreate_tables", True),
        "token_provider": get_token_provider_from_config(config),
    }


def _lasting_engine(url: str, token_provider: Any) -> Engine:
    """An engine that keeps a connection open, asks whether it still lives, and shares none."""
    engine = create_pg_engine(
        url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=_OVERFLOW,
        pool_pre_ping=True,
    )
    # A forked child must not talk on its parent's connection (SQLAlchemy's recipe).
    db.event.listen(engine, "connect", lambda _, record: record.info.update(pid=os.getpid()))
    db.event.listen(engine, "checkout", _require_own)
    return engine


def _require_own(_connection: Any, record: Any, proxy: Any) -> None:
    if record.info["pid"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("the connection belongs to the parent process")
