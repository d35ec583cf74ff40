"""Questions of the survey of staleness to Dagster's record, which Dagster answers where it must."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from pipelines.instance.names import asset_key
from pipelines.instance.resting_record import RestingRecord, resting_record
from pipelines.market.market import Market

if TYPE_CHECKING:
    import dagster as dg

Record: TypeAlias = "dg.DagsterInstance | RestingRecord"


@contextmanager
def reading_record(market: Market) -> Iterator[Record]:
    """The record of a market for commands that write nothing, without Dagster if it is at rest.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: the market's record is still in a home of its own.
    """
    with resting_record(market) as resting:
        if resting is not None:
            yield resting
            return
    from pipelines.instance.home import reading_instance

    with reading_instance(market) as instance:
        yield instance


def recorded_sessions(record: Record, market: Market, stage: str) -> set[str]:
    """The sessions of a stage that are on record, those of the warm-up included."""
    if isinstance(record, RestingRecord):
        return record.sessions(stage)
    return record.get_materialized_partitions(asset_key(market, stage))


def first_recorded(
    record: Record, market: Market, stage: str, first: str, last: str
) -> dict[str, pd.Timestamp]:
    """The times of first materialization of a stage's partitions, UTC, by session.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if isinstance(record, RestingRecord):
        return record.first_made(stage, first, last)
    from pipelines.instance.materializations import first_made

    return first_made(record, asset_key(market, stage), first, last)


def first_waiting(record: Record, market: Market, stage: str, keys: Collection[str]) -> str | None:
    """The first of some sessions of a source that was found to wait for its bars, or None.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if isinstance(record, RestingRecord):
        return record.waiting_since(stage, keys)
    from pipelines.instance.waiting import waiting_since

    return waiting_since(record, asset_key(market, stage), keys)


def at_work(record: Record, market: Market) -> str | None:
    """Name a run or a backfill that works on sessions of a market; None if there is none."""
    if isinstance(record, RestingRecord):
        return None
    from pipelines.instance.run_history import work_in_progress

    return work_in_progress(record, market, market.sessions.keys)
