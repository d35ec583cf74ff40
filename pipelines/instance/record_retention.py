"""Take ended runs of a market off Dagster's record without losing what was made, or when.

Dagster's own `delete_run` takes a run's materializations along, and with them the record that a
partition is there and the time that makes a prediction a served one. Here the run and its log go,
and of its events for an asset: plans, and materializations that are neither the first nor the
newest of their partition. What the source was waited for, and the newest result of each check,
stay, too. Backfills of the UI and snapshots of jobs are left alone, and ticks have a retention of
their own in `dagster.yaml`.

A run's row goes last, so that a removal which was cut off finds it again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster import DagsterEventType
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.runs import SqliteRunStorage
from sqlalchemy.engine import Connection

from pipelines.instance.event_log import LocalEventLogStorage
from pipelines.instance.heartbeat import end_leases
from pipelines.instance.materializations import sql_storage
from pipelines.instance.names import is_run_of
from pipelines.instance.record_size import file_bytes
from pipelines.instance.run_history import ENDED_BADLY, sessions_of
from pipelines.market.chunks import chunks
from pipelines.market.market import Market

_ENDED = [*ENDED_BADLY, dg.DagsterRunStatus.SUCCESS]
_KEPT = (DagsterEventType.ASSET_MATERIALIZATION.value, DagsterEventType.ASSET_OBSERVATION.value)
_AT_ONCE = 500  # values of one SQL statement


@dataclass(frozen=True)
class OldRuns:
    """Runs that nothing needs, and what goes with them.

    Attributes:
        ids: the runs.
        events: the rows of the common log that go, by number; none of a log of its own.
        checks: the rows of results of checks that go.
        bytes: of all of that, and of the runs' own logs.
    """

    ids: tuple[str, ...]
    events: tuple[int, ...] = ()
    checks: tuple[int, ...] = ()
    bytes: int = 0


def old_runs(
    instance: dg.DagsterInstance,
    market: Market,
    before: dt.datetime,
    *,
    unfinished: Collection[str] = (),
) -> OldRuns:
    """Find the ended runs of a market that nothing needs any more.

    The newest run of each job and outcome stays, which the automation and people look at, and so do
    the runs of sessions that are still to be made: their attempts are counted.

    Args:
        instance: the record.
        market: the market; runs of others stay.
        before: runs that changed since stay.
        unfinished: sessions that are still to be made.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    newest: set[tuple[str, str]] = set()
    ids: list[str] = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_ENDED)):
        run = record.dagster_run
        if not is_run_of(market, run):
            continue
        is_newest = (run.job_name, run.status.value) not in newest
        newest.add((run.job_name, run.status.value))
        is_old = record.update_timestamp.replace(tzinfo=dt.UTC) < before
        if is_old and not is_newest and not sessions_of(run, unfinished) & set(unfinished):
            ids.append(run.run_id)
    storage = sql_storage(instance)
    with storage.index_connection() as connection:
        events, size = _events(connection, ids)
        checks, of_checks = _checks(connection, ids)
    logs = sum(file_bytes(p) for run in ids for p in _files(instance, market, run))
    return OldRuns(tuple(ids), events, checks, size + of_checks + logs)


def remove_runs(instance: dg.DagsterInstance, market: Market, runs: OldRuns) -> None:
    """Remove runs with their logs, plans and superseded events.

    Args:
        instance: the record.
        market: the market.
        runs: as `old_runs` found them.
    """
    storage = sql_storage(instance)
    for run in runs.ids:
        if isinstance(storage, LocalEventLogStorage):
            storage.close_log(run)
        for path in _files(instance, market, run):
            path.unlink(missing_ok=True)
        shutil.rmtree(market.paths.dagster / "storage" / run, ignore_errors=True)
        # Of a store of the owner's own; the one of the home was just removed.
        instance.compute_log_manager.delete_logs(prefix=[run])
    log, tags, checks = SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable
    assets: set[str] = set()
    with storage.index_connection() as connection:
        for ids in chunks(runs.events, _AT_ONCE):
            gone = log.c.id.in_(ids)
            found = connection.execute(db.select(log.c.asset_key).where(gone).distinct())
            assets |= {row[0] for row in found if row[0]}
            connection.execute(db.delete(tags).where(tags.c.event_id.in_(ids)))
            connection.execute(db.delete(log).where(gone))
        for ids in chunks(runs.checks, _AT_ONCE):
            connection.execute(db.delete(checks).where(checks.c.id.in_(ids)))
    for text in assets:
        key = dg.AssetKey.from_db_string(text)
        if key is not None:
            storage.wipe_asset_cached_status(key)
    for run in runs.ids:
        instance.run_storage.delete_run(run)
    end_leases(instance, runs.ids)
    if runs.ids:
        _shrink(instance)


