"""`rnn-pipelines refit`: fit the processors again, as the job `refit` of the UI does."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, market_of


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser(
        "refit", help="fit the processors again; every dataset and model follows"
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.console import make_console
    from pipelines.operations.refit import run_refit

    run_refit(market_of(args), make_console())
    return 0
