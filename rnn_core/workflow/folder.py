"""The folder of a run: all its results, as plain files.

    config.yaml                        the workflow file as it was given
    run.json                           seed, device, segments, overrides, versions
    bundle/                            the estimator, as its `save` writes it
    handler.json                       features, label and fitted processors, as `save` writes them
    predictions.parquet  label.parquet datetime, instrument, score or LABEL0
    signal_analysis/                   ic.parquet by session, quantiles.parquet, summary.json
    portfolio_analysis/                report.parquet by session, positions.parquet, risk.json
    plots/                             ic, quantile_returns, loss, portfolio

The folder is written under another name beside its place, when all results are known, and then
moved: a reader sees the whole run or none, and a run that fails or is stopped leaves nothing. No
file is a pickle.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rnn_core.evaluation import to_png
from rnn_core.training.bundle_files import json_bytes, parquet_bytes
from rnn_core.workflow.problems import WorkflowError
from rnn_core.workflow.records import PortfolioAnalysis, SignalAnalysis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def default_folder(config: str | Path, now: dt.datetime) -> Path:
    """Return the default folder of a run: `qruns/<name of the file>/<time>`.

    Args:
        config: path of the workflow file.
        now: when the run began.

    Returns:
        A path below the current directory.

    Examples:
        >>> default_folder("lstm.yaml", dt.datetime(2024, 1, 2, 18, 30)).as_posix()
        'qruns/lstm/20240102-183000'
    """
    return Path("qruns") / Path(config).stem / f"{now:%Y%m%d-%H%M%S}"


def require_free(folder: Path) -> None:
    """Confirm, before any work, that a run may be written to a folder.

    Args:
        folder: nothing yet, or an empty folder.

    Raises:
        WorkflowError: something is there, or the place cannot be written to.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise WorkflowError(f"{folder} exists already: choose another folder for the run")
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise WorkflowError(f"{parent} cannot be written to: choose another folder for the run")


def write_run(
    folder: Path,
    *,
    config: str,
    record: Mapping[str, Any],
    save_model: Callable[[Path], None],
    save_handler: Callable[[Path], None],
    predictions: pd.Series[Any],
    label: pd.Series[Any],
    signal: SignalAnalysis | None,
    portfolio: PortfolioAnalysis | None,
    plots: Mapping[str, Figure],
) -> None:
    """Write the folder of a run, all of it or nothing.

    Args:
        folder: nothing yet, or an empty folder; its parents are made.
        config: text of the workflow file.
        record: the content of run.json.
        save_model: writes the bundle to the path that it is given.
        save_handler: the same for the state of the handler.
        predictions: scores, index (datetime, instrument).
        label: raw labels, likewise.
        signal: None without.
        portfolio: None without.
        plots: name to figure.

    Raises:
        OSError: the folder cannot be written; nothing is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # Inputs, model and scores first, then the analyses that the file asks for.
        run = temporary / "run"
        run.mkdir()
        (run / "config.yaml").write_text(config, encoding="utf-8")
        _json(run / "run.json", record)
        save_model(run / "bundle")
        save_handler(run / "handler.json")
        _parquet(run / "predictions.parquet", predictions.to_frame())
        _parquet(run / "label.parquet", label.to_frame())
        if signal is not None:
            part = run / "signal_analysis"
            part.mkdir()
            _parquet(part / "ic.parquet", signal.daily)
            _parquet(part / "quantiles.parquet", signal.quantiles)
            _json(part / "summary.json", signal.summary)
        if portfolio is not None:
            part = run / "portfolio_analysis"
            part.mkdir()
            _parquet(part / "report.parquet", portfolio.result.daily)
            _parquet(part / "positions.parquet", portfolio.result.positions, index=False)
            extras = {"summary": portfolio.summary, "notes": portfolio.result.notes}
            _json(part / "risk.json", {**portfolio.risk, **extras})
        for name, figure in plots.items():
            to_png(figure, run / "plots" / f"{name}.png")
        # A reader sees the folder only from here on.
        run.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _parquet(path: Path, frame: pd.DataFrame, *, index: bool = True) -> None:
    """Write a frame, its index as columns."""
    path.write_bytes(parquet_bytes(frame.reset_index() if index else frame))


def _json(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain values; a number that is not finite is null."""
    path.write_bytes(json_bytes(_finite(value)))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
