"""The points at which a process changes something outside itself, and the faults put there.

A point is a write, a rename, a link, a removal, a new folder, an fsync, a commit of SQLite or a
statement of DuckDB. `patched` replaces the functions through which the project and its libraries
reach them, so that each passes `Points.reach`: the undisturbed run writes them down, and a
disturbed one ends, or finds its disk full, at the one that a `Fault` names.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from pipelines.warehouse import local_store
from rnn_core import atomic

KILL, FULL = "kill", "full"
BEFORE, HALF, AFTER = "before", "half", "after"
_RUN_LOG = re.compile(r"[0-9a-f-]{36}\.db")
_TEMPORARY = re.compile(r"\.(.+?)\.[0-9a-f]{8}-\d+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True)
class Fault:
    """A fault of a process.

    Attributes:
        effect: `KILL` ends the process, `FULL` is a disk that is full from this point on.
        kind: the kind of the point, as `rename`.
        group: the part of the data folder that it is in, as `warehouse/alpha158`.
        number: its number among those of its kind and group, from 0.
        moment: before, after, or with half of the bytes written.
        later: kinds and groups before whose first point the fault comes at the latest, since what
            an earlier process of the chain has done is not done again.
    """

    effect: str
    kind: str
    group: str
    number: int
    moment: str
    later: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        return f"{self.effect} {self.moment} {self.kind} {self.number} of {self.group}"


class Points:
    """The points that this process reaches.

    Args:
        data: the data folder; nothing outside it is a point.
        fault: the fault; None to note the points only.
    """

    def __init__(self, data: Path, fault: Fault | None) -> None:
        self._data, self._fault = str(data), fault
        self._lock = threading.Lock()
        self._full = False
        self.counts: Counter[tuple[str, str]] = Counter()

    def group_of(self, path: Any) -> str | None:
        """The part of the data folder in which a path lies; None if it is outside."""
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if not text.startswith(self._data):
            return None
        names = [_TEMPORARY.sub(r"\1", name) for name in Path(text[len(self._data) + 1 :]).parts]
        names = [_RUN_LOG.sub("RUN.db", name) for name in names]
        if names[:1] == ["dagster"]:
            return "/".join(names[-2:])
        return "/".join(names[1:3]) if len(names) > 1 else "/".join(names)

    def reach(
        self, kind: str, path: Any, do: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Pass a point.

        Args:
            kind: of the point.
            path: what it changes.
            do: changes it.
            half: changes half of it.
        """
        group = self.group_of(path)
        if group is None:
            return do()
        with self._lock:
            number = self.counts[kind, group]
            self.counts[kind, group] += 1
        fault = self._fault
        if self._full and kind == "commit":
            raise sqlite3.OperationalError("database or disk is full")
        if self._full and kind in ("write", "mkdir", "duckdb"):
            self._no_space(path)
        if fault is not None and (kind, group) in fault.later:
            self._end()
        if fault is None or (fault.kind, fault.group, fault.number) != (kind, group, number):
            return do()
        if fault.moment == HALF and half is not None:
            half()
        if fault.effect == FULL:
            self._full = True
            self._no_space(path)
        if fault.moment == AFTER:
            do()
        return self._end()

    def _no_space(self, path: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _end(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal comes
        sys.exit("a killed process goes on")


def patched(points: Points) -> None:
    """Lead every change of this process through its points, for the rest of its life."""
    _patch_files(points)
    _patch_databases(points)


def _patch_files(points: Points) -> None:
    for name, kind in (("replace", "rename"), ("rename", "rename"), ("link", "link")):
        _wrap(points, os, name, kind, lambda source, target, *a, **k: target)
    for name in ("unlink", "rmdir"):
        _wrap(points, os, name, "remove", lambda path, *a, **k: path)
    _wrap(points, os, "mkdir", "mkdir", lambda path, *a, **k: path)
    _wrap(points, os, "fsync", "fsync", lambda fd: Path(f"/proc/self/fd/{fd}").readlink())
    write_bytes = pathlib.Path.write_bytes

    def written(path: Path, data: bytes) -> int:
        raw = bytes(memoryview(data))

        def half() -> None:
            write_bytes(path, raw[: len(raw) // 2])

        result: int = points.reach("write", path, lambda: write_bytes(path, raw), half)
        return result

    pathlib.Path.write_bytes = written  # type: ignore[method-assign, assignment]
    write_file = atomic.write_file

    def file_written(path: Path, data: bytes, **how: Any) -> None:
        def half() -> None:
            write_bytes(path, bytes(memoryview(data))[: len(data) // 2])

        points.reach("write", path, lambda: write_file(path, data, **how), half)

    for module in (atomic, local_store):
        module.write_file = file_written  # type: ignore[attr-defined]


def _wrap(points: Points, owner: Any, name: str, kind: str, path_of: Callable[..., Any]) -> None:
    plain = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return points.reach(kind, path_of(*args, **kwargs), lambda: plain(*args, **kwargs))

    setattr(owner, name, wrapped)


def _patch_databases(points: Points) -> None:
    import duckdb
    from sqlalchemy.engine.default import DefaultDialect

    commit = DefaultDialect.do_commit

    def committed(dialect: Any, connection: Any) -> None:
        rows = connection.cursor().execute("PRAGMA database_list").fetchall()
        points.reach("commit", rows[0][2] if rows else "", lambda: commit(dialect, connection))

    DefaultDialect.do_commit = committed  # type: ignore[method-assign]
    connect = duckdb.connect

    def connected(path: str = ":memory:", **settings: Any) -> Any:
        if path == ":memory:" or settings.get("read_only"):
            return connect(path, **settings)
        made = points.reach("duckdb", path, lambda: connect(path, **settings))
        return _Statements(points, path, made)

    duckdb.connect = connected


class _Statements:
    """A connection of DuckDB whose statements are points."""

    def __init__(self, points: Points, path: str, connection: Any) -> None:
        self._points, self._path, self._connection = points, path, connection

    def execute(self, *args: Any) -> Any:
        return self._points.reach("duckdb", self._path, lambda: self._connection.execute(*args))

    def executemany(self, *args: Any) -> Any:
        return self._points.reach("duckdb", self._path, lambda: self._connection.executemany(*args))

    def close(self) -> None:
        self._points.reach("duckdb", self._path, self._connection.close)


def at(moment: datetime) -> None:
    """Set the clock of this process, which goes on from there."""
    import datetime as module
    from types import SimpleNamespace

    import pandas as pd

    from pipelines.market import market

    ahead, real, stamp = moment.timestamp() - time.time(), time.time, pd.Timestamp.now

    def now(tz: Any = None) -> Any:
        return module.datetime.fromtimestamp(real() + ahead, tz)

    market.dt = SimpleNamespace(datetime=SimpleNamespace(now=now), UTC=module.UTC)
    time.time = lambda: real() + ahead
    pd.Timestamp.now = lambda tz=None: stamp(tz) + pd.Timedelta(seconds=ahead)
