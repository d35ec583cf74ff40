"""Direct SQL access to Dagster's event log, for what its public API lacks or does slowly.

All of Dagster's event logs (SQLite, Postgres, in memory) have these tables. Times of first
materializations come from the column, not from thousands of deserialised events, some with
pictures in them. Partitions of the warehouse are recorded at the time of their file, all of an
asset in one transaction. Dagster's own call to take partitions off the record,
`wipe_asset_partitions`, is implemented by none of its free storages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as db
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import StepMaterializationData
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetEventTagsTable

from pipelines.errors import PipelineError
from pipelines.instance.names import stage_of
from pipelines.instance.resting_record import WARM_UP as WARM_UP
from pipelines.market.chunks import chunks
from pipelines.warehouse.partition_file import PartitionInfo
from pipelines.warehouse.revisions import first_written
from pipelines.warehouse.store import Store

CODE_VERSION_TAG = "dagster/code_version"
_FORGOTTEN = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
)
_AT_ONCE = 500  # values of one SQL statement
_PAGE = 1000  # materializations read at once


def first_made(
    instance: dg.DagsterInstance, asset: dg.AssetKey, first: str = "", last: str = "9999-12-31"
) -> dict[str, pd.Timestamp]:
    """Look up the times of first materialization of an asset's partitions, UTC, by session.

    Args:
        instance: the record.
        asset: whose partitions they are.
        first, last: bounds of the sessions, both included.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    log = SqlEventLogStorageTable
    query = _materializations(asset, log.c.partition, db.func.min(log.c.timestamp))
    query = query.where(log.c.partition.between(first, last)).group_by(log.c.partition)
    with sql_storage(instance).index_connection() as connection:
        rows = connection.execute(query).fetchall()
    times = pd.to_datetime([when for _, when in rows], utc=True)
    return dict(zip((key for key, _ in rows), times, strict=True))


def on_record(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> set[str]:
    """Select the sessions of an asset that have a materialization.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    partition = SqlEventLogStorageTable.c.partition
    query = _materializations(asset, partition).distinct()
    recorded: set[str] = set()
    with sql_storage(instance).index_connection() as connection:
        for part in chunks(keys, _AT_ONCE):
            recorded |= {row[0] for row in connection.execute(query.where(partition.in_(part)))}
    return recorded


def made_by_run(
    instance: dg.DagsterInstance, run_id: str, assets: Sequence[dg.AssetKey]
) -> dict[dg.AssetKey, set[str]]:
    """The partitions of some assets that a run has materialized so far.

    Args:
        instance: the record.
        run_id: the run.
        assets: the assets.

    Returns:
        Partitions by asset; an asset that the run has not materialized is left out.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    log, assets_by_text = SqlEventLogStorageTable, {key.to_string(): key for key in assets}
    query = (
        db.select(log.c.asset_key, log.c.partition)
        .where(log.c.run_id == run_id)
        .where(log.c.asset_key.in_(list(assets_by_text)))
        .where(log.c.partition.is_not(None))
        .where(log.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value)
    )
    made: dict[dg.AssetKey, set[str]] = {}
    with sql_storage(instance).index_connection() as connection:
        for text, partition in connection.execute(query):
            made.setdefault(assets_by_text[text], set()).add(partition)
    return made


def _materializations(asset: dg.AssetKey, *columns: Any) -> Any:
    log = SqlEventLogStorageTable
    return (
        db.select(*columns)
        .where(log.c.asset_key == asset.to_string())
        .where(log.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value)
        .where(db.or_(log.c.step_key.is_(None), log.c.step_key != WARM_UP))
    )


def recorded_metadata(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, dg.MetadataValue]]]:
    """Yield the session and the metadata of an asset's materializations, newest first.

    Args:
        instance: the record.
        asset: whose partitions they are.
        keys: sessions.
    """
    cursor: str | None = None
    while keys:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, asset_partitions=list(keys)),
            limit=_PAGE,
            cursor=cursor,
        )
        for record in page.records:
            event = record.asset_materialization
            if record.partition_key is not None and event is not None:
                yield record.partition_key, event.metadata
        if not page.has_more:
            return
        cursor = page.cursor


