"""`rnn-pipelines upgrade`: sign what an earlier release made, and compute nothing again.

Exit status 0: every file carries its identity; 3: some could not be confirmed; 1: an error.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, market_of
from pipelines.errors import PipelineError

UNCONFIRMED = 3
ARGUMENTS: Arguments = {
    "market": {"nargs": "?", "metavar": "MARKET", "help": "a YAML, or the name of a shipped one"},
    "--accept": {
        "action": "store_true",
        "help": "sign files that nothing confirms as they are, too",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.upgrade import run_upgrade

    if args.market and args.config:
        raise PipelineError(f"{args.market} and --config {args.config}: name the market once")
    args.config = args.market or args.config
    upgraded = run_upgrade(market_of(args), make_console(), accept=args.accept)
    return UNCONFIRMED if upgraded.unconfirmed else 0
