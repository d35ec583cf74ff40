"""`rnn-pipelines ui`: the Dagster UI over the market's record."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.cli.arguments import add_config, market_of
from pipelines.errors import PipelineError


def add_command(commands: Any) -> None:
    """Give the parser of `rnn-pipelines` the command."""
    command = commands.add_parser("ui", help="open the Dagster UI over the market's record")
    command.add_argument("--port", type=int, default=3000)
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.config.loader import ENV_CONFIG, config_path
    from pipelines.instance.home import dagster_instance, prepare_workspace
    from pipelines.instance.orphaned_runs import sweep_orphans
    from pipelines.instance.ui_lock import claim_ui, require_port

    path, market = config_path(args.config), market_of(args)
    require_port(args.port)
    claim_ui(market, args.port)
    with dagster_instance(market) as instance:
        sweep_orphans(instance)
    os.environ[ENV_CONFIG] = str(path.absolute())
    workspace = str(prepare_workspace(market))
    program = Path(sys.executable).with_name("dg")
    if not program.is_file():
        raise PipelineError("the UI needs the extra `ui`: pip install 'rnn-signal-factory[ui]'")
    where = ["--workspace", workspace, "--host", "127.0.0.1", "--port", str(args.port)]
    os.execv(program, [str(program), "dev", *where])  # noqa: S606 - our own interpreter's dg
