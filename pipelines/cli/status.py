"""`rnn-pipelines status`: what of a market is missing or stale, and why.

Exit status 0: everything is current; 3: something is missing or stale; 1: an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from pipelines.cli.arguments import add_config, market_of

STALE = 3


def add_command(commands: Any) -> None:
    """Give the parser of `rnn-pipelines` the command."""
    command = commands.add_parser(
        "status", help="say what is missing or stale (exit status 3 if anything is)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--check-source",
        action="store_true",
        help="ask the source for the bars of every session and name those that it restated",
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.instance.home import dagster_instance
    from pipelines.operations.console import make_console
    from pipelines.staleness.status_report import status_lines, status_report, status_table

    market = market_of(args)
    with dagster_instance(market) as instance:
        report = status_report(market, instance, check_source=args.check_source)
    if args.json:
        sys.stdout.write(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        console = make_console()
        console.print(status_table(report))
        for line in status_lines(market, report):
            console.print(line, soft_wrap=True, highlight=False)
    return 0 if report.is_current else STALE
