"""Locks between hosts: Postgres's advisory locks, where the record is in Postgres.

A lock belongs to a connection of its own, and the server releases it when the connection dies: of
a process that was killed at once, of a host that is gone within a minute, since the server then
asks whether the other end still answers. The holder is the connection's name, which
`pg_stat_activity` shows. A pooler that hands one connection to several sessions, as PgBouncer's
transaction mode does, has no such locks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as db
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipelines.errors import WarehouseError
from pipelines.instance.home import open_home

POLL_SECONDS = 0.5
_KEEPALIVE = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 4}
_HOLDER = db.text(
    "SELECT activity.application_name FROM pg_locks JOIN pg_stat_activity AS activity USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = :high "
    "AND objid = :low AND database = (SELECT oid FROM pg_database WHERE datname = "
    "current_database())"
)
_PROGRAM = "rnn"
_held: set[tuple[str, int]] = set()  # names of locks, by thread
_sockets: set[int] = set()


def record_server(home: Path) -> Engine | None:
    """The Postgres server that holds the record of a home; None if it is no such record.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
    """
    from dagster_postgres import PostgresEventLogStorage
    from dagster_postgres.utils import create_pg_engine

    from pipelines.instance.postgres_record import with_driver

    with open_home(home, writes=False) as instance:
        storage = instance.event_log_storage
        if not isinstance(storage, PostgresEventLogStorage):
            return None
        return create_pg_engine(
            with_driver(storage.postgres_url),
            storage._token_provider,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )


@contextmanager
def record_locks(
    server: Engine,
    names: Sequence[str],
    holder: Mapping[str, Any],
    on_busy: Callable[[dict[str, Any]], None],
) -> Iterator[None]:
    """Hold some locks inside the block; waiting can be interrupted.

    Args:
        server: from `record_server`.
        names: of the locks, `MARKET/ASSET`, taken in this order.
        holder: the process that takes them, `pid` and perhaps `run_id`, for those who wait.
        on_busy: called with the holder at each look that finds a lock taken; to give up it raises.

    Raises:
        RuntimeError: this thread holds one of them.
        WarehouseError: the server cannot be asked.
    """
    mine = {(name, threading.get_ident()) for name in names}
    if again := mine & _held:
        raise RuntimeError(f"Deadlock: this thread holds the lock {min(again)[0]} already")
    with _connected(server, holder) as connection:
        for name in names:
            while not _take(connection, name):
                on_busy(_holder_of(connection, name))
                time.sleep(POLL_SECONDS)
        _held.update(mine)
        try:
            yield
        finally:
            _held.difference_update(mine)
            try:
                connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
            except SQLAlchemyError as error:
                logging.getLogger(__name__).warning(
                    "the lock of %s was lost with its connection before its work had ended (%s); "
                    "another process may have made the same partitions meanwhile, which are whole "
                    "and of the same bytes",
                    ", ".join(names),
                    error,
                )


@contextmanager
def _connected(server: Engine, holder: Mapping[str, Any]) -> Iterator[Connection]:
    """A connection of the locks' own, which bears the name of the holder."""
    try:
        connection = server.connect()
        for name, value in {**_KEEPALIVE, "application_name": _to_name(holder)}.items():
            setting = {"name": name, "value": str(value)}
            connection.execute(db.text("SELECT set_config(:name, :value, false)"), setting)
        descriptor = connection.connection.dbapi_connection.fileno()  # type: ignore[union-attr]
    except SQLAlchemyError as error:
        # As of a network: a run tries again.
        raise WarehouseError(
            f"cannot take a lock in the record, {server.url.render_as_string()}: {error}; check "
            f"that the server runs and takes connections"
        ) from ConnectionError(str(error))
    _sockets.add(descriptor)
    try:
        yield connection
    finally:
        _sockets.discard(descriptor)
        with suppress(SQLAlchemyError):
            connection.close()


def _take(connection: Connection, name: str) -> bool:
    query = db.text("SELECT pg_try_advisory_lock(:key)")
    return bool(connection.execute(query, {"key": _key(name)}).scalar_one())


def _holder_of(connection: Connection, name: str) -> dict[str, Any]:
    """The holder of a lock; empty if it has let go meanwhile or is no process of ours."""
    key = _key(name)
    halves = {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
    words = str(connection.execute(_HOLDER, halves).scalar() or "").split(" ")
    if len(words) != 4 or words[0] != _PROGRAM or not words[1].isdigit():
        return {}
    run = {"run_id": words[2]} if words[2] != "-" else {}
    return {"pid": int(words[1]), "host": words[3], **run, "asset": name.rpartition("/")[2]}


def _to_name(holder: Mapping[str, Any]) -> str:
    """The holder in the 63 bytes that Postgres keeps of a connection's name."""
    run = str(holder.get("run_id") or "-")[:8]
    return f"{_PROGRAM} {holder['pid']} {run} {socket.gethostname()}"[:63]


def _key(name: str) -> int:
    """The number that Postgres knows a lock by."""
    digest = hashlib.sha256(f"rnn-pipelines/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _let_go() -> None:
    """Let a forked child keep no lock of its parent's: the descriptors lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in _sockets:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    _sockets.clear()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
