"""The main job from the command line: every stage of a market that is not there yet, then reports.

Two range runs, since data assets cover the whole span and models only the sessions from the first
trained one on, and one run of the reports. What is there with the present code and configuration
is kept, so a killed run goes on where it stopped and a finished one ends in seconds.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import dagster as dg
from rich.console import Console

from pipelines.assets.materialize import CURRENT_TAG, KEEP, SERVED_TAG
from pipelines.build import REPORTS, build_definitions
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.operations.console import LiveProgress, results_table
from pipelines.operations.runs import run_assets
from pipelines.reports.signal_report import PORTFOLIO_TABLE, SIGNAL_TABLE, read_table
from pipelines.staleness.survey import pending

DATA_ASSETS = ("ohlcv", "alpha158", "label", "dataset_infer", "dataset_learn")
DATA_STAGE = ("ohlcv", "alpha158", "label", "processors", "dataset_infer", "dataset_learn")


def model_assets(market: Market) -> tuple[str, ...]:
    """Models, predictions and evaluations, upstream first."""
    return tuple(
        f"{spec.name}_{kind}"
        for kind in ("model", "prediction", "evaluation")
        for spec in market.models
    )


def run_demo(market: Market, console: Console, *, fresh: bool = False) -> None:
    """Run what is missing of a market from bars to reports, and show the results.

    Args:
        market: the market.
        console: where progress and results go.
        fresh: delete the market's state first.

    Raises:
        PipelineError: `fresh`, and the warehouse lies elsewhere; nothing was deleted.
        RunFailedError: a step failed; what was finished before it is kept.
    """
    began = time.monotonic()
    if fresh:
        market = _emptied(market)
    sessions, plan = market.sessions, market.plan
    last = market.last_closed()
    everything = sessions.between(sessions.first, last)
    trained = tuple(key for key in everything if key >= plan.first_trained)
    console.print(
        f"[bold]{market.config.name}[/]: {len(everything)} sessions {everything[0]} … {last}, "
        f"models from {plan.first_trained} on, state in {_short(market.paths.root)}"
    )
    defs = build_definitions(market)
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        _run_stages(market, defs, instance, console, everything, trained)
    _show_results(market, console, time.monotonic() - began)


def _emptied(market: Market) -> Market:
    """The market after its state was deleted.

    Raises:
        PipelineError: its warehouse lies elsewhere, maybe beside what others keep there.
    """
    root = market.paths.root
    if market.config.warehouse is not None and not market.warehouse.store.is_below(root):
        raise PipelineError(
            f"--fresh deletes {root}, and the warehouse of {market.config.name} lies elsewhere: "
            f"{market.config.warehouse}; nothing was deleted. Remove both yourself, or leave out "
            f"--fresh: what is stale is made again in any case"
        )
    if root.exists():
        shutil.rmtree(root)
    return market.opened_anew()  # a calendar derived from the data keeps its sessions in the state


def _run_stages(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    console: Console,
    everything: tuple[str, ...],
    trained: tuple[str, ...],
) -> None:
    display = LiveProgress(console)
    worked = False
    with display.shown():
        for assets, wanted in ((DATA_STAGE, everything), (model_assets(market), trained)):
            work = pending(market, defs, instance, assets, wanted)
            if work is not None:
                kept = {CURRENT_TAG: KEEP, SERVED_TAG: KEEP}
                run_assets(defs, instance, work.assets, (work.first, work.last), tags=kept)
                worked = True
        made = all(read_table(market, t) is not None for t in (SIGNAL_TABLE, PORTFOLIO_TABLE))
        if trained and (worked or not made):
            run_assets(defs, instance, REPORTS)
    if not worked:
        console.print(
            f"already there: {len(everything)} sessions of {', '.join(DATA_ASSETS)}; "
            f"{len(trained)} sessions of {len(market.models)} models, their predictions and "
            f"evaluations; nothing to do (FRESH=1 starts over)"
        )


def _show_results(market: Market, console: Console, seconds: float) -> None:
    signal, portfolio = read_table(market, SIGNAL_TABLE), read_table(market, PORTFOLIO_TABLE)
    console.print()
    if signal is None or portfolio is None:
        console.print(
            f"no model yet: the first session that trains is {market.plan.first_trained}, the "
            f"newest closed one is {market.last_closed()}"
        )
        return
    console.print(results_table(signal, portfolio))
    if market.config.market.source.kind == "bokeh_sample":
        console.print("Three to five names a day: these scores show the machinery, nothing more.")
    console.print(f"\nreport     {_short(market.paths.page)}")
    console.print(f"pictures   {_short(market.paths.reports)}/*.png")
    query = market.command("sql 'FROM latest_signal'")
    console.print(f"SQL        {query}   (or duckdb {_short(market.paths.catalog)})")
    console.print(f"lineage    {market.command('ui')}   (Dagster on http://127.0.0.1:3000)")
    if market.config.market.source.kind in ("bokeh_sample", "simulated"):
        console.print("your own   rnn-pipelines init --path BARS   (docs/markets.md)")
    if shutil.which("rnn-pipelines") is None:
        console.print("first      source .venv/bin/activate   (rnn-pipelines and dg are in there)")
    console.print(f"[dim]{seconds:.0f} s[/]")


def _short(path: Path) -> str:
    """A path as it is typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
