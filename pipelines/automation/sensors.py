"""Sensors: reports after daily runs, a waiting run brought forward, alerts of failed runs.

`reports_after_daily`  both reports, once after a batch of `daily` runs
`new_files`            a changed drop folder runs the session that waits, at once
`failed_runs`          every failed run is logged, and told to a program of yours

The schedule decides which session is next (`next_session.py`); the sensors leave to the schedule
what it will ask for within moments.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.automation.alerts import describe, write_line
from pipelines.automation.drop_folder import Watch, look_at
from pipelines.automation.next_session import Outlook, clock, done_sessions, look, wait_after
from pipelines.automation.schedule import last_cron, request, without_newcomers
from pipelines.instance.alert_program import run_program
from pipelines.instance.names import (
    FAILURES_SENSOR,
    FILES_SENSOR,
    REPORTS_SENSOR,
    is_command,
    own_name,
)
from pipelines.instance.run_history import PARTITION, newest_run, runs_since, work_in_progress
from pipelines.instance.schedule_switch import schedule_is_on
from pipelines.market.market import Market
from pipelines.market.stage import Stage

_SECONDS = 30  # between two looks
_MOMENTS = dt.timedelta(minutes=2)


def utc_now() -> dt.datetime:
    """The present time in UTC."""
    return dt.datetime.now(dt.UTC)


def _status(on: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


def _as_the_schedule_sees_it(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    job: str,
    now: dt.datetime,
    done: Mapping[Stage, Sequence[str]] | None = None,
) -> Outlook:
    """The outlook that the schedule would have now; see `look`."""
    cron = last_cron(market.config.schedule, market.sessions.timezone, now)
    return look(market, stages, instance, job, now, closed_by=cron, done=done)


def _is_before_the_first_evaluation(market: Market, run: dg.DagsterRun) -> bool:
    """True if a run made a session whose matured labels are of decisions before any model."""
    key, sessions = run.tags.get(PARTITION, ""), market.sessions
    if key not in sessions:
        return False
    age = sessions.position(key) - sessions.position(market.plan.first_trained)
    return age < market.datasets[0].label_lag


def reports_after_daily(
    market: Market, stages: Sequence[Stage], daily: Any, reports: Any
) -> dg.SensorDefinition:
    """Launch `reports` once after a batch of `daily` runs.

    While sessions are being caught up it waits for the last of them, or for the first that fails.
    Reports that fail are tried again as a session is, after the same waits and as often.

    Args:
        market: the market; the sensor is on where the schedule is.
        stages: its stages.
        daily: the job that is watched.
        reports: the job that follows it.
    """
    settings = market.config.schedule

    @dg.sensor(
        name=own_name(market, REPORTS_SENSOR),
        job=reports,
        minimum_interval_seconds=_SECONDS,
        default_status=_status(settings.enabled),
        description="Both reports, once after the last of several runs of daily.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        instance = context.instance
        newest_record = newest_run(instance, daily.name, [dg.DagsterRunStatus.SUCCESS])
        if newest_record is None:
            return dg.SkipReason(f"no run of {daily.name} has succeeded yet")
        if _is_before_the_first_evaluation(market, newest_record.dagster_run):
            return dg.SkipReason("no label has matured since training began: nothing to report")
        newest, end_time = newest_record.dagster_run.run_id, newest_record.end_time or 0.0
        report_runs = runs_since(instance, reports.name, end_time)
        # One run of the reports a batch: those that wait, work or succeeded since are enough.
        if report_runs.live is not None:
            return dg.SkipReason(
                f"run {report_runs.live[:8]} of {reports.name} waits or works already"
            )
        if report_runs.succeeded:
            return dg.SkipReason(f"the reports hold run {newest[:8]}, the newest of {daily.name}")
        # A failed report is tried again like a session, after the same waits.
        if report_runs.failed is not None:
            count, last = report_runs.failures, report_runs.failed
            zone = market.sessions.timezone
            why = (
                f"attempt {count} of {settings.max_attempts} at the reports of run {newest[:8]} "
                f"failed at {clock(last.ended, zone)} (run {last.run_id[:8]}): {last.reason}"
            )
            if count >= settings.max_attempts:
                return dg.SkipReason(
                    f"{why}; it was the last. Put right what the reason names and launch "
                    f"{reports.name}; the next run of {daily.name} has its reports tried anew"
                )
            due = last.ended + wait_after(settings, count)
            if due > utc_now():
                return dg.SkipReason(f"{why}; the next is due at {clock(due, zone)}")
        busy = work_in_progress(instance, market, market.sessions.keys)
        # More sessions are coming: the reports follow the last of them.
        if busy is not None:
            return dg.SkipReason(f"{busy}: the reports follow it")
        if schedule_is_on(instance, market):
            outlook = _as_the_schedule_sees_it(market, stages, instance, daily.name, utc_now())
            if outlook.ask_for is not None:
                return dg.SkipReason(f"{outlook.ask_for} is next: the reports follow it")
        again = f" {report_runs.failures + 1}" if report_runs.failures else ""
        return dg.RunRequest(run_key=f"{newest}{again}")  # a key is never asked for twice

    return sensor


def new_files(market: Market, stages: Sequence[Stage], daily: Any) -> dg.SensorDefinition | None:
    """Run the oldest missing session when the files of the drop folder have changed.

    A session that waits for its next attempt, was given up or has not reached its cron time is
    run at once; one that the schedule asks for within moments is left to it.

    Args:
        market: the market; the sensor is on where the schedule is.
        stages: its stages.
        daily: the job that makes one session.

    Returns:
        The sensor; None where no folder is configured.
    """
    settings = market.config.schedule
    folder = settings.drop_folder
    if folder is None:
        return None

    @dg.sensor(
        name=own_name(market, FILES_SENSOR),
        job=daily,
        minimum_interval_seconds=_SECONDS,
        default_status=_status(settings.enabled),
        description=f"Runs the session that waits when the files of {folder} have changed, once "
        f"two looks {_SECONDS} seconds apart saw the same.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        watch = Watch.of(context.cursor)
        try:
            digest = look_at(folder)
        except OSError as error:
            return dg.SensorResult(skip_reason=f"cannot look into {folder}: {error}")
        seen_cursor = Watch(digest, watch.handled).cursor()
        if digest == watch.handled:
            return dg.SensorResult(skip_reason=f"no change in {folder}", cursor=seen_cursor)
        # Two looks in a row must see the same, since a file may still be growing.
        if digest != watch.seen:
            why = f"files of {folder} have changed; waiting until they are complete"
            return dg.SensorResult(skip_reason=why, cursor=seen_cursor)
        moment, job = utc_now(), daily.name
        done = done_sessions(market, stages, context.instance)
        outlook = look(market, stages, context.instance, job, moment, done=done)
        handled_cursor = Watch(digest, digest).cursor()
        if not outlook.missing:
            why = f"{folder} has changed, and {outlook.reason(settings, market.sessions.timezone)}"
            return dg.SensorResult(skip_reason=why, cursor=handled_cursor)
        # The change stays unhandled while a run works, so that a later look acts on it.
        if outlook.busy is not None:
            return dg.SensorResult(
                skip_reason=f"{folder} has changed, and {outlook.busy}", cursor=seen_cursor
            )
        # The schedule will ask within moments: a second request would be a second run.
        if schedule_is_on(context.instance, market):
            soon = _as_the_schedule_sees_it(
                market, stages, context.instance, job, moment + _MOMENTS, done
            )
            if soon.ask_for is not None:
                why = f"{folder} has changed; the schedule asks for {soon.ask_for} in a moment"
                return dg.SensorResult(skip_reason=why, cursor=seen_cursor)
        attempt = outlook.attempts.runs if outlook.attempts else 0
        run_key = f"{outlook.missing[0]} {attempt} {digest}"
        run = without_newcomers(
            request(outlook, settings, run_key=run_key), market, stages, outlook
        )
        return dg.SensorResult(run_requests=[run], cursor=handled_cursor)

    return sensor


def failed_runs(market: Market, daily: Any) -> dg.SensorDefinition:
    """Log every failed run of the market and tell the configured program.

    Args:
        market: the market; the sensor is on where the schedule is, or a program is configured.
        daily: the job that the schedule runs.
    """
    alerts, schedule = market.config.alerts, market.config.schedule
    alert = f", and tells {' '.join(alerts.on_failure)}" if alerts.on_failure else ""

    @dg.run_failure_sensor(
        name=own_name(market, FAILURES_SENSOR),
        minimum_interval_seconds=_SECONDS,
        default_status=_status(schedule.enabled or bool(alerts.on_failure)),
        description=f"Adds every failed run to {market.paths.reports / 'failures.jsonl'}{alert}.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        if is_command(market, context.dagster_run):
            return  # a person sits before the terminal that says it
        is_on = schedule_is_on(context.instance, market)
        failure = describe(
            market, context.instance, context.dagster_run, daily.name, schedule_on=is_on
        )
        try:
            write_line(market.paths.reports, failure)
        except OSError as error:
            context.log.error(f"the failure of run {failure.run_id} was not logged: {error}")
        if alerts.on_failure:
            trouble = run_program(
                "alerts.on_failure",
                alerts.on_failure,
                failure.environment(),
                alerts.timeout_seconds,
            )
            if trouble is not None:
                context.log.error(trouble)

    return sensor
