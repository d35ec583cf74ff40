"""A weekly report downstream of a market's predictions, as an asset of its owner's.

Its partitions are the weeks from Monday to Sunday; Dagster maps each to the sessions in it. What
the report reads comes verified from the warehouse, which names a session that is missing.
"""

from pathlib import Path

import dagster as dg
import pandas as pd

from pipelines.market.market import Market


def weekly_report(market: Market, model: str) -> dg.AssetsDefinition:
    """The asset `own/MARKET_MODEL_weekly`.

    Args:
        market: the market.
        model: one of its models.
    """
    table, sessions = f"{model}_prediction", market.sessions
    weeks = dg.WeeklyPartitionsDefinition(
        start_date=market.plan.first_trained,
        day_offset=1,  # a week begins on Monday; without it on Sunday
        timezone=sessions.timezone,
    )

    @dg.asset(
        key=["own", f"{market.config.name}_{model}_weekly"],
        deps=[dg.AssetKey([market.config.name, table])],
        partitions_def=weeks,
        group_name="weekly",
        kinds={"csv"},
        description="Mean rank of each name in the sessions of a week, up to 1 for the best.",
    )
    def weekly(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        begin, end = (f"{moment:%Y-%m-%d}" for moment in context.partition_time_window)
        keys = [key for key in sessions.keys if begin <= key < end]
        if not keys:
            raise dg.Failure(f"{sessions.calendar} has no session in the week of {begin}")
        rows = market.warehouse.read(table, keys, needed_by="the weekly report").frame
        ranks = rows.groupby("date")["score"].rank(pct=True).groupby(rows["instrument"]).mean()
        path = folder_of(market) / f"{context.partition_key}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        ranks.rename("mean_rank").sort_values(ascending=False).to_csv(path)
        return dg.MaterializeResult(
            metadata={
                "sessions": len(keys),
                "names": len(ranks),
                "best": str(ranks.idxmax()),
                "file": dg.MetadataValue.path(path),
            }
        )

    return weekly


def folder_of(market: Market) -> Path:
    """The folder of the reports of a market; nothing of the project lies there."""
    return market.paths.root.parent / "own" / market.config.name


def read_report(market: Market, week: str) -> pd.Series:
    """The mean ranks of a week by instrument."""
    return pd.read_csv(folder_of(market) / f"{week}.csv", index_col="instrument")["mean_rank"]


def weekly_definitions(market: Market, model: str) -> dg.Definitions:
    """The code location: the report, its job, and a schedule that runs when a week has ended."""
    report = weekly_report(market, model)
    job = dg.define_asset_job("weekly", selection=[report])
    schedule = dg.build_schedule_from_partitioned_job(
        job, hour_of_day=6, default_status=dg.DefaultScheduleStatus.STOPPED
    )
    return dg.Definitions(assets=[report], jobs=[job], schedules=[schedule])
