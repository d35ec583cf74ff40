"""`reports_after_daily`: the reports follow a successful `daily` run."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def reports_after_daily(
    daily: UnresolvedAssetJobDefinition, reports: UnresolvedAssetJobDefinition, *, enabled: bool
) -> dg.SensorDefinition:
    """Launch `reports` after `daily`; several sessions that end close together share one run.

    Args:
        daily: the job that is watched.
        reports: the job that follows it.
        enabled: whether it runs without being switched on, as the schedule does.
    """

    @dg.run_status_sensor(
        name="reports_after_daily",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[daily],
        request_job=reports,
        default_status=(
            dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED
        ),
        description="Both reports, after a successful `daily` run.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        waiting = context.instance.get_runs(
            dg.RunsFilter(job_name=reports.name, statuses=[dg.DagsterRunStatus.QUEUED]), limit=1
        )
        if waiting:
            return dg.SkipReason(f"run {waiting[0].run_id[:8]} of {reports.name} waits already")
        return dg.RunRequest(run_key=context.dagster_run.run_id)

    return sensor
