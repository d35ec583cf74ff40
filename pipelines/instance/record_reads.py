"""Questions of the survey of staleness to Dagster's record, which Dagster answers where it must."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from pipelines.instance.names import asset_key
from pipelines.instance.resting_record import RestingRecord, resting_record
from pipelines.market.market import Market

if TYPE_CHECKING:
    import dagster as dg


class RecordAtRest:
    """A record that is read without Dagster as long as it is at rest.

    Args:
        resting: the record.
        stack: closes Dagster's, once that was opened.
    """

    def __init__(self, market: Market, resting: RestingRecord, stack: ExitStack) -> None:
        self._market, self.resting, self._stack = market, resting, stack

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's record."""
        from pipelines.instance.home import reading_instance

        return self._stack.enter_context(reading_instance(self._market))


Record: TypeAlias = "dg.DagsterInstance | RecordAtRest"


@contextmanager
def record_at_rest(market: Market) -> Iterator[RecordAtRest | None]:
    """The record of a market if it is at rest; None if Dagster has to be asked."""
    resting = resting_record(market)
    with ExitStack() as stack:
        yield None if resting is None else RecordAtRest(market, resting, stack)


@contextmanager
def reading_record(market: Market) -> Iterator[Record]:
    """The record of a market for commands that write nothing, without Dagster if it is at rest.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: the market's record is still in a home of its own.
    """
    with record_at_rest(market) as record:
        if record is not None:
            yield record
            return
    from pipelines.instance.home import reading_instance

    with reading_instance(market) as instance:
        yield instance


def dagster_of(record: Record) -> dg.DagsterInstance:
    """Dagster's record."""
    return record.instance if isinstance(record, RecordAtRest) else record


def recorded_sessions(record: Record, market: Market, stage: str) -> set[str]:
    """The sessions of a stage that are on record, those of the warm-up included."""
    if isinstance(record, RecordAtRest):
        keys = record.resting.sessions(stage)
        if keys is not None:
            return keys
    return dagster_of(record).get_materialized_partitions(asset_key(market, stage))


def recorded_warm_up(record: Record, market: Market, stage: str) -> set[str]:
    """The sessions that are on record as warm-up of a stage.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if isinstance(record, RecordAtRest):
        keys = record.resting.warm_up(stage)
        if keys is not None:
            return keys
    from pipelines.instance.warm_up_records import warm_up_keys

    return warm_up_keys(dagster_of(record), asset_key(market, stage))


def first_recorded(
    record: Record, market: Market, stage: str, first: str, last: str
) -> dict[str, pd.Timestamp]:
    """The times of first materialization of a stage's partitions, UTC, by session.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if isinstance(record, RecordAtRest):
        times = record.resting.first_made(stage, first, last)
        if times is not None:
            return times
    from pipelines.instance.materializations import first_made

    return first_made(dagster_of(record), asset_key(market, stage), first, last)


def first_waiting(record: Record, market: Market, stage: str, keys: Collection[str]) -> str | None:
    """The first of some sessions of a source that was found to wait for its bars, or None.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    if isinstance(record, RecordAtRest):
        waiting = record.resting.waiting(stage)
        if waiting is not None:
            return min(waiting & set(keys), default=None)
    from pipelines.instance.waiting import waiting_since

    return waiting_since(dagster_of(record), asset_key(market, stage), keys)


def at_work(record: Record, market: Market) -> str | None:
    """Name a run or a backfill that works on sessions of a market; None if there is none."""
    if isinstance(record, RecordAtRest) and record.resting.is_unchanged():
        return None
    from pipelines.instance.run_history import work_in_progress

    return work_in_progress(dagster_of(record), market, market.sessions.keys)
