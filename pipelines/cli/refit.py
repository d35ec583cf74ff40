"""`rnn-pipelines refit`: fit the processors again; every dataset and model follows."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, market_of

ARGUMENTS: Arguments = CONFIG


def run(args: argparse.Namespace) -> int:
    """Run the command, as the job `refit` of the UI does."""
    from pipelines.operations.console import make_console
    from pipelines.operations.refit import run_refit

    run_refit(market_of(args), make_console())
    return 0
