"""`rnn-pipelines backup`: keep in a folder what nothing can make again.

What was served, revisions, order lists, bars, bundles that serve, the calendar and the YAML. Only
what has changed since the last backup is copied, and no earlier backup is touched. Exit status 0:
everything was intact; 3: something was damaged, and was left out or taken from the last backup.
"""

from __future__ import annotations

import argparse
import os

from pipelines.cli.arguments import CONFIG_OR_ALL, MARKETS, Arguments, for_each_market, market_of

DAMAGED = 3
ARGUMENTS: Arguments = {
    "folder": {"metavar": "DIR", "help": "a folder, or a URL as `state` takes it"},
    **MARKETS,
    **CONFIG_OR_ALL,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.config.loader import ENV_CONFIG
    from pipelines.operations.backup import run_backup
    from pipelines.operations.console import make_console

    def one(args: argparse.Namespace) -> int:
        market, named = market_of(args, read_only=True), args.config or os.environ.get(ENV_CONFIG)
        return 0 if run_backup(market, make_console(), args.folder, named) else DAMAGED

    return for_each_market(args, one)
