"""`rnn-pipelines verify`: check every file of a market, and say what repairs what is damaged.

Every file is hashed once and held against the place where it lies; partitions are compared with
what would be made now as well. Exit status 0: nothing is damaged or missing; 3: something is; 1: an
error. What is stale or still to be made is counted: `status` says why.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG_OR_ALL, MARKETS, Arguments, for_each_market, market_of

DAMAGED = 3
ARGUMENTS: Arguments = {
    "--repair": {
        "action": "store_true",
        "help": "run the commands that repair what is damaged; what was served is left as it is",
    },
    **MARKETS,
    **CONFIG_OR_ALL,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.verify import run_verify

    def one(args: argparse.Namespace) -> int:
        market = market_of(args, read_only=not args.repair)
        return 0 if run_verify(market, make_console(), repair=args.repair) else DAMAGED

    return for_each_market(args, one)
