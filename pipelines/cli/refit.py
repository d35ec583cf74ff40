"""`rnn-pipelines refit`: fit the processors again, as the job `refit` of the UI does."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, market_of


def add_command(commands: Any) -> None:
    """Give the parser of `rnn-pipelines` the command."""
    command = commands.add_parser(
        "refit", help="fit the processors again; every dataset and model follows"
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.build import build_definitions
    from pipelines.instance.home import dagster_instance
    from pipelines.instance.orphaned_runs import sweep
    from pipelines.operations.console import LiveProgress, make_console
    from pipelines.operations.runs import run_assets

    market, console = market_of(args), make_console()
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        with LiveProgress(console).shown():
            run_assets(build_definitions(market), instance, ["processors"])
    console.print(
        f"fitted on {market.fit_sessions[0]} … {market.fit_sessions[-1]}; "
        f"`{market.command('status')}` says what follows from it",
        soft_wrap=True,
        highlight=False,
    )
    return 0
