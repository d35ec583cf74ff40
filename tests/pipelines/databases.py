"""Databases of Dagster's record that tests are given, instead of made anew by each of them.

Dagster makes an engine for every look at its runs, which then compiles its statements anew, and
the tables of a database for each run and each home: together a tenth of the time of the tests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as db
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy.pool import NullPool


def make_databases_once(patch: pytest.MonkeyPatch) -> None:
    """Let empty databases be copies, keep engines, and read Dagster's migrations once."""
    read_once = cache(ScriptDirectory.from_config)
    patch.setattr(ScriptDirectory, "from_config", staticmethod(read_once))
    for module, storage, name in (
        (sqlite_run_storage, sqlite_run_storage.SqliteRunStorage, "runs.db"),
        (sqlite_schedule_storage, sqlite_schedule_storage.SqliteScheduleStorage, "schedules.db"),
    ):
        # Such an engine holds no connection: a file that was replaced is opened anew.
        patch.setattr(module, "create_engine", lru_cache(64)(module.create_engine))
        patch.setattr(storage, "from_local", classmethod(_copied(storage.from_local, name)))
    patch.setattr(SqliteEventLogStorage, "_initdb", _initialized(SqliteEventLogStorage._initdb))


def _copied(make: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A maker of a storage that begins with a copy of the first empty database that it made."""

    @cache
    def empty() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            make(folder)
            return Path(folder, name).read_bytes()

    def from_local(cls: type, base_dir: str, inst_data: Any = None) -> Any:
        path = Path(base_dir, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(empty())
        return make(base_dir, inst_data)

    return from_local


def _initialized(initialize: Callable[..., None]) -> Callable[..., None]:
    """The same for a database of events, of which each run has one."""

    @cache
    def empty(storage: type) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "run.db")
            engine = db.create_engine(f"sqlite:///{path}", poolclass=NullPool)
            initialize(object.__new__(storage), engine)
            return path.read_bytes()

    def initdb(self: Any, engine: db.Engine, for_index_shard: bool = False) -> None:
        path = engine.url.database
        if path and Path(path).parent.is_dir() and not Path(path).exists():
            Path(path).write_bytes(empty(type(self)))
        initialize(self, engine, for_index_shard)

    return initdb
