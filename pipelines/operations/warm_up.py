"""Put the sessions before the first one of every stage on record, so that none looks missing."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

import dagster as dg

from pipelines.instance.names import asset_key
from pipelines.instance.warm_up_records import forget_warm_up, record_warm_up, warm_up_keys
from pipelines.market.market import Market
from pipelines.market.stage import Stage


def mark_warm_up(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> None:
    """Record the closed sessions that stages do not have; take away what is due by now.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
    """
    closed = market.sessions.closed(dt.datetime.now(dt.UTC))
    for stage in (stage for stage in stages if stage.tables):
        asset, first = asset_key(market, stage.name), stage.first or ""
        warm_up = [key for key in closed if key < first]
        marked = warm_up_keys(instance, asset)
        forget_warm_up(instance, asset, marked - set(warm_up))
        known = instance.get_materialized_partitions(asset) if warm_up else set()
        new = [key for key in warm_up if key not in known]
        status = f"warm-up: {stage.name} begins with {first}"
        record_warm_up(instance, asset, new, status, time.time())
