"""The page of what is served, made after the work of a command."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import dagster as dg
from rich.console import Console

from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.operations.console import say
from pipelines.staleness.up_to_date_check import serve_and_check


def make_served_page(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    console: Console,
    *,
    since: float,
) -> None:
    """Make the page, or say why it stays as it was: the work of the command stands either way.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
        console: is told why.
        since: when the command began, in seconds since 1970; a run that ended with the check
            `up_to_date` has made the page since then.
    """
    with contextlib.suppress(FileNotFoundError):
        if market.pages.written(market.served_page.name) >= since:
            return
    try:
        serve_and_check(market, stages, instance)
    except PipelineError as error:
        say(console, f"{market.served_page.name} stays as it was: {error}")
