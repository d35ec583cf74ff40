"""Ridge and LightGBM on six years of the CSI300: what a network has to beat there.

    python benchmarks/csi300_estimators.py [BARS.parquet] [--threads 2] [--write]

The bars, segments, processors and scores of csi300.py, whose networks stand on the 20 features: a
row is the newest session of a window, so every line is of the same rows. Two seconds to a minute a
line. --write puts the table into RESULTS.md.

`LightGBM` has qlib's settings of its benchmark and is stopped by the validation rank IC, `stopped
by the loss` by the squared error as qlib's, `for few names` has those of the small shipped markets.
`raw` leaves out the processors of the features, as qlib's LightGBM benchmark does.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from csi300 import BARS, HERE, SEGMENTS, csi300_bars
from features_report import table, write_section

from rnn_core.evaluation import calc_ic, summarize_ic
from rnn_core.features import ALPHA158_20

FEATURE = {"fields_group": "feature"}
NORMALISED = (
    {"class": "RobustZScoreNorm", "kwargs": {**FEATURE, "clip_outlier": True}},
    {"class": "Fillna", "kwargs": FEATURE},
)
TWENTY = {"class": "FilterCol", "kwargs": {**FEATURE, "col_list": list(ALPHA158_20)}}
SETS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "20": (TWENTY, *NORMALISED),
    "158": NORMALISED,
    "158 raw": (),
}
SMALL = {"num_leaves": 31, "learning_rate": 0.05, "lambda_l1": 0.0, "lambda_l2": 1.0}
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ridge, α chosen": ("Linear", {}),
    "ridge, α = 1": ("Linear", {"alpha": 1.0}),
    "LightGBM": ("LightGBM", {}),
    "LightGBM, stopped by the loss": ("LightGBM", {}),
    "LightGBM, for few names": ("LightGBM", SMALL),
}
HEADER = (
    *("features", "model", "IC (error)", "ICIR", "rank IC (error)", "rank ICIR"),
    *("valid rank IC", "kept", "fit, s"),
)


def make_dataset(bars: pd.DataFrame, features: str) -> Any:
    """The rows of a set of features, in qlib's semantics, as csi300.py has them."""
    from rnn_core import data

    handler = data.Alpha158(
        bars=bars,
        start_time=SEGMENTS["train"][0],
        end_time=SEGMENTS["test"][1],
        fit_start_time=SEGMENTS["train"][0],
        fit_end_time=SEGMENTS["train"][1],
        infer_processors=list(SETS[features]),
        learn_processors=[
            {"class": "DropnaLabel"},
            {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
        ],
        semantics="qlib",
    )
    return data.DatasetH(handler, SEGMENTS)


class ByLoss:
    """A dataset whose validation score is the squared error: LightGBM's rank IC is replaced."""

    def __enter__(self) -> None:
        from rnn_core.models.samples import Samples

        self.kept = Samples.rank_ic

        def loss(self: Samples, scores: np.ndarray[Any, Any]) -> float:
            assert self.label is not None
            return -float(np.nanmean(np.square(scores - self.label)))

        Samples.rank_ic = loss  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        from rnn_core.models.samples import Samples

        Samples.rank_ic = self.kept  # type: ignore[method-assign]


def line(name: str, features: str, dataset: Any, threads: int) -> list[Any]:
    """Fit one model and score the test sessions."""
    from contextlib import nullcontext

    from rnn_core import models

    kind, arguments = MODELS[name]
    model = getattr(models, kind)(**arguments, threads=threads)
    began = time.perf_counter()
    with ByLoss() if "loss" in name else nullcontext():
        model.fit(dataset)
    seconds = time.perf_counter() - began
    label = dataset.handler.fetch(slice(*SEGMENTS["test"]), col_set="label", data_key="raw")
    ic, rank_ic = calc_ic(model.predict(dataset, "test"), label.iloc[:, 0])
    got = summarize_ic(pd.DataFrame({"ic": ic, "rank_ic": rank_ic}))
    best = model.history[model.history["best"]].iloc[0]
    kept = f"α = {best['alpha']:g}" if kind == "Linear" else f"{int(best['epoch']) + 1} trees"
    return [
        features,
        name,
        f"{got['ic']:.4f} ({got['ic_se']:.4f})",
        f"{got['icir']:.3f}",
        f"{got['rank_ic']:.4f} ({got['rank_ic_se']:.4f})",
        f"{got['rank_icir']:.3f}",
        "–" if "loss" in name else f"{best['valid_score']:.4f}",
        kept,
        f"{seconds:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", type=Path, nargs="?", default=BARS, help="Parquet, as traded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    args = parser.parse_args()
    try:
        bars = csi300_bars(args.bars)
    except FileNotFoundError as error:
        sys.exit(str(error))
    rows, load = [], os.getloadavg()[0]
    for features in SETS:
        dataset = make_dataset(bars, features)
        for name in MODELS:
            rows.append(line(name, features, dataset, args.threads))
            print(*rows[-1], sep=" | ", flush=True)
    about = (
        f"`python benchmarks/csi300_estimators.py --threads {args.threads}`, load before "
        f"{load:.1f}: bars, segments, processors, label and scores of `csi300.py`, whose networks "
        f"stand above; in brackets the standard error over the sessions. The validation rank IC "
        f"chose the penalty or the number of trees and measures no performance."
    )
    title = f"## Ridge and LightGBM on the CSI300 ({datetime.date.today()}, {args.machine})"
    words = "\n\n".join([title, textwrap.fill(about, 100), table(HEADER, rows)])
    print(words)
    if args.write:
        write_section(HERE / "RESULTS.md", words, "benchmarks/csi300_estimators.py")


if __name__ == "__main__":
    main()
