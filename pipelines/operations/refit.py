"""`refit`: fit the processors again, on purpose; every dataset and model follows."""

from __future__ import annotations

from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.instance.home import dagster_instance
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import Kind
from pipelines.operations.console import LiveProgress
from pipelines.operations.runs import run_assets


def run_refit(market: Market, console: Console) -> None:
    """Fit the processors again on the configured window.

    Raises:
        RunFailedError: a session of the fit window is not in the warehouse.
    """
    stages = stages_of(market)
    fitted = [stage.name for stage in stages if stage.kind is Kind.FITTED]
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        with LiveProgress(console).shown():
            run_assets(build_definitions(market, stages), instance, fitted)
    console.print(
        f"fitted on {market.fit_sessions[0]} … {market.fit_sessions[-1]}; "
        f"`{market.command('status')}` says what follows from it",
        soft_wrap=True,
        highlight=False,
    )
