"""Names of a market's parts in Dagster, by which the markets of one home are told apart.

An asset key is `MARKET/STAGE`; a job, schedule or sensor is `MARKET_NAME`. They never depend on how
many markets there are. Nothing outside of Dagster's record knows them: a partition is that of a
market, a table and a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.execution.backfill import PartitionBackfill

    from pipelines.market.market import Market

MARKET_TAG = "rnn/market"  # of assets, and of the runs of jobs and commands: a filter of the UI
RUN_TAG = "rnn/run"  # a run in words: market, command and range, for the list of runs
HIDDEN = ".dagster/rnn_"  # prefix of the machinery's tags: the UI does not show `.dagster/…`
DAILY, REPORTS, REFIT = "daily", "reports", "refit"
TRAIN_UNITS = "train_units"
BACKFILL = "backfill"  # the job behind the runs of commands
SCHEDULE = "daily_retraining"
REPORTS_SENSOR, FILES_SENSOR, FAILURES_SENSOR = "reports_after_daily", "new_files", "failed_runs"


def asset_key(market: Market, stage: str) -> dg.AssetKey:
    """The key of a stage's asset."""
    import dagster as dg

    return dg.AssetKey([market.config.name, stage])


def stage_of(key: dg.AssetKey) -> str:
    """The name of the stage whose asset has a key."""
    return key.path[-1]


def own_name(market: Market, name: str) -> str:
    """The name of a market's job, schedule or sensor."""
    return f"{market.config.name}_{name}"


def run_words(market: str, command: str, sessions: tuple[str, str] | None) -> str:
    """A run in words: `sample backfill 2012-07-02 … 2013-03-01`."""
    first, last = sessions or ("", "")
    return " ".join([market, command, *([first] if first == last else [first, "…", last])]).strip()


def is_command(market: Market, run: dg.DagsterRun) -> bool:
    """True if a command runs it in its own process: the UI launches the job without these words."""
    return run.job_name == own_name(market, BACKFILL) and RUN_TAG in run.tags


def hidden_tag(tags: Mapping[str, str], tag: str) -> str | None:
    """The value of a tag of the machinery; runs of earlier releases have it as `rnn/…`."""
    return tags.get(tag, tags.get(tag.replace(HIDDEN, "rnn/", 1)))


def without_market(market: Market, name: str) -> str:
    """The name of a job, schedule or sensor within its market; others stay as they are."""
    return name.removeprefix(f"{market.config.name}_")


def is_run_of(market: Market, run: dg.DagsterRun) -> bool:
    """True if a run works on a market, by its job or by the assets that it makes."""
    name = market.config.name
    if run.asset_selection:
        return any(key.path[0] == name for key in run.asset_selection)
    return run.tags.get(MARKET_TAG) == name or run.job_name in _jobs(market)


def is_backfill_of(market: Market, backfill: PartitionBackfill) -> bool:
    """True if a backfill of the UI works on a market, by the job of its page or by its assets."""
    if backfill.asset_selection:
        return any(key.path[0] == market.config.name for key in backfill.asset_selection)
    return backfill.partition_set_name in {f"{job}_partition_set" for job in _jobs(market)}


def _jobs(market: Market) -> set[str]:
    return {own_name(market, job) for job in (DAILY, REPORTS, REFIT, BACKFILL, TRAIN_UNITS)}
