"""`rnn-pipelines restore`: bring back what a backup has, into a fresh or a damaged data folder.

What is gone or damaged comes back with its time. What is intact and another than in the backup
stays and is named. Exit status 0: the backup had every file; 3: it has lost some.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import Arguments

LOST = 3
ARGUMENTS: Arguments = {
    "folder": {"metavar": "DIR", "help": "the folder or URL that `backup` was given"},
    "--market": {"metavar": "NAME", "help": "the market, where the folder has several"},
    "--at": {"metavar": "TIME", "help": "another backup than the newest, by its file's name"},
    "--replace": {
        "action": "store_true",
        "help": "replace files that are intact and others than in the backup, too",
    },
    "--config": {"help": "the market's YAML (default: that of the backup, where it was)"},
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.restore import run_restore

    whole = run_restore(
        make_console(),
        args.folder,
        market=args.market,
        at=args.at,
        config=args.config,
        replace=args.replace,
    )
    return 0 if whole else LOST
