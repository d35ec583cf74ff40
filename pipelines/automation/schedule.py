"""`daily_retraining`: a run of `daily` for each session without one, one at a time, oldest first.

Dagster's builder for partitioned jobs repeats the last session on weekends and holidays and never
catches up a missed tick, so what is missing is computed at each tick (`next_session.py`). `cron`
says when a newly closed session is first asked for; in between the schedule looks every few
minutes, so that a missed tick is caught up, a gap closes session by session and a failed one is
tried again when its wait is over. A session that has used up its attempts makes the tick fail, once
when that is first seen and then at each cron time, until it is done.

One evaluator decides, so that no session is asked for twice: the sensors leave to the schedule
what it will ask for itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipelines.assets.materialize import KEEP, SERVED_TAG
from pipelines.automation.next_session import Outlook, SessionFailedError, look
from pipelines.config.cron import last_tick
from pipelines.config.market_file import ScheduleConfig
from pipelines.instance.names import RUN_TAG, SCHEDULE, asset_key, own_name
from pipelines.instance.orphaned_runs import sweep_orphans
from pipelines.instance.waiting import LAST_TAG
from pipelines.market.market import Market
from pipelines.market.stage import Stage, downstream

ATTEMPT_TAG = "rnn/attempt"


def daily_retraining(market: Market, stages: Sequence[Stage], job: Any) -> dg.ScheduleDefinition:
    """The schedule of a market.

    Args:
        market: the market.
        stages: its stages; a session is done when all that end the graph are.
        job: `daily`.
    """
    settings, zone = market.config.schedule, market.sessions.timezone
    every = dt.timedelta(minutes=settings.every_minutes)

    @dg.schedule(
        name=own_name(market, SCHEDULE),
        job=job,
        cron_schedule=[settings.cron, f"*/{settings.every_minutes} * * * *"],
        execution_timezone=zone,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.enabled
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"A run of daily for each closed session without one, oldest first and one at "
        f"a time. A session is first asked for at {_when(settings.cron)} in {zone}; "
        f"{_how_often(settings.every_minutes)} it is seen whether one was missed or is to be tried "
        f"again.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        sweep_orphans(context.instance)
        now = context.scheduled_execution_time
        # Sessions that closed after the newest cron time are not asked for yet.
        cron = last_cron(settings, zone, now)
        seen = look(market, stages, context.instance, job.name, now, closed_by=cron)
        if seen.ask_for is not None:
            note = seen.newcomers.note(seen.newest, market.command)
            if note:
                context.log.info(f"{seen.ask_for} is asked for{note}")
            if seen.calendar is not None:
                context.log.warning(seen.calendar)
            return [without_newcomers(request(seen, settings), market, stages, seen)]
        why = seen.reason(settings, zone)
        # A given-up session fails the tick once, and then at each cron time, not every minute.
        if seen.given_up and seen.attempts is not None:
            is_news = dt.timedelta(0) <= now - seen.attempts.ended < every
            if is_news or cron == now:
                raise SessionFailedError(why)
        if seen.missing or cron == now:  # a log is a file: none for each minute of a quiet night
            context.log.info(why)
        return dg.SkipReason(why)

    return schedule


def _when(cron: str) -> str:
    """A time of every day as a clock shows it, anything else (`@daily` too) as cron has it."""
    match cron.split():
        case [minute, hour, "*", "*", "*"] if minute.isdigit() and hour.isdigit():
            return f"{int(hour):02}:{int(minute):02}"
    return f"the cron time {cron}"


def _how_often(minutes: int) -> str:
    return "every minute" if minutes == 1 else f"every {minutes} minutes"


def last_cron(settings: ScheduleConfig, zone: str, now: dt.datetime) -> dt.datetime:
    """The newest time of `cron` that is not after `now`."""
    return last_tick(settings.cron, now, zone)


def request(seen: Outlook, settings: ScheduleConfig, run_key: str | None = None) -> dg.RunRequest:
    """The run of the oldest missing session, with the number of the attempt in its tags.

    Served partitions stay as they are: an earlier attempt may have made some of them in time.
    """
    number = seen.attempts.count + 1 if seen.attempts else 1
    return dg.RunRequest(
        run_key=run_key,
        partition_key=seen.missing[0],
        tags={
            ATTEMPT_TAG: f"{number} of {settings.max_attempts}",
            SERVED_TAG: KEEP,
            RUN_TAG: f"daily {seen.missing[0]}",
            **({LAST_TAG: "true"} if seen.last_wait else {}),
        },
    )


def without_newcomers(
    run: dg.RunRequest, market: Market, stages: Sequence[Stage], seen: Outlook
) -> dg.RunRequest:
    """A run less the assets of added models, and added stages, that it could not make yet."""
    left_out = seen.newcomers.left_out(market, seen.missing[0])
    dropped = {stage.name for stage in stages if stage.model in left_out}
    dropped |= set(seen.newcomers.unbegun(seen.missing[0]))
    if not dropped:
        return run
    dropped |= downstream(stages, dropped)
    kept = [stage for stage in stages if stage.tables and stage.name not in dropped]
    return dg.RunRequest(
        run_key=run.run_key,
        partition_key=run.partition_key,
        tags=run.tags,
        asset_selection=[asset_key(market, stage.name) for stage in kept],
    )
