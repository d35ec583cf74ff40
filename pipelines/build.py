"""The graph of a market as Dagster definitions: a pure function of the market."""

from __future__ import annotations

import dagster as dg

from pipelines.assets.dataset import dataset_infer_asset, dataset_learn_asset, processors_asset
from pipelines.assets.evaluation import (
    evaluation_asset,
    portfolio_report_asset,
    signal_report_asset,
)
from pipelines.assets.features import alpha158_asset, label_asset
from pipelines.assets.models import model_asset
from pipelines.assets.ohlcv import ohlcv_asset
from pipelines.assets.partitions import partitions_definition
from pipelines.assets.predictions import prediction_asset
from pipelines.automation.schedule import daily_retraining
from pipelines.automation.sensors import failed_runs, new_files, reports_after_daily
from pipelines.market.market import Market
from pipelines.staleness.up_to_date_check import up_to_date_check

REPORTS = ("signal_report", "portfolio_report")


def build_assets(market: Market, days: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Every asset of a market's graph; the model families come from one factory."""
    assets = [
        ohlcv_asset(market, days),
        alpha158_asset(market, days),
        label_asset(market, days),
        processors_asset(market),
        dataset_infer_asset(market, days),
        dataset_learn_asset(market, days),
    ]
    for spec in market.models:
        assets += [
            model_asset(market, spec, days),
            prediction_asset(market, spec, days),
            evaluation_asset(market, spec, days),
        ]
    return [*assets, signal_report_asset(market), portfolio_report_asset(market)]


def build_definitions(market: Market) -> dg.Definitions:
    """The code location of a market: assets, jobs, the schedule and the sensors."""
    days = partitions_definition(market.sessions, closed=market.config.market.end is not None)
    assets = build_assets(market, days)
    everything = dg.AssetSelection.all()
    unpartitioned = dg.AssetSelection.assets("processors", *REPORTS)
    daily = dg.define_asset_job(
        "daily",
        selection=everything - unpartitioned,
        description="Every partitioned asset of one session, in one process.",
        executor_def=dg.in_process_executor,
    )
    reports = dg.define_asset_job(
        "reports",
        selection=dg.AssetSelection.assets(*REPORTS),
        description="Both reports over everything evaluated so far.",
        executor_def=dg.in_process_executor,
    )
    refit = dg.define_asset_job(
        "refit",
        selection=dg.AssetSelection.assets("processors"),
        description="Fit the processors again on the configured window. The datasets and models "
        "made with another state are refused until they are made again.",
        executor_def=dg.in_process_executor,
    )
    last_assets = [f"{spec.name}_evaluation" for spec in market.models]
    sensors = (
        reports_after_daily(market, daily, reports, last_assets),
        new_files(market, daily, last_assets),
        failed_runs(market, daily),
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=[up_to_date_check(market)],
        jobs=[daily, reports, refit],
        schedules=[daily_retraining(market, daily, last_assets)],
        sensors=[sensor for sensor in sensors if sensor is not None],
        executor=dg.in_process_executor,
    )
