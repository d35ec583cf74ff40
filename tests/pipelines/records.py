"""Dagster records of tests, in SQLite or in a Postgres server of the tests' own.

A module whose tests hold for both kinds says `pytestmark = on_both_records`; those of Postgres are
run by `make cluster-test`. The server is started
once a process, from Debian's binaries, as an ordinary user and on a Unix socket; where there are
none its tests are skipped.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from sqlalchemy.engine import Connection

from pipelines.instance import resting_record, settings

SQLITE, POSTGRES = "sqlite", "postgres"
on_both_records = [
    pytest.mark.usefixtures("record_kind"),
    pytest.mark.parametrize(
        "record_kind", [SQLITE, pytest.param(POSTGRES, marks=pytest.mark.cluster)], indirect=True
    ),
]
_ORDINARY = "nobody"  # Postgres refuses to run as root
_QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
_NO_COMPUTE_LOGS = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
    "config": {},
}
_kind = SQLITE


def open_record(folder: Path) -> dg.DagsterInstance:
    """A Dagster record of a folder, its events stored in batches.

    It is of the kind that the module's tests are run on. A record in memory takes 13 ms an event.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _kind == SQLITE and not any(folder.glob("*")):
        shutil.copytree(_empty_record().name, folder, dirs_exist_ok=True)
    return _open(folder, _kind)


def _open(folder: Path, kind: str) -> dg.DagsterInstance:
    if kind == POSTGRES:
        stores: dict[str, Any] = {"storage": postgres_storage(folder)}
    else:
        stores = {
            "event_log_storage": {
                "module": "pipelines.instance.event_log",
                "class": "LocalEventLogStorage",
                "config": {"base_dir": str(folder / "events")},
            }
        }
    return dg.DagsterInstance.local_temp(
        str(folder), overrides={**stores, "compute_logs": _NO_COMPUTE_LOGS}
    )


@cache
def _empty_record() -> tempfile.TemporaryDirectory[str]:
    """The databases of an empty record, made once a process; records begin as copies of them."""
    folder = tempfile.TemporaryDirectory(prefix="empty-record-")
    with _open(Path(folder.name), SQLITE):
        return folder


@contextmanager
def own_record() -> Iterator[dg.DagsterInstance]:
    """A Dagster record of its own, gone with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="record-") as folder,
        open_record(Path(folder)) as record,
    ):
        yield record


def lose_record(home: Path) -> None:
    """Take away a home, and its database where its record is in Postgres."""
    shutil.rmtree(home)
    if _kind == POSTGRES:
        postgres_server().drop(home)


def postgres_storage(folder: Path) -> dict[str, Any]:
    """The value of `storage` that gives a folder a database of its own."""
    return {
        "custom": {
            "module": "pipelines.instance.postgres_record",
            "class": "PostgresRecord",
            "config": {"postgres_url": postgres_server().database(folder)},
        }
    }


@pytest.fixture(scope="module")
def record_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of database in which the records of a module's tests are, homes included."""
    global _kind
    if request.param == POSTGRES:
        postgres_server()  # or a skip
    shipped = settings.shipped_settings

    def in_postgres(home: Path) -> str:
        keys = settings.parse_yaml(home, shipped(home).encode())
        del keys["event_log_storage"]
        return settings.yaml.safe_dump({**keys, "storage": postgres_storage(home)})

    with pytest.MonkeyPatch.context() as patch:
        if request.param == POSTGRES:
            patch.setattr(settings, "shipped_settings", in_postgres)
            patch.setattr(resting_record, "are_shipped", lambda home: False)  # those are SQLite's
        _kind = request.param
        yield request.param
        _kind = SQLITE


class PostgresServer:
    """A Postgres server on a Unix socket in a folder of its own; it ends with this object.

    Args:
        binaries: folder of `initdb` and `postgres`.
    """

    def __init__(self, binaries: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pg-")  # short: a socket's path is
        self.folder = Path(self._folder.name)
        is_root = os.geteuid() == 0
        if is_root:
            shutil.chown(self.folder, _ORDINARY)
        self._as_user: dict[str, Any] = {"user": _ORDINARY} if is_root else {}
        data = self.folder / "data"
        self._run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N")
        options = [f"{name}={value}" for name, value in _QUICK.items()]
        words = [word for option in options for word in ("-c", option)]
        self._log = (self.folder / "log").open("w")
        self._server = subprocess.Popen(
            [
                binaries / "postgres",
                "-D",
                data,
                "-k",
                self.folder,
                "-c",
                "listen_addresses=",
                *words,
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **self._as_user,
        )
        self._run(binaries / "pg_isready", "-h", self.folder, "-t", "30", patience=30)

    def _run(self, *words: object, patience: float = 0) -> None:
        """Run a program of Postgres; with patience until it ends well."""
        deadline = time.monotonic() + patience
        while True:
            ended = subprocess.run(
                list(map(str, words)), capture_output=True, text=True, cwd="/", **self._as_user
            )
            if ended.returncode == 0:
                return
            if time.monotonic() >= deadline:
                raise RuntimeError(f"{words[0]}: {ended.stdout}{ended.stderr}")
            time.sleep(0.05)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, without the name of a driver, as owners write it."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def database(self, folder: Path) -> str:
        """The URL of the database of a folder, which is made if absent, with Dagster's tables."""
        name = _name(folder)
        self._make(name, "record_template")
        return self.url(name)

    def drop(self, folder: Path) -> None:
        """Drop the database of a folder, whoever is connected to it."""
        with self._connected() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {_name(folder)} WITH (FORCE)")

    def close_connections(self, folder: Path) -> None:
        """End every connection to the database of a folder, as a server that starts again does."""
        with self._connected() as connection:
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608
                f"WHERE datname = '{_name(folder)}'"
            )

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from pipelines.instance.postgres_record import with_driver

        engine = db.create_engine(with_driver(self.url()), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def _make(self, name: str, template: str | None) -> None:
        from pipelines.instance.postgres_record import PostgresRecord

        with self._connected() as connection:
            names = {
                row[0] for row in connection.exec_driver_sql("SELECT datname FROM pg_database")
            }
            if template is not None and template not in names:
                self._make(template, None)
            if name not in names:
                like = f" TEMPLATE {template}" if template else ""
                connection.exec_driver_sql(f"CREATE DATABASE {name}{like}")
        if template is None:
            record = PostgresRecord(self.url(name))
            record.event_log_storage.dispose()
            for storage in (record.run_storage, record.schedule_storage):
                storage._engine.dispose()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._server.send_signal(signal.SIGINT)  # at once, whoever is connected
        self._server.wait(30)
        self._log.close()
        self._folder.cleanup()


def _name(folder: Path) -> str:
    return f"r{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"


@cache
def _started() -> PostgresServer:
    server = PostgresServer(_binaries())
    atexit.register(server.stop)
    return server


def _binaries() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parts[-2]))
    on_path = shutil.which("initdb")
    found = [f for f in folders if (f / "initdb").is_file()]
    found += [Path(on_path).resolve().parent] if on_path else []
    if not found:
        pytest.skip("no Postgres here: apt-get install postgresql")
    return found[-1]


def postgres_server() -> PostgresServer:
    """The server of this process, started at the first call; skips the test without Postgres."""
    pytest.importorskip("dagster_postgres", reason="the extra `postgres` is not installed")
    _binaries()
    return _started()
