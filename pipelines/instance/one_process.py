"""Run a job in this process with the executor of its definitions.

`execute_in_process`, the public way, replaces the executor by one that waits for the success of
every step upstream. The steps of this project's jobs begin once the output of those is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from pipelines.instance.orphaned_runs import ONE_PROCESS_EXECUTORS


def execute_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    *,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any],
    location: str,
) -> dg.JobExecutionResult:
    """Run some assets of a job in this process.

    Args:
        job: the job; its executor must be one of this process.
        instance: the record.
        assets: keys of the assets.
        tags: tags of the run.
        run_config: configuration of the run.
        location: the code location that has the job: the UI shows the run on its timeline.

    Returns:
        Dagster's result; a failed step does not raise.
    """
    keys = frozenset(assets)
    repository = RemoteRepositoryOrigin(
        RegisteredCodeLocationOrigin(location), SINGLETON_REPOSITORY_NAME
    )
    run = instance.create_run_for_job(
        job_def=job.get_subset(asset_selection=keys),
        run_config=run_config,
        tags={**job.run_tags, **tags},
        asset_selection=keys,
        remote_job_origin=RemoteJobOrigin(repository, job.name),
    )
    return execute_run(InMemoryJob(job), run, instance)


_begun: dict[str, set[dg.AssetKey]] = {}


def left_to_make(context: dg.AssetExecutionContext) -> frozenset[dg.AssetKey]:
    """The assets that this process makes in the run from now on, that of the step among them.

    A process of the multiprocess executor makes that of its step alone.
    """
    own, run_id = context.asset_key, context.run.run_id
    job = context.get_step_execution_context().job_def
    if job.executor_def.name not in ONE_PROCESS_EXECUTORS:
        return frozenset({own})
    if run_id not in _begun:
        _begun.clear()  # a process executes one run at a time
    begun = _begun.setdefault(run_id, set())
    begun.add(own)
    return frozenset((job.asset_layer.selected_asset_keys - begun) | {own})
