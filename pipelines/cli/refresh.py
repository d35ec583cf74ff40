"""`rnn-pipelines refresh`: take over restated bars, and make what is made from them again."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, day, market_of


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser("refresh", help="ask the source again from a day on")
    command.add_argument("--since", required=True, type=day, help="first day, YYYY-MM-DD")
    command.add_argument(
        "--republish",
        action="store_true",
        help="make models, predictions and evaluations again, too; what was served is kept as a "
        "revision",
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.console import make_console
    from pipelines.operations.refresh import run_refresh

    run_refresh(market_of(args), make_console(), since=args.since, republish=args.republish)
    return 0