def _events(connection: Connection, runs: Sequence[str]) -> tuple[tuple[int, ...], int]:
    """The rows of the common log that go with runs, and their bytes."""
    log, gone, size = SqlEventLogStorageTable, set[int](), 0
    length = db.func.length(log.c.event)
    # All that is neither a materialization nor an observation.
    kind = log.c.dagster_event_type
    others = db.or_(kind.is_(None), kind.not_in(_KEPT))
    made: dict[int, int] = {}
    for part in chunks(runs, _AT_ONCE):
        query = db.select(log.c.id, length).where(log.c.run_id.in_(part))
        for number, count in connection.execute(query.where(others)):
            gone.add(number)
            size += count
        made |= {row[0]: row[1] for row in connection.execute(query.where(kind == _KEPT[0]))}
    superseded = made.keys() - _first_and_newest(connection) if made else set()
    return tuple(sorted(gone | superseded)), size + sum(made[number] for number in superseded)


def _first_and_newest(connection: Connection) -> set[int]:
    """The first materialization of each partition, by its time, and the one recorded last."""
    log = SqlEventLogStorageTable
    query = db.select(log.c.id, log.c.asset_key, log.c.partition, log.c.timestamp)
    query = query.where(log.c.dagster_event_type == _KEPT[0])
    first: dict[tuple[str, str | None], tuple[Any, int]] = {}
    newest: dict[tuple[str, str | None], int] = {}
    for number, asset, partition, when in connection.execute(query.order_by(log.c.id)):
        place = (asset, partition)
        newest[place] = number
        first[place] = min(first.get(place, (when, number)), (when, number))
    return {*newest.values(), *(number for _, number in first.values())}


def _checks(connection: Connection, runs: Sequence[str]) -> tuple[tuple[int, ...], int]:
    """The results of checks that go with runs, and their bytes; the newest of each check stays."""
    table = AssetCheckExecutionsTable
    newest = db.select(db.func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name)
    stay = {row[0] for row in connection.execute(newest)}
    sizes: dict[int, int] = {}
    for part in chunks(runs, _AT_ONCE):
        query = db.select(table.c.id, db.func.length(table.c.evaluation_event))
        for number, count in connection.execute(query.where(table.c.run_id.in_(part))):
            if number not in stay:
                sizes[number] = count or 0
    return tuple(sorted(sizes)), sum(sizes.values())


def _files(instance: dg.DagsterInstance, market: Market, run: str) -> list[Path]:
    """The files of a run's own log, and of what its steps printed."""
    storage = sql_storage(instance)
    files = list((market.paths.dagster / "storage" / run).rglob("*"))
    if isinstance(storage, SqliteEventLogStorage):
        path = storage.path_for_shard(run)
        files += [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]
    return [file for file in files if file.is_file()]


def _shrink(instance: dg.DagsterInstance) -> None:
    """Give the room of removed rows back to the disk, where SQLite would keep it for later rows."""
    storage, runs, paths = sql_storage(instance), instance.run_storage, []
    if isinstance(storage, SqliteEventLogStorage):
        paths.append(storage.path_for_shard("index"))
    if isinstance(runs, SqliteRunStorage):
        paths.append(str(runs._conn_string).removeprefix("sqlite:///"))
    for path in filter(lambda path: Path(path).is_file(), paths):
        # A database that the UI is reading keeps the room until another time.
        with contextlib.suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(path, timeout=5.0)
            with contextlib.closing(connection):
                connection.execute("VACUUM")
