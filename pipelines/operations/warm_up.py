"""Put the sessions before the first one of every stage on record, so that none looks missing."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.instance.names import asset_key
from pipelines.instance.record_reads import Record, recorded_sessions, recorded_warm_up
from pipelines.market.market import Market
from pipelines.market.stage import Stage

if TYPE_CHECKING:
    import dagster as dg


def mark_warm_up(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> None:
    """Record the closed sessions that stages do not have; take away what is due by now.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
    """
    from pipelines.instance.warm_up_records import forget_warm_up, record_warm_up

    for stage, new, due in _differences(market, stages, instance):
        asset = asset_key(market, stage.name)
        forget_warm_up(instance, asset, due)
        status = f"warm-up: {stage.name} begins with {stage.first}"
        record_warm_up(instance, asset, new, status, time.time())


def is_warm_up_marked(market: Market, stages: Sequence[Stage], record: Record) -> bool:
    """True if `mark_warm_up` would change nothing."""
    return not any(new or due for _, new, due in _differences(market, stages, record))


def _differences(
    market: Market, stages: Sequence[Stage], record: Record
) -> Iterator[tuple[Stage, list[str], set[str]]]:
    """The sessions of each stage that lack a record of the warm-up, and those that have to lose it.

    What is on record as made although the stage begins later lacks none.
    """
    closed = market.sessions.closed(dt.datetime.now(dt.UTC))
    for stage in (stage for stage in stages if stage.tables):
        warm_up = [key for key in closed if key < (stage.first or "")]
        known = recorded_sessions(record, market, stage.name) if warm_up else set()
        due = recorded_warm_up(record, market, stage.name) - set(warm_up)
        yield stage, [key for key in warm_up if key not in known], due
