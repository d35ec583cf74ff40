"""LSTM, GRU and KRNN on six years of the CSI300, trained and scored as qlib's benchmarks are.

    python benchmarks/csi300.py [BARS.parquet] [--models lstm gru] [--seeds 0 1 2] [--write]
    python benchmarks/csi300.py [BARS.parquet] --models krnn krnn_legacy [--epochs 40] [--write]

Whether the trainer learns as much as pyqlib's: the same bars, features, processors, windows and
hyper-parameters as qlib's benchmark files, handler and windows in qlib's semantics unless asked
otherwise, so that what differs is the trainer alone. Scores are daily correlations with the raw
return on sessions that no model has seen. pyqlib's own (two seeds, recorded once, since each takes
half an hour) are read from its file of results and stand beside ours.

`krnn` reads a row of Alpha360 as it lies, `krnn_legacy` as qlib does; see
`rnn_core.estimators.estimator_data`.

A finished (model, seed) is one line of JSON in .results/, its scores a file beside, so an
interrupted run goes on where it stopped; a line counts only for the same bars and settings. The
trainer gives the same bits on any number of threads, so those may change between runs. To begin
again, delete the folder. --write puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from csi300_report import Run, append, finished, section
from features_report import write_section

HERE = Path(__file__).parent
BARS = HERE.parents[1] / "shared" / "data" / "cn_csi300_2020_2025_baostock.parquet"
PYQLIB = HERE.parents[1] / "shared" / "golden" / "baseline.md"
RESULTS = HERE / ".results"
STEP = 20
SEGMENTS = {
    "train": ("2020-01-02", "2023-06-30"),
    "valid": ("2023-07-03", "2024-06-28"),
    "test": ("2024-07-01", "2025-04-07"),
}
COLUMNS = (
    *("date", "code", "open", "high", "low", "close"),
    *("preclose", "volume", "amount", "tradestatus"),
)


@dataclass(frozen=True)
class Setup:
    """How a model is trained.

    Args:
        estimator: name in `rnn_core.models`.
        handler: name in `rnn_core.data`; Alpha158 gives windows of 20 features, Alpha360 rows.
        arguments: of the estimator, where qlib's benchmark file says something.
    """

    estimator: str
    handler: str
    arguments: Mapping[str, Any]


RECURRENT = {"d_feat": 20, "batch_size": 800, "early_stop": 10, "n_epochs": 200}
PARALLEL = {
    "fea_dim": 6,
    "cnn_dim": 8,
    "cnn_kernel_size": 3,
    "rnn_dim": 8,
    "rnn_dups": 2,
    "lr": 1e-3,
    "batch_size": 2000,
    "early_stop": 20,
    "n_epochs": 40,
}
"""qlib's file says 200 epochs, of which a run takes as many as it needs; 40 keep it to minutes."""

SETUPS: Mapping[str, Setup] = MappingProxyType(
    {
        "lstm": Setup("LSTM", "Alpha158", {**RECURRENT, "lr": 1e-3}),
        "gru": Setup("GRU", "Alpha158", {**RECURRENT, "lr": 2e-4}),
        "krnn": Setup("KRNN", "Alpha360", {**PARALLEL, "legacy_layout": False}),
        "krnn_legacy": Setup("KRNN", "Alpha360", {**PARALLEL, "legacy_layout": True}),
    }
)


