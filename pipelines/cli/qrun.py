"""`rnn-pipelines qrun CONFIG.yaml`: a qlib workflow file as it is, without qlib."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """\
The file is one of qlib's: LSTM, GRU or KRNN on Alpha158 or Alpha360, with SignalRecord,
SigAnaRecord and PortAnaRecord. Whatever else it asks for is told, all at once, before anything is
run. Numbers are written as YAML 1.2 has them (1e-3 is a number)."""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser of `rnn-pipelines`; returns the command's own parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "qrun",
        help="run a qlib workflow YAML",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workflow", metavar="CONFIG.yaml", help="the workflow file")
    parser.add_argument("--provider-uri", help="folder of the provider, in place of the file's")
    parser.add_argument(
        "--out", help="folder of the run (default: qruns/<name of the file>/<time>)"
    )
    parser.add_argument(
        "--semantics",
        choices=("qlib", "strict"),
        default="qlib",
        help="qlib's numbers, or with its quirks repaired (default: qlib)",
    )
    parser.add_argument(
        "--vwap",
        choices=("typical",),
        help="where the provider has no vwap take (high + low + close) / 3",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY.KEY=VALUE",
        action="append",
        default=[],
        help="put a value in place, e.g. task.model.kwargs.n_epochs=3; may be repeated",
    )
    parser.set_defaults(run=_run)
    return parser


def _run(args: argparse.Namespace) -> int:
    from pipelines.operations.qrun import run_command

    return run_command(args)
