"""`rnn-pipelines sync`: bring Dagster's record in step with what is in the warehouse."""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, market_of

ARGUMENTS: Arguments = CONFIG


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.assets.stages import stages
    from pipelines.instance.home import complete_home, dagster_instance
    from pipelines.operations.console import make_console
    from pipelines.operations.sync import sync_lines, sync_record

    market, console = market_of(args), make_console()
    lines = complete_home(market)
    with dagster_instance(market) as instance:
        synced = sync_record(market, stages(market), instance)
    for line in [*lines, *sync_lines(synced)]:
        console.print(line, soft_wrap=True, highlight=False)
    return 0
