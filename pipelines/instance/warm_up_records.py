"""Records of the warm-up: the sessions before the first one that a stage has.

All assets of a job share one partitions definition, so Dagster would show these sessions as missing
for good. They are recorded as materialized, in bulk and without a file, under a step of their own:
whatever asks the record what was made leaves them out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import StepMaterializationData
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqlEventLogStorageTable

from pipelines.instance.materializations import WARM_UP, sql_storage

_ANY_DAY = "0000-00-00"  # stands for the session in the text of an event


def warm_up_keys(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """The sessions that are on record as warm-up of an asset.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    with sql_storage(instance).index_connection() as connection:
        query = _records(db.select(SqlEventLogStorageTable.c.partition), asset)
        return {row[0] for row in connection.execute(query)}


def record_warm_up(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], status: str, now: float
) -> None:
    """Put sessions on record as warm-up.

    Args:
        instance: the record.
        asset: whose sessions they are.
        keys: sessions, in order.
        status: why there is nothing, for a person.
        now: the time of the records, seconds since 1970.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if not keys:
        return
    storage = sql_storage(instance)
    # The rows differ in their session only: making each by Dagster's means takes 50 times as long.
    row: dict[str, Any] = storage._event_to_row(_event(asset, _ANY_DAY, status, now))
    rows = [
        {**row, "event": row["event"].replace(_ANY_DAY, key), "partition": key} for key in keys[:-1]
    ]
    with storage.index_connection() as connection:
        if rows:
            connection.execute(db.insert(SqlEventLogStorageTable), rows)
    # The last one by Dagster's means, so that the asset is known to have been materialized.
    storage.store_event_batch([_event(asset, keys[-1], status, now)])
    storage.wipe_asset_cached_status(asset)


def forget_warm_up(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]) -> None:
    """Take the records of the warm-up of some sessions away, as of a stage that begins earlier.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    storage, partition = sql_storage(instance), SqlEventLogStorageTable.c.partition
    with storage.index_connection() as connection:
        for key in keys:
            gone = _records(db.delete(SqlEventLogStorageTable), asset).where(partition == key)
            connection.execute(gone)
    if keys:
        storage.wipe_asset_cached_status(asset)


def _records(query: Any, asset: dg.AssetKey) -> Any:
    log = SqlEventLogStorageTable
    return query.where(log.c.asset_key == asset.to_string()).where(log.c.step_key == WARM_UP)


def _event(asset: dg.AssetKey, key: str, status: str, now: float) -> EventLogEntry:
    made = dg.AssetMaterialization(asset, partition=key, metadata={"status": status})
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        event_specific_data=StepMaterializationData(made),
        job_name=RUNLESS_JOB_NAME,
        step_key=WARM_UP,
    )
    return EventLogEntry(  # type: ignore[no-untyped-call]
        None, "info", "", RUNLESS_RUN_ID, now, WARM_UP, RUNLESS_JOB_NAME, event
    )
