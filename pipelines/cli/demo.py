"""`rnn-pipelines demo`: run the missing and stale stages of a market, from bars to reports."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, market_of

ARGUMENTS: Arguments = {
    "--fresh": {
        "action": "store_true",
        "help": "delete the market's state first, unless somebody works on it or it was served",
    },
    "--discard-served": {
        "action": "store_true",
        "help": "with --fresh: delete what was served, too, which nothing brings back",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.demo import run_demo

    run_demo(market_of(args), make_console(), fresh=args.fresh, discard_served=args.discard_served)
    return 0
