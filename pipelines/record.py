"""What is asked of Dagster's event log in SQL, since its own calls lack it or read every event.

All of Dagster's event logs (SQLite, Postgres, in memory) have these tables. Times of first
materializations come from the column, not from thousands of deserialised events, some with pictures
in them; taking partitions off the record is a call that Dagster has (`wipe_asset_partitions`) and
none of its free storages knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import dagster as dg
import pandas as pd
import sqlalchemy as db
from dagster import DagsterEventType
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetEventTagsTable

from pipelines.errors import PipelineError

_FORGOTTEN = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
)
_AT_ONCE = 500  # values of one SQL statement
_Value = TypeVar("_Value", str, int)


def first_made(instance: dg.DagsterInstance, asset: str) -> dict[str, pd.Timestamp]:
    """When each partition of an asset was first materialized, UTC, by session.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    log = SqlEventLogStorageTable
    query = (
        db.select(log.c.partition, db.func.min(log.c.timestamp))
        .where(log.c.asset_key == dg.AssetKey(asset).to_string())
        .where(log.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value)
        .where(log.c.partition.is_not(None))
        .group_by(log.c.partition)
    )
    with _storage(instance).index_connection() as connection:
        rows = connection.execute(query).fetchall()
    return {key: pd.to_datetime(when, utc=True) for key, when in rows}


def forget(instance: dg.DagsterInstance, asset: str, keys: Sequence[str]) -> None:
    """Take partitions off the record; the log of the run that made them keeps its events.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if not keys:
        return
    storage, asset_key = _storage(instance), dg.AssetKey(asset)
    log, tags = SqlEventLogStorageTable, AssetEventTagsTable
    with storage.index_connection() as connection:
        for part in _parts(keys):
            found = (
                db.select(log.c.id)
                .where(log.c.asset_key == asset_key.to_string())
                .where(log.c.partition.in_(part))
                .where(log.c.dagster_event_type.in_([kind.value for kind in _FORGOTTEN]))
            )
            ids = [row[0] for row in connection.execute(found)]
            for some in _parts(ids):
                connection.execute(db.delete(tags).where(tags.c.event_id.in_(some)))
                connection.execute(db.delete(log).where(log.c.id.in_(some)))
    storage.wipe_asset_cached_status(asset_key)


def _parts(values: Sequence[_Value]) -> Iterator[list[_Value]]:
    for start in range(0, len(values), _AT_ONCE):
        yield list(values[start : start + _AT_ONCE])


def _storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PipelineError(
            f"Dagster's event log is a {type(storage).__name__}, which is not in SQL; use the "
            f"storage that the project's dagster.yaml names, or Postgres"
        )
    return storage
