"""Dagster's record while nothing is at work, read without Dagster.

To import Dagster and open its storages is most of what a `status` costs, and it asks little: which
partitions are on record, since when, and whether anything works now. Two SQLite files that nobody
is writing answer that. They are opened as unchanging for one question each, whose answer counts
only if they have not changed by then. In every other case Dagster is asked: Postgres or settings of
the owner's, a run or a backfill under way, a record that is damaged, absent in part or of two
revisions, or with wiped assets, whose events count from the wipe on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from pipelines.instance.settings import are_shipped
from pipelines.market.market import Market

WARM_UP = "warm-up"  # the step of records that stand for no partition, see warm_up_records.py
MADE, OBSERVED = "ASSET_MATERIALIZATION", "ASSET_OBSERVATION"
LIVE_RUNS = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
UNFINISHED_BACKFILLS = ("REQUESTED", "CANCELING", "FAILING")


class RestingRecord:
    """The events of a market in a record at rest. Every answer is None once it is not any more.

    Args:
        market: the market.
    """

    def __init__(self, market: Market) -> None:
        self._market, self._home = market, market.paths.dagster
        self._stamps = _stamps(self._home)

    def is_unchanged(self) -> bool:
        """True while nobody has written to the record."""
        return self._stamps == _stamps(self._home)

    def sessions(self, stage: str) -> set[str] | None:
        """The sessions of a stage that are on record, those of the warm-up included."""
        rows = self._ask("SELECT DISTINCT partition", stage, "AND dagster_event_type = ?", MADE)
        return None if rows is None else {key for (key,) in rows}

    def warm_up(self, stage: str) -> set[str] | None:
        """The sessions of a stage that are on record as warm-up."""
        rows = self._ask("SELECT partition", stage, "AND step_key = ?", WARM_UP)
        return None if rows is None else {key for (key,) in rows}

    def first_made(self, stage: str, first: str, last: str) -> dict[str, pd.Timestamp] | None:
        """The times of first materialization of a stage's partitions, as `first_made` says."""
        rows = self._ask(
            "SELECT partition, min(timestamp)",
            stage,
            "AND dagster_event_type = ? AND partition BETWEEN ? AND ? "
            "AND (step_key IS NULL OR step_key != ?) GROUP BY partition",
            *(MADE, first, last, WARM_UP),
        )
        if rows is None:
            return None
        moments = {key: dt.datetime.fromisoformat(when) for key, when in rows}
        times = pd.to_datetime(list(moments.values()), utc=True)
        return dict(zip(moments, times, strict=True))

    def waiting(self, stage: str) -> set[str] | None:
        """The sessions of a stage whose newest event says that they wait for their bars."""
        rows = self._ask(
            "SELECT partition, dagster_event_type",
            stage,
            "AND dagster_event_type IN (?, ?) GROUP BY partition, dagster_event_type "
            "ORDER BY max(id)",
            *(MADE, OBSERVED),
        )
        if rows is None:
            return None
        newest = dict(rows)  # the later kind of event of each session
        return {key for key, kind in newest.items() if kind == OBSERVED}

    def _ask(self, select: str, stage: str, rest: str, *values: str) -> list[Any] | None:
        """Rows of the events of a stage's partitions; None if the record is not at rest."""
        asset = json.dumps([self._market.config.name, stage])
        query = f"{select} FROM event_logs WHERE asset_key = ? AND partition IS NOT NULL {rest}"
        rows: list[Any] = []
        try:
            if any(self._stamps):
                with _at_rest(_paths(self._home)[1]) as events:
                    rows = events.execute(query, (asset, *values)).fetchall()
        except (sqlite3.Error, OSError):
            return None
        return rows if self.is_unchanged() else None


def resting_record(market: Market) -> RestingRecord | None:
    """The record of a market, if it is at rest; None if Dagster has to be asked."""
    record, home = RestingRecord(market), market.paths.dagster
    if market.paths.earlier_dagster.is_dir() or not are_shipped(home):
        return None
    if not (home / "history").exists():
        return record
    runs, events = _paths(home)
    try:
        with _at_rest(runs) as in_runs, _at_rest(events) as in_events:
            is_idle = _is_idle(in_runs) and _is_whole(in_events)
    except (sqlite3.Error, OSError):  # Dagster says what is wrong with it
        return None
    return record if is_idle and record.is_unchanged() else None


def _paths(home: Path) -> tuple[Path, Path]:
    """The databases of a home: of its runs, and the index of its events."""
    return home / "history" / "runs.db", home / "history" / "runs" / "index.db"


def _stamps(home: Path) -> list[tuple[int, int, int] | None]:
    """Size, time and inode of the databases and their logs; None for one that is absent."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in _paths(home):
        for end in ("", "-wal", "-journal"):
            try:
                found = path.with_name(path.name + end).stat()
                stamps.append((found.st_size, found.st_mtime_ns, found.st_ino))
            except OSError:
                stamps.append(None)
    return stamps


@contextmanager
def _at_rest(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that no process has open.

    Raises:
        FileNotFoundError: there is none.
        OSError: a process has it open.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    if any(path.with_name(f"{path.name}{end}").exists() for end in ("-wal", "-journal")):
        raise BlockingIOError(path)
    uri = f"file:{quote(str(path))}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection


def _is_idle(runs: sqlite3.Connection) -> bool:
    """True if no run and no backfill waits or works."""
    return _has_one_revision(runs) and not (
        _counts(runs, "runs", LIVE_RUNS) or _counts(runs, "bulk_actions", UNFINISHED_BACKFILLS)
    )


def _counts(runs: sqlite3.Connection, table: str, states: tuple[str, ...]) -> bool:
    """True if a row of a table has one of some states."""
    marks = ", ".join("?" * len(states))
    query = f"SELECT 1 FROM {table} WHERE status IN ({marks}) LIMIT 1"  # noqa: S608
    return runs.execute(query, states).fetchone() is not None


def _is_whole(events: sqlite3.Connection) -> bool:
    """True if the events have one revision, and no asset was wiped."""
    wiped = events.execute("SELECT 1 FROM asset_keys WHERE asset_details IS NOT NULL LIMIT 1")
    return _has_one_revision(events) and wiped.fetchone() is None


def _has_one_revision(connection: sqlite3.Connection) -> bool:
    return len(connection.execute("SELECT version_num FROM alembic_version").fetchall()) == 1
