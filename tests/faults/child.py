"""The child: what the fork server imports, and how a forked process runs a command.

Nothing here may start a thread at import, since a fork has only the thread that forked; pyarrow's
and OpenBLAS's know forks. Each fork would import again all that the server has not, which would
take more than half of a command's time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import numba
import torch

from pipelines.calendar.sessions import exchange_calendar
from pipelines.cli.main import main
from rnn_core import evaluation
from rnn_core.evaluation import render, report
from tests.faults.points import Fault, Points, at, patched
from tests.pipelines.conftest import TINY
from tests.pipelines.drawn_once import blank_figure, figure_makers

for name in (
    *("alembic.script", "duckdb", "exchange_calendars", "rich.progress", "scipy.stats"),
    *("matplotlib.figure", "torch._dynamo", "upath.implementations.local"),
    *("rnn_core.evaluation.comparison", "rnn_core.evaluation.weight_strategies"),
    *("rnn_core.features.strict", "rnn_core.features.strict.engine", "rnn_core.models.gru"),
    *("rnn_core.models.ensemble", "rnn_core.training.bundle", "rnn_core.training.trainer"),
    *(
        f"pipelines.operations.{work}"
        for work in ("backfill_run", "demo", "mend", "refit", "selection", "sync")
    ),
):
    import_module(name)
dg.AssetSelection.from_string("key:none")  # imports the parser of the selections of commands
numba.njit(lambda: 0)()  # imports what loads a compiled kernel
exchange_calendar("XNYS", TINY["market"]["start"])  # kept by exchange_calendars

BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "00000000050001a5f645400000000049454e44ae426082"
)
"""A picture of one pixel: what a report shows is tested elsewhere, and drawing takes seconds."""


def run_words(
    folder: Path, words: list[str], fault: Fault | None, options: dict[str, Any], log: Path
) -> int:
    """Run a command in this process, which was forked for it.

    Args:
        folder: holds `data/` and `tiny.yaml`.
        words: the command and its arguments.
        fault: of this process.
        options: `clock`, a moment; `user`, the number of an ordinary user; `ignored`, signals that
            are ignored, as under `nohup`; `trace`, true to note the points.
        log: receives what it says.
    """
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(said, standard)
    os.environ |= {
        "RNN_DATA_DIR": str(folder / "data"),
        "RNN_CONFIG": str(folder / "tiny.yaml"),
        "RNN_TRAINING_EXECUTOR": "inline",
        "COLUMNS": "200",
    }
    os.environ.pop("DAGSTER_HOME", None)
    torch.set_num_threads(1)
    for module in (evaluation, render, report):
        module.png_bytes = lambda figure: BLANK  # type: ignore[attr-defined]
    figure = blank_figure()
    for module, name in figure_makers(evaluation, report):
        setattr(module, name, lambda *_, **__: figure)
    report.report_charts = lambda *_, **__: {}
    for number in options.get("ignored", ()):
        signal.signal(number, signal.SIG_IGN)
    if "user" in options:
        os.setgroups([])
        os.setgid(options["user"])
        os.setuid(options["user"])
    if "clock" in options:
        at(options["clock"])
    points = Points(folder / "data", fault)
    if fault is not None or options.get("trace"):
        patched(points)
    try:
        return main(words)
    finally:
        sys.stdout.flush()
        if options.get("trace"):
            counted = [[*key, n] for key, n in points.counts.items()]
            traced = {"reached": counted, "seconds": time.process_time()}
            log.with_suffix(".json").write_text(json.dumps(traced))
