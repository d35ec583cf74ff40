"""`rnn-pipelines ui`: open the Dagster UI over a market's record, with its schedule's daemon."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipelines.cli.arguments import CONFIG, Arguments, market_of
from pipelines.errors import PipelineError

ARGUMENTS: Arguments = {
    "--port": {"type": int, "default": 3000, "help": "of the webserver (default: 3000)"},
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.config.loader import ENV_CONFIG, config_path
    from pipelines.instance.home import complete_home, dagster_instance, prepare_workspace
    from pipelines.instance.orphaned_runs import sweep_orphans
    from pipelines.instance.ui_lock import HOST, claim_ui, require_port
    from pipelines.instance.ui_process import supervise
    from pipelines.operations.console import make_console

    path, market = config_path(args.config), market_of(args)
    program = Path(sys.executable).with_name("dg")
    if not program.is_file():
        raise PipelineError("the UI needs the extra `ui`: pip install 'rnn-signal-factory[ui]'")
    require_port(args.port)
    with claim_ui(market, args.port) as claim:
        for line in complete_home(market):
            make_console().print(line, soft_wrap=True, highlight=False)
        with dagster_instance(market) as instance:
            sweep_orphans(instance)
        os.environ[ENV_CONFIG] = str(path.absolute())
        files = [word for file in prepare_workspace(market) for word in ("--workspace", str(file))]
        return supervise(
            [str(program), "dev", *files, "--host", HOST, "--port", str(args.port)],
            claim,
            output=None if sys.stdout.isatty() else sys.stdout,
        )
