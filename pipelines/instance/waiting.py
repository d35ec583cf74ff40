"""Sessions that wait for their bars: what a run puts on record of them.

A session whose bars the source does not have yet is neither made nor failed. The run that asked for
it ends well, with a tag that says so, and the asset of the bars has an observation of the session
with the reason, which the UI shows on the page of the partition.
"""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log import SqlEventLogStorageTable

from pipelines.instance.materializations import sql_storage
from pipelines.instance.names import HIDDEN, hidden_tag
from pipelines.instance.run_history import WAITING, waits_for_bars_tag

LAST_TAG = f"{HIDDEN}last_wait"  # a run that finds no bars again has failed


def note_waiting(context: dg.AssetExecutionContext, key: str, reason: str) -> None:
    """Put on record that a session waits for its bars.

    Args:
        context: of the step that asked for them.
        key: the session, the first that waits.
        reason: why, for a person.
    """
    context.instance.add_run_tags(context.run.run_id, waits_for_bars_tag(context.run.run_id))
    context.log_event(
        dg.AssetObservation(
            asset_key=context.asset_key,
            partition=key,
            description=f"{key} {WAITING}: {reason}",
            metadata={"state": WAITING, "reason": reason},
        )
    )


def is_last_wait(run: dg.DagsterRun) -> bool:
    """True if the schedule does not ask for the session of a run again."""
    return hidden_tag(run.tags, LAST_TAG) is not None


def waiting_since(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]
) -> str | None:
    """The first of some sessions that was found to wait for its bars; None if none was.

    A session that was made after it had waited does not wait any more.

    Args:
        instance: the record.
        asset: the asset of the bars.
        keys: sessions that have no bars.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    log = SqlEventLogStorageTable
    kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
    query = (
        db.select(log.c.partition, log.c.dagster_event_type)
        .where(log.c.asset_key == asset.to_string())
        .where(log.c.dagster_event_type.in_([kind.value for kind in kinds]))
        .where(log.c.partition.is_not(None))
        .group_by(log.c.partition, log.c.dagster_event_type)
        .order_by(db.func.max(log.c.id))
    )
    with sql_storage(instance).index_connection() as connection:
        # The later kind of event of each session.
        newest = {row[0]: row[1] for row in connection.execute(query)}
    waiting = {key for key, kind in newest.items() if kind == kinds[1].value}
    return min(waiting & set(keys), default=None)