def made_digests(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]
) -> dict[str, set[str]]:
    """Look up the digests of partitions as runs that made them recorded them, by session.

    Records of partitions that a run kept, or that were found in the warehouse, say only what lay
    there, and are left out.

    Returns:
        The first 16 characters of each digest.
    """
    digests: dict[str, set[str]] = {}
    for key, figures in recorded_metadata(instance, asset, keys):
        if "digest" in figures and not {"kept", "recorded_by"} & figures.keys():
            digests.setdefault(key, set()).add(str(figures["digest"].value))
    return digests


def put_on_record(
    store: Store,
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    partitions: Mapping[str, PartitionInfo],
    reads: Callable[[str], str],
) -> None:
    """Report a materialization of each partition, at the time at which its file was written.

    Args:
        store: the warehouse's files.
        instance: the record.
        asset: whose partitions they are.
        partitions: the footer of each, by session.
        reads: what the partition of a session is made from, in words.
    """
    events = []
    for key, info in partitions.items():
        materialization = dg.AssetMaterialization(
            asset_key=asset,
            partition=key,
            metadata=_metadata(key, info, reads(key) if info.provenance.inputs else ""),
            tags={CODE_VERSION_TAG: info.provenance.code_version},
        )
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            event_specific_data=StepMaterializationData(materialization),
            job_name=RUNLESS_JOB_NAME,
        )
        when = first_written(store, stage_of(asset), key)
        events.append(
            EventLogEntry(  # type: ignore[no-untyped-call]
                None, "info", "", RUNLESS_RUN_ID, when, None, RUNLESS_JOB_NAME, event
            )
        )
    if events:
        instance.event_log_storage.store_event_batch(events)


def _metadata(key: str, info: PartitionInfo, reads: str) -> dict[str, Any]:
    """Metadata of a recorded partition, from the footer of its file."""
    return {
        **({"reads": reads} if reads else {}),
        "dagster/row_count": info.rows,
        "session": key,
        "status": info.provenance.status,
        "digest": info.digest[:16],
        "recorded_by": "sync",
    }


def forget(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    keys: Sequence[str],
    *,
    but_of_run: str | None = None,
) -> None:
    """Take partitions off the record; the log of the run that made them keeps its events.

    Args:
        instance: the record.
        asset: whose partitions they are.
        keys: sessions.
        but_of_run: a run whose events stay, since it is about to make the partitions.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if not keys:
        return
    storage = sql_storage(instance)
    log, tags = SqlEventLogStorageTable, AssetEventTagsTable
    with storage.index_connection() as connection:
        for part in chunks(keys, _AT_ONCE):
            events = (
                db.select(log.c.id)
                .where(log.c.asset_key == asset.to_string())
                .where(log.c.partition.in_(part))
                .where(log.c.dagster_event_type.in_([kind.value for kind in _FORGOTTEN]))
            )
            if but_of_run is not None:
                events = events.where(log.c.run_id != but_of_run)
            ids = [row[0] for row in connection.execute(events)]
            for some in chunks(ids, _AT_ONCE):
                connection.execute(db.delete(tags).where(tags.c.event_id.in_(some)))
                connection.execute(db.delete(log).where(log.c.id.in_(some)))
    storage.wipe_asset_cached_status(asset)


def newest_evaluation(
    instance: dg.DagsterInstance, asset: dg.AssetKey, check: str
) -> tuple[str, dg.AssetCheckEvaluation] | None:
    """The newest result of a check and its run: one row by an index, no scan of events.

    Args:
        instance: the record.
        asset: key of the asset.
        check: name of the check.
    """
    ended = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    key = dg.AssetCheckKey(asset, check)
    for record in instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status=ended
    ):
        event = record.event.dagster_event if record.event is not None else None
        if event is not None:
            return record.run_id, event.asset_check_evaluation_data
    return None


def sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    """The event log of a record.

    Raises:
        PipelineError: it is not in SQL.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PipelineError(
            f"Dagster's event log is a {type(storage).__name__}, which is not in SQL; use the "
            f"storage that the project's dagster.yaml names, or Postgres"
        )
    return storage
