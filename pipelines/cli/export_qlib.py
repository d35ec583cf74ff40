"""`rnn-pipelines export-qlib`: write a market as a folder for those who go on in qlib.

Bars as a provider folder that `qlib.init` takes, the weights in force of each network by pyqlib's
parameter names (safetensors, no pickle), the scores in the shape of pred.pkl as Parquet, and a
README.txt that says how to load them. The folder appears whole or not at all; a later export
replaces it, and a folder that holds anything else is refused.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import CONFIG, Arguments, day, market_of

ARGUMENTS: Arguments = {
    "folder": {"metavar": "DIR", "help": "the folder: nothing yet, an empty one, or an export"},
    "--session": {
        "type": day,
        "help": "the market as of the close of this session (default: the newest that has bars)",
    },
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.console import make_console
    from pipelines.operations.export_qlib import run_export

    run_export(market_of(args, read_only=True), make_console(), args.folder, args.session)
    return 0
