"""Put damaged files of Dagster's record in SQLite aside, so that `sync` can rebuild it.

SQLite keeps no checksums: a page that it cannot read, a file that is no database and tables of two
revisions are found, a changed letter in a log is not. What is put aside is kept in `damaged/` of
the home. Runs and logs that were in it are gone from the UI, partitions come back by their files.
A database that a killed process had begun to make holds nothing, and is removed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import WarehouseError
from pipelines.instance.home import OF_THE_DISK, only_opener
from pipelines.instance.ui_lock import claim_ui

_FOLDER = "damaged"
_BESIDE = ("", "-wal", "-shm", "-journal")  # what belongs to a database, by the ends of their names
_SECONDS = 60.0  # to wait for who writes


def put_damaged_aside(home: Path) -> list[str]:
    """Put the damaged files of the record of a home aside.

    Args:
        home: DAGSTER_HOME; it need not exist, and a record that is not in SQLite has no files.

    Returns:
        Lines for a person, one a file; none if all are whole.

    Raises:
        PipelineError: a UI works with the record.
        WarehouseError: a file cannot be moved.
    """
    if not home.is_dir():
        return []
    with only_opener(home):  # tables that are just being made are not damaged
        damaged = {path: why for path in _databases(home) if (why := _damage(path))}
        for path in [path for path in damaged if _is_unfinished(path)]:
            del damaged[path]
            _remove(path)
        if not damaged:
            return []
        with claim_ui(home, why_not="end it first, its record is damaged; nothing was moved"):
            # A run may have completed its tables since, and then works with them.
            return [_moved(home, path, why) for path, why in damaged.items() if _damage(path)]


def _databases(home: Path) -> Iterator[Path]:
    """The databases of a record in SQLite, that of every run among them."""
    for folder in ("history", "history/runs", "schedules"):
        yield from sorted((home / folder).glob("*.db"))


def _damage(path: Path) -> str:
    """The reason why a database cannot be used; empty if it can.

    The tables of a run's own log are made as it begins, under no lock, so one that is not complete
    is left alone.
    """
    of_a_run = path.parent.name == "runs" and path.name != "index.db"
    if path.stat().st_size == 0:  # SQLite would remove a log beside it
        return "" if of_a_run else "it is empty"
    if of_a_run and _is_unfinished(path):
        return ""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_SECONDS)) as database:
            (said,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if said != "ok":
                return str(said)
            revisions = database.execute("SELECT count(*) FROM alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        if any(words in str(error) for words in OF_THE_DISK):
            raise WarehouseError(
                f"{path} could not be looked at: {error}; end the runs and the UI that use it, "
                f"or see to the disk and its permissions, and give the command again; nothing was "
                f"moved"
            ) from error
        return str(error)
    return "" if revisions == 1 else f"its tables are of {revisions} revisions"


def _is_unfinished(path: Path) -> bool:
    """True of a database whose making was cut off: none of its tables has a row."""
    if path.stat().st_size == 0:
        return _was_new(path)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_SECONDS)) as database:
            if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return False
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = [name for (name,) in tables.fetchall()]
            return bool(names) and not any(
                database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()  # noqa: S608 its own name
                for name in names
            )
    except sqlite3.Error:
        return False


def _was_new(path: Path) -> bool:
    """True of an empty database whose first change was cut off.

    The header of a rollback journal has the number of pages before the change, 4 bytes from byte 16
    on (SQLite's file format, 3.1).
    """
    beside = {file.name: file for file in _files(path) if file.stat().st_size}
    journal = beside.pop(f"{path.name}-journal", None)
    return journal is not None and not beside and journal.read_bytes()[16:20] == bytes(4)


def _remove(path: Path) -> None:
    """Remove a database with its log."""
    for file in _files(path):
        file.unlink()


def _files(path: Path) -> list[Path]:
    """A database and what lies beside it."""
    files = (path.with_name(path.name + end) for end in _BESIDE)
    return [file for file in files if file.exists()]


def _moved(home: Path, path: Path, why: str) -> str:
    """Move a database with its log, and say so; of an empty one there is nothing to keep."""
    if not any(beside.stat().st_size for beside in _files(path)):
        _remove(path)
        return f"{path} was damaged: it was empty, and is removed"
    number = 1
    while (target := home / _FOLDER / f"{number}" / path.relative_to(home)).exists():
        number += 1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in _files(path):
            with contextlib.suppress(FileNotFoundError):
                file.rename(target.with_name(file.name))
    except OSError as error:
        raise WarehouseError(
            f"{path} is damaged ({why}) and cannot be moved to {target}: {error}; check that "
            f"{home} is writable and its disk not full"
        ) from error
    return f"{path} was damaged ({' '.join(why.split())}) and is kept as {target}"
