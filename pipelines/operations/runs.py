"""Runs started from a command, over a range of sessions, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from pipelines.assets.materialize import CURRENT_TAG, REMAKE
from pipelines.errors import PipelineError
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.run_history import RANGE_END, RANGE_START, failure_reason


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
        assets: keys to materialize.
        sessions: first and last session; None for assets without partitions.
        tags: more tags of the run; without `materialize.CURRENT_TAG` every partition is made,
            current or not.

    Returns:
        The run's id.

    Raises:
        RunFailedError: a step failed.
        KeyboardInterrupt: the run was interrupted; finished sessions are recorded.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    run_tags = {OWNER_TAG: owner(), CURRENT_TAG: REMAKE, **(tags or {})}
    if sessions is not None:
        run_tags |= {RANGE_START: sessions[0], RANGE_END: sessions[1]}
    # The live display has the console; the event log keeps every message.
    logger_config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags=run_tags,
        run_config=logger_config,
        raise_on_error=False,
    )
    if not result.success:
        # Dagster turns Ctrl-C into a failed step: the command must end as interrupted.
        if _interrupted(result):
            raise KeyboardInterrupt
        raise RunFailedError(failure_reason(instance, result.run_id, trace=True))
    return result.run_id


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
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
