"""`rnn-pipelines backfill`: make the missing and stale partitions of a range, in one run."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, day, market_of


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser("backfill", help="make what is not current of a range")
    command.add_argument("--start", required=True, type=day, help="first day, YYYY-MM-DD")
    command.add_argument("--end", required=True, type=day, help="last day, YYYY-MM-DD")
    command.add_argument(
        "--select",
        metavar="ASSETS",
        help="names separated by commas or spaces; +name is with what it is made from, name+ with "
        "what is made from it (default: every partitioned asset)",
    )
    command.add_argument(
        "--force", action="store_true", help="make what is current, too, and train anew"
    )
    command.add_argument(
        "--republish",
        action="store_true",
        help="make what was served again where it would differ; it is kept as a revision",
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.backfill import run_backfill
    from pipelines.operations.console import make_console

    run_backfill(
        market_of(args),
        make_console(),
        start=args.start,
        end=args.end,
        select=args.select,
        force=args.force,
        republish=args.republish,
    )
    return 0
