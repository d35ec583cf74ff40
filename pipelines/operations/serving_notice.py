"""The page of what is served, made after the work of a command."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from rich.console import Console

from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.staleness.up_to_date_check import serve_and_check


def make_served_page(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance, console: Console
) -> None:
    """Make the page, or say why it stays as it was: the work of the command stands either way."""
    try:
        serve_and_check(market, stages, instance)
    except PipelineError as error:
        console.print(f"{market.served_page.name} stays as it was: {error}", soft_wrap=True)
