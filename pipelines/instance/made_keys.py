"""The sessions of an asset that are on record, kept between the looks of a process that lives long.

A tick of the schedule asks which sessions are done, and most of them were done at the last tick. So
their keys stay in memory, and a look counts the asset's events by an index and reads those that are
new. The count is the one part that grows with the history: no smaller question tells that the run
of a session of years ago was deleted in the UI. Where it says anything else, as after events were
taken off the record or came in another order, all of them are read again; so they are after a wipe
of the asset, which in Postgres only dates its end.
"""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster import DagsterEventType
from dagster._core.storage.event_log import SqlEventLogStorageTable
from sqlalchemy.engine import Connection

from pipelines.instance.materializations import WARM_UP, sql_storage


@dataclass(frozen=True)
class _Seen:
    """The events of an asset at the last look.

    Attributes:
        count: of its materializations.
        newest: id, time and partition of the newest one, since a database may use the id of a
            deleted row again.
        keys: the sessions that have one, in order; those of the warm-up have none.
        wiped: seconds since 1970 of the last wipe of the asset; what is older does not count.
    """

    count: int
    newest: tuple[Any, ...] | None
    keys: tuple[str, ...]
    wiped: float | None


_seen: dict[tuple[str, str], _Seen] = {}  # by record and asset


def made_keys(instance: dg.DagsterInstance, asset: dg.AssetKey) -> frozenset[str]:
    """The sessions of an asset that have a materialization; those of the warm-up have none.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    return frozenset(made_in_order(instance, asset))


def made_in_order(instance: dg.DagsterInstance, asset: dg.AssetKey) -> tuple[str, ...]:
    """The sessions of an asset that have a materialization, oldest first.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    storage = sql_storage(instance)
    (details,) = storage._get_assets_details([asset])
    wiped = None if details is None else details.last_wipe_timestamp
    with storage.index_connection() as connection:
        place = connection.engine.url.render_as_string(), asset.to_string()
        now = _look(connection, asset.to_string(), _seen.get(place), wiped)
    _seen[place] = now
    return now.keys


def _look(connection: Connection, asset: str, before: _Seen | None, wiped: float | None) -> _Seen:
    log = SqlEventLogStorageTable
    is_made = db.and_(
        log.c.asset_key == asset,
        log.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value,
    )
    if wiped is not None:
        end = dt.datetime.fromtimestamp(wiped, dt.UTC).replace(tzinfo=None)
        is_made = db.and_(is_made, log.c.timestamp > end)
    count = int(connection.execute(db.select(db.func.count()).where(is_made)).scalar_one())
    if before is not None and before.newest is not None and before.wiped == wiped:
        mark = db.select(log.c.id, log.c.timestamp, log.c.partition)
        newest = connection.execute(mark.where(log.c.id == before.newest[0])).first()
        if newest is not None and tuple(newest) == before.newest:
            new = _read(connection, db.and_(is_made, log.c.id > before.newest[0]), wiped)
            if before.count + new.count == count:
                added = set(new.keys).difference(before.keys) if new.keys else ()
                keys = tuple(sorted((*before.keys, *added))) if added else before.keys
                return _Seen(count, new.newest or before.newest, keys, wiped)
    return _read(connection, is_made, wiped)


def _read(connection: Connection, which: Any, wiped: float | None) -> _Seen:
    log = SqlEventLogStorageTable
    query = db.select(log.c.id, log.c.timestamp, log.c.partition, log.c.step_key).where(which)
    rows = connection.execute(query.order_by(log.c.id)).fetchall()
    # Texts of the same object are compared in a tenth of the time.
    keys = {sys.intern(key) for _, _, key, step in rows if key is not None and step != WARM_UP}
    return _Seen(len(rows), tuple(rows[-1][:3]) if rows else None, tuple(sorted(keys)), wiped)
