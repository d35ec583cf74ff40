"""`rnn-pipelines prune`: remove old bundles' weights, runs and leftovers that nothing needs.

The rules stand under `retention` in the YAML; without them everything is kept. What was served, is
in force or pinned stays at any age.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, count, market_of

ARGUMENTS: Arguments = {
    "--dry-run": {"action": "store_true", "help": "show what would go, and remove nothing"},
    "--bundles": {
        "type": count,
        "metavar": "N",
        "help": "try a rule: the newest N bundles of each model keep weights; nothing is removed",
    },
    "--days": {
        "type": count,
        "metavar": "D",
        "help": "try a rule: units, revisions and runs of the last D days stay, and weights unless "
        "--bundles is given; nothing is removed",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.config.retention import RetentionConfig
    from pipelines.operations.console import make_console
    from pipelines.operations.prune import run_prune

    trial = None
    if args.bundles is not None or args.days is not None:
        trial = RetentionConfig(
            bundles=args.bundles,
            bundle_days=None if args.bundles is not None else args.days,
            unit_days=args.days,
            revision_days=args.days,
            record_days=args.days,
        )
    reads = args.dry_run or trial is not None
    market = market_of(args, read_only=reads)
    run_prune(market, make_console(), dry_run=args.dry_run, trial=trial)
    return 0
