"""Runs of a session in Dagster's record: who works on it, how often it failed, and why.

The record is the only memory of the automation: attempts are counted from the runs and their tags,
so a run that a person launches counts like any other, and nothing can disagree with the UI. A
successful run ends the count; so does a materialization of the session's evaluations by another
run, a backfill say, since the session was done then.

A tag marks a run that found the source without the bars of its session. Such a run ends well and is
counted apart: nothing was tried, the session only waits (`waiting.py`). The tag's value names its
run, as a re-execution from the UI inherits tags and may fail of something else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from pipelines.instance.names import is_backfill_of, is_run_of
from pipelines.instance.orphaned_runs import LIVE, is_orphan
from pipelines.instance.resting_record import UNFINISHED_BACKFILLS

if TYPE_CHECKING:
    from pipelines.market.market import Market

WAITS_TAG = "rnn/waits_for"  # a run found that this had not arrived yet
WAITING = "waits for its bars"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"

ENDED_BADLY = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_FAILURE_EVENTS = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}
_UNFINISHED_BACKFILLS = [BulkActionStatus(name) for name in UNFINISHED_BACKFILLS]
_CRASH = "Run execution process for"  # as dagster's gRPC server begins it
_RUNS_READ = 200  # of one session, newest first: more than any limit of attempts
_PAGE = 20


@dataclass(frozen=True)
class Attempts:
    """The runs of a session that did not make it, since it was last made.

    Attributes:
        count: runs that tried; a run that found no bars did not.
        run_id: the newest run of all.
        ended: end of the newest run.
        reason: the words of its failed steps, or of the step that found no bars.
        late: runs that found that the bars had not arrived.
        late_since: end of the first late run, if the newest run is late; else None.
    """

    count: int
    run_id: str
    ended: dt.datetime
    reason: str
    late: int = 0
    late_since: dt.datetime | None = None

    @property
    def runs(self) -> int:
        """All runs that did not make the session."""
        return self.count + self.late


def waits_for_bars_tag(run_id: str) -> dict[str, str]:
    """The tag of a run that found that the bars of its session had not arrived."""
    return {WAITS_TAG: f"bars ({run_id[:8]})"}


def waits_for_bars(run: dg.DagsterRun) -> bool:
    """True if the run itself, not one that it executes again, found that its bars are late."""
    return waits_for_bars_tag(run.run_id).items() <= run.tags.items()


def failed_attempts(
    instance: dg.DagsterInstance, job: str, key: str, last_assets: Sequence[dg.AssetKey] = ()
) -> Attempts | None:
    """Count the runs of a job that did not make a session; None if none ended since it was made.

    A run that a person canceled counts: it is not started again at once.

    Args:
        instance: the record.
        job: the job that makes one session.
        key: the session.
        last_assets: the assets that end the graph; failures older than a materialization of one
            by another run are past.
    """
    ended = dg.RunsFilter(
        job_name=job,
        tags={PARTITION: key},
        statuses=[*ENDED_BADLY, dg.DagsterRunStatus.SUCCESS],
    )
    failed = []
    for record in instance.get_run_records(ended, limit=_RUNS_READ):
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.SUCCESS and not waits_for_bars(run):
            break
        failed.append(record)
    done = _last_done(instance, key, last_assets, failed) if failed else 0.0
    failed = [record for record in failed if _ended(record).timestamp() >= done]
    if not failed:
        return None
    run_id = failed[0].dagster_run.run_id
    late = [record for record in failed if waits_for_bars(record.dagster_run)]
    return Attempts(
        count=len(failed) - len(late),
        run_id=run_id,
        ended=_ended(failed[0]),
        reason=waiting_reason(instance, run_id) or failure_reason(instance, run_id),
        late=len(late),
        late_since=_ended(late[-1]) if late and late[0] is failed[0] else None,
    )


def waiting_reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The reason that a session of a run waits for bars, as its source says; empty if none does."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION):
        if entry.dagster_event is not None:
            observation = entry.dagster_event.asset_observation_data.asset_observation
            if observation.metadata.get("state") == dg.MetadataValue.text(WAITING):
                return str(observation.metadata["reason"].value)
    return ""


def _last_done(
    instance: dg.DagsterInstance,
    key: str,
    assets: Iterable[dg.AssetKey],
    failed: Sequence[dg.RunRecord],
) -> float:
    """Time of the newest materialization of the assets by a run that did not fail; 0 if none.

    A failed run may have made some of them, which does not make the session done.
    """
    runs, newest = {record.dagster_run.run_id for record in failed}, 0.0
    for asset in assets:
        partition = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[key])
        records = instance.fetch_materializations(partition, limit=len(runs) + 1).records
        newest = max(newest, *(r.timestamp for r in records if r.run_id not in runs), 0.0)
    return newest


@dataclass(frozen=True)
class Ended:
    """A run that failed: which, when and why."""

    run_id: str
    ended: dt.datetime
    reason: str


@dataclass(frozen=True)
class RunsSince:
    """The runs of a job that began after a moment.

    Attributes:
        live: the newest run that waits or works, whenever it was launched.
        succeeded: True if one ended well.
        failures: number of failed or canceled runs, if none ended well.
        failed: the newest failed or canceled run.
    """

    live: str | None
    succeeded: bool
    failures: int
    failed: Ended | None


def runs_since(instance: dg.DagsterInstance, job: str, moment: float) -> RunsSince:
    """Sort the runs of a job that began at or after a moment.

    Args:
        instance: the record.
        job: the job.
        moment: seconds since 1970.
    """
    begun: list[dg.RunRecord] = []
    waiting: list[dg.RunRecord] = []
    cursor = None
    # To read a run is a fifth of a millisecond or more, and a long history has one a session.
    while len(begun) < _RUNS_READ:
        page = instance.get_run_records(dg.RunsFilter(job_name=job), limit=_PAGE, cursor=cursor)
        new = [r for r in page if (r.start_time or r.create_timestamp.timestamp()) >= moment]
        waiting += [r for r in page if r.dagster_run.status == dg.DagsterRunStatus.QUEUED]
        begun += new
        if not new:
            break
        cursor = page[-1].dagster_run.run_id
    live = [*waiting, *(r for r in begun if r.dagster_run.status in LIVE)]
    succeeded = any(r.dagster_run.status == dg.DagsterRunStatus.SUCCESS for r in begun)
    bad = [r for r in begun if r.dagster_run.status in ENDED_BADLY]
    newest = None
    if bad and not succeeded:
        run_id = bad[0].dagster_run.run_id
        newest = Ended(run_id, _ended(bad[0]), failure_reason(instance, run_id))
    return RunsSince(
        live=live[0].dagster_run.run_id if live else None,
        succeeded=succeeded,
        failures=0 if succeeded else len(bad),
        failed=newest,
    )


def _ended(record: dg.RunRecord) -> dt.datetime:
    stamp = record.end_time or record.update_timestamp.timestamp()
    return dt.datetime.fromtimestamp(stamp, dt.UTC)


def failure_reason(instance: dg.DagsterInstance, run_id: str, *, trace: bool = False) -> str:
    """Say why a run failed, in the words of its failed steps, else of what ended it from outside.

    Args:
        instance: the record.
        run_id: the run.
        trace: add the stack trace of errors that the pipeline did not raise on purpose, and begin
            a line for each step.
    """
    steps, ends = [], []
    for entry in instance.all_logs(run_id, of_type=_FAILURE_EVENTS):
        event = entry.dagster_event
        if event is None:
            continue
        if not event.is_step_failure:
            error = getattr(event.event_specific_data, "error", None)  # of the engine or its record
            reason = [event.message] if event.message else []
            reason += [_message(error, trace)] if error is not None else []
            ends.append(" ".join(reason) or "no reason was recorded")
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            steps.append(data.user_failure_data.description)
        elif data.error is not None:
            steps.append(f"{_stage(event.step_key)}: {_message(data.error, trace)}")
    if not steps:  # the process died, and its code server says how
        ends = _crashes(instance, run_id) or ends
    return ("\n" if trace else "; ").join(steps or ends) or "no reason was recorded"


def _stage(step: str | None) -> str:
    """The stage of a step, whose key is that of its asset with two underscores between."""
    return (step or "").rpartition("__")[2]


def _message(error: Any, trace: bool) -> str:
    """The message of an error's first cause, or the whole trace below Dagster's own frame."""
    if trace:
        return str((error.cause or error).to_string())
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip()


def _crashes(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The end of a run's process, in the words of the code server that launched it."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    texts = [entry.dagster_event.message or "" for entry in events if entry.dagster_event]
    return [text for text in texts if text.startswith(_CRASH)][-1:]


def sessions_of(run: dg.DagsterRun, keys: Iterable[str]) -> set[str]:
    """Select the sessions that a run works on, by its tags; range runs included."""
    tags = run.tags
    if PARTITION in tags:
        return {tags[PARTITION]}
    if RANGE_START in tags and RANGE_END in tags:
        return {key for key in keys if tags[RANGE_START] <= key <= tags[RANGE_END]}
    return set()


def work_in_progress(
    instance: dg.DagsterInstance, market: Market, keys: Collection[str] | None = None
) -> str | None:
    """Name a run or a backfill of a market that waits or works now; None if there is none.

    Args:
        instance: the record.
        market: the market; the work on others does not count.
        keys: the sessions that count; None for all runs, those without a session, too.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=LIVE)):
        busy = sessions_of(run, keys or ())
        counts = is_run_of(market, run) and (busy or keys is None)
        if counts and not is_orphan(instance, run):
            return f"run {run.run_id[:8]} is working{f' on {min(busy)}' if busy else ''}"
    unfinished = instance.get_backfills(filters=BulkActionsFilter(statuses=_UNFINISHED_BACKFILLS))
    own = next((each for each in unfinished if is_backfill_of(market, each)), None)
    return f"backfill {own.backfill_id} is in progress" if own else None


def newest_run(
    instance: dg.DagsterInstance, job: str, statuses: Sequence[dg.DagsterRunStatus] = ()
) -> dg.RunRecord | None:
    """The newest run of a job, of any status or of certain ones; one that found no bars apart."""
    runs = dg.RunsFilter(job_name=job, statuses=list(statuses))
    for limit in (1, _RUNS_READ):
        for record in instance.get_run_records(runs, limit=limit):
            run = record.dagster_run
            if PARTITION not in run.tags or not waits_for_bars(run):
                return record
    return None
