"""`rnn-pipelines demo`: run the missing and stale stages of markets, from bars to reports."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import (
    CONFIG_OR_ALL,
    Arguments,
    for_each_market,
    market_of,
    names_market,
)
from pipelines.errors import PipelineError

ARGUMENTS: Arguments = {
    "--fresh": {
        "action": "store_true",
        "help": "delete the market's state first, unless somebody works on it or it was served",
    },
    "--discard-served": {
        "action": "store_true",
        "help": "with --fresh: delete what was served, too, which nothing brings back",
    },
    **CONFIG_OR_ALL,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.demo import run_demo

    if args.fresh and not names_market(args):
        raise PipelineError(
            "--fresh deletes a market: name the one, as in --config sample; nothing was deleted"
        )

    def one(args: argparse.Namespace) -> int:
        market, console = market_of(args), make_console()
        run_demo(market, console, fresh=args.fresh, discard_served=args.discard_served)
        return 0

    return for_each_market(args, one)
