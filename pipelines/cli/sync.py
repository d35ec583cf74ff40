"""`rnn-pipelines sync`: bring Dagster's record in step with what is in the warehouse.

The record of a release that gave every market a home of its own is brought over first, damaged
files of a record in SQLite are put aside, and a lost catalog or market.json is made again.
"""

from __future__ import annotations

import argparse
from functools import partial

from pipelines.cli.arguments import CONFIG_OR_ALL, Arguments, for_each_market, market_of

ARGUMENTS: Arguments = CONFIG_OR_ALL


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return for_each_market(args, _sync)


def _sync(args: argparse.Namespace) -> int:
    """Bring the record of one market in step."""
    from pipelines.assets.stages import stages
    from pipelines.instance.damaged_record import put_damaged_aside
    from pipelines.instance.earlier_home import bring_over
    from pipelines.instance.home import complete_home, dagster_instance
    from pipelines.instance.orphaned_runs import sweep
    from pipelines.operations.console import make_console, say
    from pipelines.operations.mend import mend_files
    from pipelines.operations.sync import sync_lines, sync_record
    from pipelines.operations.warm_up import mark_warm_up

    market, console = market_of(args), make_console()
    table = stages(market)
    begin = partial(mark_warm_up, market, table)
    home = market.paths.dagster
    aside = put_damaged_aside(home)
    if aside:
        aside.append("give `rnn-pipelines sync` for the other markets of the data folder, too")
    lines = [*aside, *mend_files(market, table), *bring_over(market, begin), *complete_home(home)]
    with dagster_instance(market) as instance:
        sweep(market, instance, console)
        begin(instance)
        synced = sync_record(market, table, instance)
    say(console, *(f"{market.config.name}: {line}" for line in [*lines, *sync_lines(synced)]))
    return 0
