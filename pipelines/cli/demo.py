"""`rnn-pipelines demo`: run the missing and stale stages of a market, from bars to reports."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, market_of


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser("demo", help="run what is missing from bars to reports")
    command.add_argument("--fresh", action="store_true", help="delete the market's state first")
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.console import make_console
    from pipelines.operations.demo import run_demo

    run_demo(market_of(args), make_console(), fresh=args.fresh)
    return 0
