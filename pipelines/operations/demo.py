"""`demo`: run every stage that is missing or stale, from bars to reports.

Stages that begin with the market share a range run, those that begin with the first trained session
share another, the reports among them. Sessions whose bars have not arrived wait, and everything
before them is made. Partitions of the present code and configuration are kept, so a killed run
goes on from its last partition and a finished one ends in seconds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console

from pipelines.assets.materialize import CURRENT_TAG, KEEP, SERVED_TAG
from pipelines.assets.stages import stages as stages_of
from pipelines.build import build_definitions
from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import RUN_TAG, asset_key
from pipelines.instance.orphaned_runs import sweep
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.operations.console import LiveProgress, results_table, say
from pipelines.operations.fresh import complete_deletion, empty_market
from pipelines.operations.mend import mend_files
from pipelines.operations.runs import Runs, waiting_line
from pipelines.operations.serving_notice import make_served_page
from pipelines.operations.verify import verification_shown
from pipelines.operations.warm_up import mark_warm_up
from pipelines.reports.report_tables import PORTFOLIO_TABLE, SIGNAL_TABLE, read_table
from pipelines.staleness.state_bytes import bytes_in_words
from pipelines.staleness.survey import Work, pending
from pipelines.staleness.verification import verify_market
from pipelines.warehouse.store import StateFile, Store


def run_demo(
    market: Market, console: Console, *, fresh: bool = False, discard_served: bool = False
) -> None:
    """Run the missing and stale stages of a market, and show the results.

    Args:
        market: the market.
        console: shows progress and results.
        fresh: delete the market's state first.
        discard_served: with `fresh`, delete what was served, too.

    Raises:
        PipelineError: `fresh`, and nothing was deleted: `fresh.py` says when. Or `discard_served`
            without `fresh`.
        RunFailedError: a step failed; sessions that were finished before it are kept.
        WarehouseError: a file is damaged or missing afterwards.
    """
    began, started = time.monotonic(), time.time()
    complete_deletion(market, console)
    if fresh:
        market = empty_market(market, stages_of(market), console, discard_served=discard_served)
    elif discard_served:
        raise PipelineError("--discard-served goes with --fresh: nothing is deleted without it")
    last = market.last_closed()
    everything = market.sessions.between(market.sessions.first, last)
    say(
        console,
        f"{market.config.name}: {len(everything)} sessions {everything[0]} … {last}, models from "
        f"{market.plan.first_trained} on, state in {_shown(market.state)}",
    )
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        say(console, *mend_files(market, stages_of(market)))
        mark_warm_up(market, stages_of(market), instance)
        worked = True
        try:
            worked = _run_stages(market, instance, console, everything)
        finally:
            if worked:
                make_served_page(market, stages_of(market), instance, console, since=started)
        _show_results(market, console, time.monotonic() - began)
        is_local = market.tables.is_local and market.bundles.is_local
        if is_local and (worked or not market.paths.verified.exists()):
            _verify(market, instance, console)


def _run_stages(
    market: Market, instance: dg.DagsterInstance, console: Console, everything: tuple[str, ...]
) -> bool:
    """Run the missing and stale sessions of every stage, the reports last.

    Returns:
        True if anything was run.

    Raises:
        RunFailedError: a step failed; the sessions before the one that it failed at are made.
    """
    stages = stages_of(market)
    defs = build_definitions(market, stages)
    compared = [stage for stage in stages if stage.is_compared]
    runs = Runs(
        market, stages, defs, instance, {CURRENT_TAG: KEEP, SERVED_TAG: KEEP, RUN_TAG: "demo"}
    )
    worked = False
    with LiveProgress(console).shown():
        for first, part in _by_first(compared).items():
            sessions = tuple(key for key in everything if first is None or key >= first)
            if not sessions:
                continue
            wanted = {stage.name: sessions for stage in part}
            work = pending(market, stages, instance, wanted, sessions)
            if work is not None:
                runs.run(work)
                worked = True
        # A stage that is never compared follows whatever was made.
        for stage in (stage for stage in stages if not stage.is_compared and not stage.tables):
            is_made = instance.get_latest_materialization_event(asset_key(market, stage.name))
            if stage.due(everything) and (worked or not is_made):
                runs.run(Work((stage.name,), everything[0], everything[-1]))
    if runs.waits:
        say(console, waiting_line(runs.waits))
    runs.finish()
    if not worked:
        there = _counted(compared, everything)
        say(console, f"already there: {there}; nothing to do (FRESH=1 starts over)")
    return worked


def _verify(market: Market, instance: dg.DagsterInstance, console: Console) -> None:
    """Verify what is stored, after which `status` has nothing to hash until something changes.

    Raises:
        WarehouseError: something is damaged or missing.
    """
    with verification_shown(console) as on_bytes:
        found = verify_market(market, stages_of(market), instance, on_bytes)
    files = sum(count.files for count in found.counts.values())
    size = bytes_in_words(sum(count.bytes for count in found.counts.values()))
    if found.damages:
        raise WarehouseError(
            f"{len(found.damages)} of {files} files are damaged or missing, the first "
            f"{found.damages[0].path}: {found.damages[0].why}; `{market.command('verify')}` names "
            f"all and their repair"
        )
    say(console, f"verified   {files} files, {size}: nothing is damaged or missing")


def _by_first(stages: Sequence[Stage]) -> dict[str | None, list[Stage]]:
    """Stages by the first session that they have: the stages of a range run share it."""
    parts: dict[str | None, list[Stage]] = {}
    for stage in stages:
        parts.setdefault(stage.first, []).append(stage)
    return parts


def _counted(stages: Sequence[Stage], everything: Sequence[str]) -> str:
    """`498 sessions of ohlcv, label; 61 sessions of lstm_model`."""
    parts = _by_first([stage for stage in stages if stage.tables])
    return "; ".join(
        f"{len(part[0].due(everything))} sessions of {', '.join(stage.name for stage in part)}"
        for part in parts.values()
    )


def _show_results(market: Market, console: Console, seconds: float) -> None:
    signal, portfolio = read_table(market, SIGNAL_TABLE), read_table(market, PORTFOLIO_TABLE)
    console.print()
    if signal is None or portfolio is None:
        newest, first = market.last_closed(), market.plan.first_trained
        say(
            console,
            f"no model yet: the first session that trains is {first}, the newest closed one is "
            f"{newest}"
            if newest < first
            else f"nothing to report yet: `{market.command('status')}` says what has no rows",
        )
        return
    console.print(results_table(signal, portfolio))
    kind, is_local = market.config.market.source.kind, market.tables.is_local
    if kind == "bokeh_sample":
        say(console, "Three to five names a day: these scores show the machinery, nothing more.")
    query = market.command("sql 'FROM latest_signal'")
    shell = f"   (or duckdb {_short(market.paths.catalog)})" if is_local else ""
    say(
        console,
        f"\nreport     {_shown(market.page)}",
        f"served     {_shown(market.served_page)}",
        f"pictures   {_shown(market.reports)}/*.png",
        f"orders     {market.command('orders')}",
        f"SQL        {query}{shell}",
        f"lineage    {market.command('ui')}   (Dagster on http://127.0.0.1:3000)",
    )
    if kind in ("bokeh_sample", "simulated"):
        say(console, "your own   rnn-pipelines init --path BARS   (docs/markets.md)")
    if shutil.which("rnn-pipelines") is None:
        say(console, "first      source .venv/bin/activate   (rnn-pipelines and dg are in there)")
    say(console, f"{seconds:.0f} s")


def _shown(place: Store | StateFile) -> str:
    """A place of the state, from the working directory if it lies below it."""
    text = str(place)
    return text if "://" in text else _short(Path(text))


def _short(path: Path) -> str:
    """A path as a person types it in the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
