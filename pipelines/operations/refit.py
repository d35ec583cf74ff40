"""`refit`: fit the processors again, on purpose; every dataset and model follows.

A moving fit window is fitted by the sessions themselves; `refit` then makes all stored states anew.
"""

from __future__ import annotations

from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.errors import PipelineError
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
        PipelineError: the fit window moves, and no session has a state yet.
    """
    stages = stages_of(market)
    fitted = [stage for stage in stages if stage.kind is Kind.FITTED]
    stored_keys = sorted(
        k for s in fitted for t in s.tables for k in market.warehouse.sessions(t.name)
    )
    span = (stored_keys[0], stored_keys[-1]) if stored_keys else None
    if span is None and market.fit_plan is not None:
        raise PipelineError(
            f"the fit window moves, and no session has a state yet; "
            f"`{market.command('backfill')}` fits the processors with the sessions"
        )
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        with LiveProgress(console).shown():
            names = [stage.name for stage in fitted]
            run_assets(build_definitions(market, stages), instance, names, span)
    fit = market.fit_sessions() if span is None else span
    console.print(
        f"fitted {'on' if span is None else 'for'} {fit[0]} … {fit[-1]}; "
        f"`{market.command('status')}` says what follows from it",
        soft_wrap=True,
        highlight=False,
    )
