"""Leases of runs: how a host knows that a run of another host is still at work.

A process number tells nothing on another host, so the process that owns a run writes into the
record until when the run is to be taken for alive, and moves that moment on twice as often as it
comes due. A lease is one row of Dagster's table of cursors, which its SQLite and its Postgres have
alike, and no event. Its times are those of the database's clock, so that clocks of hosts may
differ. Once a lease has run out its process, or the way from it to the record, is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import KeyValueStoreTable
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

HEARTBEAT_SECONDS = 30.0
_MISSED = 2  # a lease outlasts so many heartbeats
_RETRY_SECONDS = 1.0  # after a heartbeat that failed, as while the database starts again
_PREFIX = "rnn/lease/"
_NOW = {  # seconds since 1970
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400",
    "mysql": "SELECT unix_timestamp(now(6))",
}
_beaten: dict[str, float] = {}  # by run, when this process last renewed its lease


@contextmanager
def beating(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keep the lease of a run from running out inside the block, from a thread of its own.

    A record in memory, or one that is not in SQL, has no leases.

    Args:
        instance: the record.
        run_id: a run that this process owns.
    """
    storage = instance.run_storage
    if instance.is_ephemeral or not isinstance(storage, SqlRunStorage):
        yield
        return
    done = threading.Event()
    due = _beaten.get(run_id, 0.0) + HEARTBEAT_SECONDS - time.monotonic()
    if due <= HEARTBEAT_SECONDS / 2:  # short steps of one run share a heartbeat
        due = _beat(storage, run_id)

    def beat() -> None:
        wait = due
        while not done.wait(wait):
            wait = _beat(storage, run_id)

    thread = threading.Thread(target=beat, name=f"heartbeat-{run_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _beat(storage: SqlRunStorage, run_id: str) -> float:
    """Renew a lease, and return the seconds until it is to be renewed again."""
    table, key = KeyValueStoreTable, _PREFIX + run_id
    try:
        with storage.connect() as connection:
            until = {"value": str(_now(connection) + _MISSED * HEARTBEAT_SECONDS)}
            renewed = connection.execute(db.update(table).where(table.c.key == key).values(until))
            if not renewed.rowcount:
                connection.execute(db.insert(table).values(key=key, **until))
    except (SQLAlchemyError, dg.DagsterError, OSError):  # the work does not depend on it
        return min(_RETRY_SECONDS, HEARTBEAT_SECONDS)
    _beaten.clear()  # a process executes one run at a time
    _beaten[run_id] = time.monotonic()
    return HEARTBEAT_SECONDS


def expired_leases(instance: dg.DagsterInstance) -> set[str]:
    """The runs whose lease has run out; those that never had one are not among them."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return set()
    table = KeyValueStoreTable
    query = db.select(table.c.key, table.c.value).where(table.c.key.startswith(_PREFIX))
    with storage.connect() as connection:
        now = _now(connection)
        leases: list[Any] = list(connection.execute(query))
    return {key.removeprefix(_PREFIX) for key, until in leases if float(until) < now}


def end_leases(instance: dg.DagsterInstance, runs: Collection[str]) -> None:
    """Forget the leases of runs that have ended."""
    storage, key = instance.run_storage, KeyValueStoreTable.c.key
    if runs and isinstance(storage, SqlRunStorage):
        with storage.connect() as connection:
            ended = key.in_([_PREFIX + run for run in runs])
            connection.execute(db.delete(KeyValueStoreTable).where(ended))


def _now(connection: Connection) -> float:
    return float(connection.exec_driver_sql(_NOW[connection.dialect.name]).scalar_one())