def csi300_bars(path: Path) -> pd.DataFrame:
    """Bars adjusted for what was paid out, from bars as traded.

    The factor of a session is the product, since the name's first bar, of (previous close as
    traded) / (previous close as the exchange restates it). Prices are multiplied by it, volumes
    divided. Suspended sessions are left out.

    Args:
        path: Parquet with `COLUMNS`, one row a name and session.

    Returns:
        date, instrument and open, high, low, close, volume, vwap in float32, as pyqlib stores
        them; sorted by instrument and date.

    Raises:
        FileNotFoundError: no file there.
        ValueError: columns are missing.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no bars at {path}: give the path of the CSI300 bars, a Parquet file with the columns "
            f"{', '.join(COLUMNS)}"
        )
    bars = pd.read_parquet(path)
    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise ValueError(
            f"{path} has no columns {', '.join(missing)}, expected {', '.join(COLUMNS)}"
        )
    bars = bars.sort_values(["code", "date"], ignore_index=True)
    before = bars.groupby("code")["close"].shift(1)
    factor = (before / bars["preclose"]).fillna(1.0).groupby(bars["code"]).cumprod()
    adjusted = pd.DataFrame(
        {"date": bars["date"], "instrument": bars["code"].str.replace(".", "").str.upper()}
    )
    for name in ("open", "high", "low", "close"):
        adjusted[name] = (bars[name] * factor).astype(np.float32)
    adjusted["volume"] = (bars["volume"] / factor).astype(np.float32)
    adjusted["vwap"] = (bars["amount"] / bars["volume"] * factor).astype(np.float32)
    traded = (bars["tradestatus"] == 1) & (bars["volume"] > 0)
    return adjusted[traded].reset_index(drop=True)


def make_dataset(handler: str, bars: pd.DataFrame, semantics: str) -> Any:
    """The dataset of qlib's benchmark files: windows over Alpha158, rows of Alpha360.

    Args:
        handler: "Alpha158" or "Alpha360".
        bars: as `csi300_bars`.
        semantics: "qlib" or "strict".

    Returns:
        A `TSDatasetH` or a `DatasetH` with the three segments.
    """
    from rnn_core import data
    from rnn_core.features import ALPHA158_20

    feature = {"fields_group": "feature"}
    kept = {"class": "FilterCol", "kwargs": {**feature, "col_list": list(ALPHA158_20)}}
    chosen = {
        "bars": bars,
        "start_time": SEGMENTS["train"][0],
        "end_time": SEGMENTS["test"][1],
        "fit_start_time": SEGMENTS["train"][0],
        "fit_end_time": SEGMENTS["train"][1],
        "infer_processors": [
            *([kept] if handler == "Alpha158" else []),
            {"class": "RobustZScoreNorm", "kwargs": {**feature, "clip_outlier": True}},
            {"class": "Fillna", "kwargs": feature},
        ],
        "learn_processors": [
            {"class": "DropnaLabel"},
            {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
        ],
        "semantics": semantics,
    }
    if handler == "Alpha158":
        return data.TSDatasetH(data.Alpha158(**chosen), SEGMENTS, step_len=STEP)
    return data.DatasetH(data.Alpha360(**chosen), SEGMENTS)


def train(name: str, arguments: Mapping[str, Any], seed: int, threads: int, dataset: Any) -> Run:
    """Fit one model and score the test sessions.

    Args:
        name: a key of `SETUPS`.
        arguments: of its estimator.
        seed: of weights and order.
        threads: of the CPU.
        dataset: as `make_dataset`.

    Returns:
        What is kept of it, without its identity.
    """
    from rnn_core import models

    began, evals = time.perf_counter(), {}

    def told(report: Any) -> None:
        print(
            f"  {name} seed {seed} epoch {report.epoch}: train {report.train_loss:.5f}, valid "
            f"{report.valid_score:.5f}, best {report.best_epoch}, "
            f"{report.samples_per_second:,.0f} rows/s, {time.perf_counter() - began:.0f} s",
            flush=True,
        )

    model = getattr(models, SETUPS[name].estimator)(**arguments, seed=seed, threads=threads, GPU=-1)
    model.fit(dataset, evals, callback=told)
    fit_s = time.perf_counter() - began
    label = dataset.handler.fetch(slice(*SEGMENTS["test"]), col_set="label", data_key="raw")
    scores = model.predict(dataset, "test").to_frame("score").join(label.iloc[:, 0].rename("label"))
    return Run(
        model=name,
        seed=seed,
        best_valid=max(evals["valid"]),
        epochs=len(evals["valid"]),
        fit_s=fit_s,
        threads=threads,
        scores=scores,
    )


def identity(name: str, arguments: Mapping[str, Any], semantics: str, digest: str) -> str:
    """What a line of results must agree with to be taken for this training."""
    settings = [name, dict(arguments), SETUPS[name].handler, SEGMENTS, STEP, semantics, digest]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", type=Path, nargs="?", default=BARS, help="Parquet, as traded")
    parser.add_argument("--models", nargs="+", choices=list(SETUPS), default=["lstm", "gru"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="of training"
    )
    parser.add_argument("--epochs", type=int, help="most epochs of a model; qlib: 200")
    parser.add_argument("--semantics", choices=["qlib", "strict"], default="qlib")
    parser.add_argument("--baseline", type=Path, default=PYQLIB, help="pyqlib's results, Markdown")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="where finished runs are kept"
    )
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    args = parser.parse_args()
    try:
        bars = csi300_bars(args.bars)
    except FileNotFoundError as error:
        sys.exit(str(error))
    digest = hashlib.sha256(args.bars.read_bytes()).hexdigest()
    datasets: dict[str, Any] = {}
    runs: list[Run] = []
    for name in args.models:
        setup = SETUPS[name]
        arguments = dict(setup.arguments)
        if args.precision != "float32":
            arguments["precision"] = args.precision
        if args.epochs:
            arguments["n_epochs"] = args.epochs
        key = identity(name, arguments, args.semantics, digest)
        done = finished(args.results, key)
        for seed in args.seeds:
            if seed not in done:
                if setup.handler not in datasets:
                    datasets.clear()  # the rows of Alpha360 are half a gigabyte
                    datasets[setup.handler] = make_dataset(setup.handler, bars, args.semantics)
                load = os.getloadavg()[0]
                print(f"{name} seed {seed}, load before {load:.1f}", flush=True)
                run = train(name, arguments, seed, args.threads, datasets[setup.handler])
                append(args.results, key, run)
                done[seed] = run
            runs.append(done[seed])
    today = datetime.date.today()
    words = section(runs, args, args.baseline, f"{today}, {args.machine}")
    print(words)
    if args.write:
        alpha360 = any(SETUPS[name].handler == "Alpha360" for name in args.models)
        marker = "benchmarks/csi300.py" + (" --models krnn krnn_legacy" if alpha360 else "")
        write_section(HERE / "RESULTS.md", words, marker)


if __name__ == "__main__":
    main()
