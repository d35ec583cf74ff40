"""`rnn-pipelines refresh`: take over restated bars, and make what is made from them again."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, day, market_of

ARGUMENTS: Arguments = {
    "--since": {"required": True, "type": day, "help": "first day, YYYY-MM-DD"},
    "--republish": {
        "action": "store_true",
        "help": "make models, predictions and evaluations again, too; what was served is kept as a "
        "revision",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.refresh import run_refresh

    run_refresh(market_of(args), make_console(), since=args.since, republish=args.republish)
    return 0
