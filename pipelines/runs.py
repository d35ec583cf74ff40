"""Runs started from a command, over a range of sessions, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.errors import PipelineError
from pipelines.orphans import OWNER_TAG, owner
from pipelines.schedules import RANGE_END, RANGE_START
from pipelines.upkeep import CURRENT_TAG, REMAKE


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
        tags: more tags of the run; without the one that says otherwise (`upkeep.CURRENT_TAG`) all
            that is asked for is made, current or not.

    Returns:
        The run's id.

    Raises:
        RunFailedError: a step failed.
        KeyboardInterrupt: the run was interrupted; what was finished is recorded.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    chosen = {OWNER_TAG: owner(), CURRENT_TAG: REMAKE, **(tags or {})}
    if sessions is not None:
        chosen |= {RANGE_START: sessions[0], RANGE_END: sessions[1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags=chosen,
        run_config=quiet,
        raise_on_error=False,
    )
    if not result.success:
        if _interrupted(result):
            raise KeyboardInterrupt
        raise RunFailedError(_why(result))
    return result.run_id


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a step ended because the process was asked to stop."""
    stops = {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                if error.cls_name in stops:
                    return True
                error = error.cause
    return False


def _why(result: dg.ExecuteInProcessResult) -> str:
    """The reason that the failed steps gave, the stack trace only for what nobody foresaw."""
    reasons = []
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data: Any = event.step_failure_data
        user = data.user_failure_data
        if user is not None and user.description:
            reasons.append(user.description)
        elif data.error is not None:
            cause = data.error.cause or data.error
            reasons.append(f"{event.step_key}: {cause.to_string()}")
    return "\n".join(reasons) or f"run {result.run_id} failed; the UI shows its log"
