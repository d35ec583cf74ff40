"""`refit`: fit the processors again, on purpose; every dataset and model follows.

A moving fit window is fitted by the sessions themselves; `refit` then makes all stored states anew.
"""

from __future__ import annotations

from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import RUN_TAG
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import Kind
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.runs import run_assets


def run_refit(market: Market, console: Console) -> None:
    """Fit the processors again on the configured window.

    Raises:
        RunFailedError: a session of the fit window is not in the warehouse.
        PipelineError: the fit window moves, and no session has a state yet.
    """
    stages = stages_of(market)
    # Stages of a moving window are fitted for all sessions that have a state.
    names_by_span: dict[tuple[str, str] | None, list[str]] = {}
    for stage in (stage for stage in stages if stage.kind is Kind.FITTED):
        span = None
        if stage.tables:
            stored_keys = market.warehouse.sessions(stage.name)
            if not stored_keys:
                continue
            span = (stored_keys[0], stored_keys[-1])
        names_by_span.setdefault(span, []).append(stage.name)
    if not names_by_span:
        raise PipelineError(
            f"the fit window moves, and no session has a state yet; "
            f"`{market.backfill_command()}` fits the processors with the sessions"
        )
    defs = build_definitions(market, stages)
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        with LiveProgress(console).shown():
            for span, names in names_by_span.items():
                run_assets(defs, instance, names, span, tags={RUN_TAG: "refit"})
    windows = {d.processors: d.fit_sessions() for d in market.datasets if d.fit_plan is None}
    for span, names in names_by_span.items():
        for name in names:
            fit = windows[name] if span is None else span
            say(console, f"{name}: fitted {'on' if span is None else 'for'} {fit[0]} … {fit[-1]}")
    say(console, f"`{market.command('status')}` says what follows from it")
