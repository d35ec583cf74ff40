"""`rnn-pipelines qrun CONFIG.yaml`: run a qlib workflow file as it is, without qlib.

The file is one of qlib's: LSTM, GRU or KRNN on Alpha158 or Alpha360, with SignalRecord,
SigAnaRecord and PortAnaRecord. Whatever else it asks for is told, all at once, before anything is
run. Numbers are written as YAML 1.2 has them (1e-3 is a number).

With --verify-with, pyqlib's own dataset, network, IC and backtest are then given the weights that
were trained, and the largest differences are printed and written to certificate.md in the folder of
the run; the exit status is 3 if one is above its bound. A folder given by --out that holds the
finished run is verified without running it again.
"""

from __future__ import annotations

import argparse

from pipelines.cli.arguments import Arguments

ARGUMENTS: Arguments = {
    "workflow": {"metavar": "CONFIG.yaml", "help": "the workflow file"},
    "--provider-uri": {"help": "folder of the provider, in place of the file's"},
    "--out": {"help": "folder of the run (default: qruns/<name of the file>/<time>)"},
    "--semantics": {
        "choices": ("qlib", "strict"),
        "default": "qlib",
        "help": "qlib's numbers, or with its quirks repaired (default: qlib)",
    },
    "--vwap": {
        "choices": ("typical",),
        "help": "where the provider has no vwap take (high + low + close) / 3",
    },
    "--verify-with": {
        "metavar": "PYTHON",
        "help": "the Python of an environment with pyqlib and torch, which then verifies the run",
    },
    "--set": {
        "dest": "overrides",
        "metavar": "KEY.KEY=VALUE",
        "default": [],
        "help": "put a value in place, e.g. task.model.kwargs.n_epochs=3; may be repeated",
    },
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.qrun import run_command

    return run_command(args)
