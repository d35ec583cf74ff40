"""Alerts of failed runs: a line in `reports/failures.jsonl`, and a program of yours.

The program is run without a shell, with the failure in its environment: RNN_MARKET, RNN_RUN_ID,
RNN_JOB, RNN_SESSION (`FIRST..LAST` for a range, empty without sessions), RNN_REASON, RNN_RETRY
(what to run by hand, and whether the schedule tries again) and RNN_GIVEN_UP (`1` where it does
not). `pipelines/instance/alert_program.py` runs it.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg

from pipelines.automation.next_session import clock, next_attempt
from pipelines.config.market_file import ScheduleConfig
from pipelines.instance.names import without_market
from pipelines.instance.run_history import (
    PARTITION,
    RANGE_END,
    RANGE_START,
    Attempts,
    failed_attempts,
    failure_reason,
)
from pipelines.market.market import Market
from pipelines.warehouse.local_store import LocalStore

FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Failure:
    """The report of a failed run.

    Attributes:
        time: the end of the run, ISO 8601 in UTC.
        job: its job within the market, as `daily`.
        session: its session, `FIRST..LAST` for a range, empty without sessions.
        attempt: number of failed runs of the session, this one included.
        given_up: True if the schedule leaves the session to people.
        reason: the words of the failed steps.
        retry: the remedy.
    """

    time: str
    market: str
    run_id: str
    job: str
    session: str
    attempt: int
    given_up: bool
    reason: str
    retry: str

    def environment(self) -> dict[str, str]:
        """The variables that the program is given."""
        return {
            "RNN_MARKET": self.market,
            "RNN_RUN_ID": self.run_id,
            "RNN_JOB": self.job,
            "RNN_SESSION": self.session,
            "RNN_REASON": self.reason,
            "RNN_RETRY": self.retry,
            "RNN_GIVEN_UP": str(int(self.given_up)),
        }


def describe(
    market: Market,
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    daily: str,
    *,
    schedule_on: bool,
) -> Failure:
    """Describe a failed run.

    Args:
        market: the market.
        instance: its Dagster record.
        run: the run.
        daily: name of the job that the schedule runs.
        schedule_on: True if the schedule runs, and so tries again.
    """
    settings, zone = market.config.schedule, market.sessions.timezone
    key = run.tags.get(PARTITION)
    end_time = dt.datetime.now(dt.UTC)
    count, given_up, next_try = 1, False, "nothing tries it again by itself"
    # Only sessions of the daily job are tried again by the schedule.
    if run.job_name == daily and key is not None:
        attempts = failed_attempts(instance, daily, key)
        if attempts is not None:
            count, given_up = attempts.runs, next_attempt(settings, attempts) is None
            if attempts.run_id == run.run_id:
                end_time = attempts.ended
            if schedule_on:
                next_try = _next_try(settings, zone, attempts)
    return Failure(
        time=end_time.isoformat(timespec="seconds"),
        run_id=run.run_id,
        market=market.config.name,
        job=without_market(market, run.job_name),
        session=key or "..".join(run.tags[t] for t in (RANGE_START, RANGE_END) if t in run.tags),
        attempt=count,
        given_up=given_up,
        reason=failure_reason(instance, run.run_id),
        retry=f"{_by_hand(market, run, key)}; {next_try}",
    )


def _next_try(settings: ScheduleConfig, zone: str, attempts: Attempts) -> str:
    due = next_attempt(settings, attempts)
    if due is None:
        return f"the schedule has given it up after {attempts.runs} failed runs"
    if attempts.late_since is not None:
        return f"the schedule asks for its bars again at {clock(due, zone)}"
    number = f"attempt {attempts.count + 1} of {settings.max_attempts}"
    return f"the schedule tries again at {clock(due, zone)}, {number}"


def _by_hand(market: Market, run: dg.DagsterRun, key: str | None) -> str:
    """The command that does the run's work, or the place in the UI."""
    first, last = run.tags.get(RANGE_START, key), run.tags.get(RANGE_END, key)
    if first is None or last is None:
        return f"launch {run.job_name} again in the UI"
    return market.command(f"backfill --start {first} --end {last}")


def write_line(folder: Path, failure: Failure) -> Path:
    """Add a failure to the folder's log, one JSON object a line.

    Raises:
        OSError: the log cannot be written.
    """
    line = json.dumps(asdict(failure), ensure_ascii=False)
    LocalStore(folder).append_line(line, FAILURES)
    return folder / FAILURES
