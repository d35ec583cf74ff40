"""Runs started from a command, over a range of sessions, in this process.

A command may need several runs, since a run has one range. `Runs` goes on after a run that had to
leave sessions out, because one could not be made or their bars have not arrived: the runs that
follow make the sessions before those, and the failure is raised at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

import dagster as dg

from pipelines.assets.materialize import CURRENT_TAG, REMAKE
from pipelines.errors import PipelineError
from pipelines.instance.names import BACKFILL, MARKET_TAG, RUN_TAG, run_words, stage_of
from pipelines.instance.one_process import execute_here
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.run_history import (
    RANGE_END,
    RANGE_START,
    failure_reason,
    waiting_reason,
)
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.staleness.causes import Cause
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Work, survey


class RunFailedError(PipelineError):
    """A run failed; the message says which step and why."""


def run_assets(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: tuple[str, str] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Materialize assets in this process, over a range of sessions where they have partitions.

    Args:
        defs: the market's definitions.
        instance: the market's Dagster record.
        assets: names of the stages to materialize.
        sessions: first and last session; None for assets without partitions.
        tags: more tags of the run, `RUN_TAG` with the command that starts it among them; without
            `materialize.CURRENT_TAG` every partition is made, current or not.

    Returns:
        The run's id.

    Raises:
        RunFailedError: a step failed.
        KeyboardInterrupt: the run was interrupted; finished sessions are recorded.
    """
    keys = keys_by_stage(defs)
    chosen = [keys[name] for name in assets]
    name = chosen[0].path[0]
    job = defs.resolve_job_def(f"{name}_{BACKFILL}")
    run_tags = {OWNER_TAG: owner(), MARKET_TAG: name, CURRENT_TAG: REMAKE}
    run_tags |= tags or {}
    command = run_tags.get(RUN_TAG, "run")
    run_tags[RUN_TAG] = run_words(run_tags[MARKET_TAG], command, sessions)
    if sessions is not None:
        run_tags |= {RANGE_START: sessions[0], RANGE_END: sessions[1]}
    # The live display has the console; the event log keeps every message.
    logger_config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = execute_here(
        job, instance, chosen, tags=run_tags, run_config=logger_config, location=name
    )
    if not result.success:
        # Dagster turns Ctrl-C into a failed step: the command must end as interrupted.
        if _interrupted(result):
            raise KeyboardInterrupt
        raise RunFailedError(failure_reason(instance, result.run_id, trace=True))
    return result.run_id


def keys_by_stage(defs: dg.Definitions) -> dict[str, dg.AssetKey]:
    """The asset keys of a market's definitions by the names of their stages."""
    return {stage_of(key): key for key in defs.resolve_asset_graph().get_all_asset_keys()}


class Runs:
    """The runs of one command.

    Args:
        market: the market.
        stages: its stages.
        defs: its definitions.
        instance: its Dagster record.
        tags: tags of every run.
    """

    def __init__(
        self,
        market: Market,
        stages: Sequence[Stage],
        defs: dg.Definitions,
        instance: dg.DagsterInstance,
        tags: Mapping[str, str],
    ) -> None:
        self._market, self._stages, self._defs = market, stages, defs
        self._instance, self._tags = instance, tags
        self._failure: RunFailedError | None = None
        self.waits = ""

    def run(self, work: Work) -> None:
        """Run some work, less what an earlier run has left out."""
        part = self._possible(work) if self._failure or self.waits else work
        if part is None:
            return
        try:
            run_id = run_assets(
                self._defs, self._instance, part.assets, (part.first, part.last), tags=self._tags
            )
        except RunFailedError as error:
            self._failure = self._failure or error
        else:
            self.waits = self.waits or waiting_reason(self._instance, run_id)

    def finish(self) -> None:
        """Raise the first failure of the runs.

        Raises:
            RunFailedError: a run failed.
        """
        if self._failure is not None:
            raise self._failure

    def _possible(self, work: Work) -> Work | None:
        """The part of some work whose inputs are as they should be; None if there is none."""
        partitioned = [stage for stage in self._stages if stage.tables]
        if not any(stage.name in work.assets for stage in partitioned):
            return work
        keys = self._market.sessions.between(work.first, work.last)
        upstream = set(work.assets)
        for stage in reversed(self._stages):
            upstream |= set(stage.deps) if stage.name in upstream else set()
        upstream -= set(work.assets)
        others = {s.name: s.due(keys) for s in partitioned if s.name in upstream}
        served = Served(self._market, self._stages, self._instance)
        found = survey(self._market, self._stages, self._instance, others, served=served)
        left_out = {
            key
            for reasons in found.reasons.values()
            for key, why in reasons.items()
            if why.cause not in (Cause.SERVED, Cause.UNRECORDED)
        }
        head = list(takewhile(lambda key: key not in left_out, keys))
        return replace(work, last=head[-1]) if head else None


def waiting_line(reason: str) -> str:
    """Say what waits for its bars, and what to do.

    Args:
        reason: why, in the words of the source.
    """
    return f"waiting for bars, everything before them is made: {reason}"


def _interrupted(result: dg.JobExecutionResult) -> bool:
    """True if a step ended because the process was asked to stop."""
    stops = {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                if error.cls_name in stops:
                    return True
                error = error.cause
    return False
