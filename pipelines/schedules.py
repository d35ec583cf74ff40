"""`daily_retraining`: a run of `daily` for every session that has none, oldest first.

Dagster's builder for partitioned jobs repeats the last session on weekends and holidays and never
catches up a missed tick, so the missing keys are computed here: closed sessions since training
begins, minus the materialized, minus those of live runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from pipelines.market import Market
from pipelines.orphans import LIVE, sweep_orphans

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
KEYS_PER_TICK = 5  # runs queue and go one at a time, oldest first; a week's gap closes in one tick


def keys_of_live_runs(instance: dg.DagsterInstance, keys: Sequence[str]) -> set[str]:
    """The sessions that runs in progress are working on, range runs included."""
    busy: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=LIVE)):
        tags = run.tags
        if PARTITION in tags:
            busy.add(tags[PARTITION])
        elif RANGE_START in tags and RANGE_END in tags:
            busy |= {k for k in keys if tags[RANGE_START] <= k <= tags[RANGE_END]}
    return busy


def materialized_keys(instance: dg.DagsterInstance, assets: Iterable[str]) -> set[str]:
    """Sessions for which every one of the assets is materialized."""
    sets = [set(instance.get_materialized_partitions(dg.AssetKey(name))) for name in assets]
    return set.intersection(*sets) if sets else set()


def daily_retraining(
    market: Market,
    job: UnresolvedAssetJobDefinition,
    days: dg.PartitionsDefinition[str],
    last_assets: Sequence[str],
) -> dg.ScheduleDefinition:
    """The schedule of a market.

    Args:
        market: the market.
        job: `daily`.
        days: the market's partitions.
        last_assets: the assets that end the graph; a session is done when all of them are.
    """
    settings = market.config.schedule

    @dg.schedule(
        name="daily_retraining",
        job=job,
        cron_schedule=settings.cron,
        execution_timezone=market.sessions.timezone,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.enabled
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"A `daily` run for each closed session without one, oldest first and at most "
        f"{KEYS_PER_TICK} a tick, missed ticks included; the time is the calendar's.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        sweep_orphans(context.instance)
        now = context.scheduled_execution_time
        closed = days.get_partition_keys(current_time=now)
        due = [key for key in closed if key >= market.plan.first_trained]
        done = materialized_keys(context.instance, last_assets)
        missing = [key for key in due if key not in done]
        if not missing:
            newest = due[-1] if due else "none"
            return dg.SkipReason(f"every closed session is done, the newest is {newest}")
        busy = keys_of_live_runs(context.instance, closed)
        if busy:
            return dg.SkipReason(
                f"{len(missing)} sessions are missing from {missing[0]} on, and a run is working "
                f"on {min(busy)}; one at a time"
            )
        return [dg.RunRequest(partition_key=key) for key in missing[:KEYS_PER_TICK]]

    return schedule
