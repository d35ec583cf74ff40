"""Dagster's record while nothing is at work, read without Dagster.

To import Dagster and open its storages is most of what a `status` costs, and it asks little: which
partitions are on record, since when, and whether anything works now. Two SQLite files that no other
process has open answer that, as `read_only.py` opens them. In every other case Dagster is asked:
Postgres or settings of the owner's, a run or a backfill under way, a record that is damaged, absent
in part or of two revisions, or with wiped assets, whose events count from the wipe on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from pipelines.instance.settings import read_settings, shipped_settings
from pipelines.market.market import Market

WARM_UP = "warm-up"  # the step of records that stand for no partition, see warm_up_records.py
MADE, OBSERVED = "ASSET_MATERIALIZATION", "ASSET_OBSERVATION"
LIVE_RUNS = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
UNFINISHED_BACKFILLS = ("REQUESTED", "CANCELING", "FAILING")


class RestingRecord:
    """The events of a market in a record at rest.

    Args:
        market: the market.
        events: the index of the event log; None if nothing was ever put on record.
    """

    def __init__(self, market: Market, events: sqlite3.Connection | None) -> None:
        self._market, self._events = market, events

    def sessions(self, stage: str) -> set[str]:
        """The sessions of a stage that are on record, those of the warm-up included."""
        rows = self._ask("SELECT DISTINCT partition", stage, "AND dagster_event_type = ?", MADE)
        return {key for (key,) in rows}

    def first_made(self, stage: str, first: str, last: str) -> dict[str, pd.Timestamp]:
        """The times of first materialization of a stage's partitions, as `first_made` says."""
        rows = self._ask(
            "SELECT partition, min(timestamp)",
            stage,
            "AND dagster_event_type = ? AND partition BETWEEN ? AND ? "
            "AND (step_key IS NULL OR step_key != ?) GROUP BY partition",
            *(MADE, first, last, WARM_UP),
        )
        moments = {key: dt.datetime.fromisoformat(when) for key, when in rows}
        times = pd.to_datetime(list(moments.values()), utc=True)
        return dict(zip(moments, times, strict=True))

    def waiting_since(self, stage: str, keys: Collection[str]) -> str | None:
        """The first of some sessions that was found to wait, as `waiting_since` says."""
        rows = self._ask(
            "SELECT partition, dagster_event_type",
            stage,
            "AND dagster_event_type IN (?, ?) GROUP BY partition, dagster_event_type "
            "ORDER BY max(id)",
            *(MADE, OBSERVED),
        )
        newest = dict(rows)  # the later kind of event of each session
        return min({k for k, kind in newest.items() if kind == OBSERVED} & set(keys), default=None)

    def _ask(self, select: str, stage: str, rest: str, *values: str) -> list[Any]:
        """Rows of the events of a stage's partitions."""
        if self._events is None:
            return []
        asset = json.dumps([self._market.config.name, stage])
        query = f"{select} FROM event_logs WHERE asset_key = ? AND partition IS NOT NULL {rest}"
        return self._events.execute(query, (asset, *values)).fetchall()


@contextmanager
def resting_record(market: Market) -> Iterator[RestingRecord | None]:
    """The record of a market, if it is at rest; None if Dagster has to be asked."""
    with contextlib.ExitStack() as stack:
        try:
            record = _opened(market, stack)
        except (sqlite3.Error, OSError):  # Dagster says what is wrong with it
            record = None
        yield record


def _opened(market: Market, stack: contextlib.ExitStack) -> RestingRecord | None:
    """Open the record of a market, if it is at rest.

    Raises:
        OSError: one of its files is absent, or a process has it open.
        sqlite3.Error: one of them is damaged.
    """
    home = market.paths.dagster
    if market.paths.earlier_dagster.is_dir() or not _is_shipped(home):
        return None
    if not (home / "history").exists():
        return RestingRecord(market, None)
    runs = stack.enter_context(_at_rest(home / "history" / "runs.db"))
    events = stack.enter_context(_at_rest(home / "history" / "runs" / "index.db"))
    return RestingRecord(market, events) if _is_idle(runs) and _is_whole(events) else None


def _is_shipped(home: Path) -> bool:
    """True if a home has this release's settings, or takes them."""
    return read_settings(home)[0] == shipped_settings(home)


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
