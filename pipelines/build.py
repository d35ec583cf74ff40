"""Dagster definitions of a market: assets, jobs, the schedule and the sensors of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipelines.assets.asset_factory import EXECUTOR, asset_of
from pipelines.assets.partitions import partitions_definition
from pipelines.assets.stages import stages as stages_of
from pipelines.assets.train_units import train_units_job
from pipelines.automation.schedule import daily_retraining
from pipelines.automation.sensors import failed_runs, new_files, reports_after_daily
from pipelines.config.executor import executor_config
from pipelines.instance.names import (
    BACKFILL,
    DAILY,
    MARKET_TAG,
    REFIT,
    REPORTS,
    asset_key,
    own_name,
)
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.staleness.up_to_date_check import up_to_date_check


def build_definitions(market: Market, stages: Sequence[Stage] | None = None) -> dg.Definitions:
    """Build the code location of a market.

    Args:
        market: the market.
        stages: its stages (default: made here).
    """
    stages = stages_of(market) if stages is None else stages
    days = partitions_definition(market.sessions, closed=market.config.market.end is not None)
    daily = _job(
        market,
        DAILY,
        [stage for stage in stages if stage.tables],
        "Every partitioned asset of one session, in one process.",
    )
    reports = _job(
        market,
        REPORTS,
        [stage for stage in stages if stage.kind is Kind.REPORT],
        "Every report, over everything evaluated so far.",
    )
    refit = _job(
        market,
        REFIT,
        [stage for stage in stages if stage.kind is Kind.FITTED],
        "Fit the processors again on the configured window. The datasets and models made with "
        "another state are refused until they are made again.",
    )
    # A command runs assets of several kinds at once, and its runs have a job to stand behind them.
    anything = _job(
        market,
        BACKFILL,
        stages,
        "Any assets over any range of sessions, as demo, backfill and refresh run them.",
    )
    sensors = (
        reports_after_daily(market, stages, daily, reports),
        new_files(market, stages, daily),
        failed_runs(market, daily),
    )
    # A report has the check of the whole market, since a person opens it every day.
    report = next(stage.name for stage in stages if stage.kind is Kind.REPORT)
    return dg.Definitions(
        assets=[asset_of(market, stage, stages, days) for stage in stages],
        asset_checks=[up_to_date_check(market, stages, report)],
        jobs=[daily, reports, refit, anything, *_unit_jobs(market)],
        schedules=[daily_retraining(market, stages, daily)],
        sensors=[sensor for sensor in sensors if sensor is not None],
        executor=EXECUTOR,
    )


def _unit_jobs(market: Market) -> list[dg.JobDefinition]:
    """The job whose steps are units, where the executor of units is Dagster's."""
    wanted = executor_config(market.config.training.executor)
    return [train_units_job(market, wanted)] if wanted.kind == "dagster" else []


def _job(market: Market, name: str, stages: Sequence[Stage], description: str) -> Any:
    """A job that makes some stages in one process; Dagster has no public name for its type."""
    return dg.define_asset_job(
        own_name(market, name),
        selection=dg.AssetSelection.assets(*(asset_key(market, stage.name) for stage in stages)),
        tags={MARKET_TAG: market.config.name},
        description=description,
        executor_def=EXECUTOR,
    )
