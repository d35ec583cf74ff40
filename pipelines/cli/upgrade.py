"""`rnn-pipelines upgrade`: sign what an earlier release made, and compute nothing again.

Exit status 0: every file carries its identity; 3: some could not be confirmed; 1: an error.
"""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.cli.arguments import add_config, market_of

UNCONFIRMED = 3


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser(
        "upgrade",
        help="sign what an earlier release made, without computing anything again (exit status 3 "
        "if the place of a file is not confirmed)",
    )
    command.add_argument(
        "market", nargs="?", metavar="MARKET", help="a YAML, or the name of a shipped one"
    )
    command.add_argument(
        "--accept", action="store_true", help="sign files that nothing confirms as they are, too"
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.console import make_console
    from pipelines.operations.upgrade import run_upgrade

    args.config = args.market or args.config
    upgraded = run_upgrade(market_of(args), make_console(), accept=args.accept)
    return UNCONFIRMED if upgraded.unconfirmed else 0
