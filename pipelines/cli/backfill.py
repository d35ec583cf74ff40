"""`rnn-pipelines backfill`: make the missing and stale partitions of a range, in one run."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, day, market_of

ARGUMENTS: Arguments = {
    "--start": {"required": True, "type": day, "help": "first day, YYYY-MM-DD"},
    "--end": {"required": True, "type": day, "help": "last day, YYYY-MM-DD"},
    "--select": {
        "action": "append",
        "metavar": "ASSETS",
        "help": "names separated by commas or spaces, given once or several times; +name is with "
        "what it is made from, name+ with what is made from it (default: every partitioned asset)",
    },
    "--force": {"action": "store_true", "help": "make what is current, too, and train anew"},
    "--republish": {
        "action": "store_true",
        "help": "make what was served again where it would differ; it is kept as a revision",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.backfill import run_backfill
    from pipelines.operations.console import make_console

    run_backfill(
        market_of(args),
        make_console(),
        start=args.start,
        end=args.end,
        select=None if args.select is None else ",".join(args.select),
        force=args.force,
        republish=args.republish,
    )
    return 0
