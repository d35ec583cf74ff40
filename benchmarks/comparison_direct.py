"""One cell whose change no YAML can name, trained by the library on the bars of its market.

    python benchmarks/comparison_direct.py MARKET.yaml FOLDER MODEL CHANGE TRAIN_END
        VALID_FIRST VALID_LAST SEEDS

`comparison.py` calls it. Bars, features, processors, windows and hyper-parameters are those of the
market's model; other is one of two things, which qlib has and the product does not: windows of
training without the rows that have no label (an older row fills the gap), or training labels that
end inside the validation span (no purge). "all as qlib" is both, in qlib's semantics: what pyqlib's
own benchmark trains. A seed is a file of scores, so a call that was stopped goes on with the seed
that it was at.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from comparison_cells import AS_QLIB

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pipelines.bars.adjustment import load_bars  # noqa: E402
from pipelines.config.loader import load_config  # noqa: E402
from pipelines.config.models import ModelSpec  # noqa: E402
from pipelines.market.market import Market  # noqa: E402


def make_dataset(market: Market, model: str, change: str, ends: Sequence[str]) -> Any:
    """The windows of a model of a market with a fixed fit window.

    Args:
        market: the market.
        model: its name.
        change: one of `WITHOUT_SWITCH` in comparison_cells.py, or "" for none.
        ends: the last training decision, the first and the last validation decision.
    """
    from rnn_core import data

    keys, dataset = market.sessions.keys, market.dataset_of(model)
    spec, plan = dataset.spec, market.plan
    bars, _ = load_bars(market, keys, "the comparison")
    group = {"infer_processors": "feature", "learn_processors": "label"}
    takes_group = {"RobustZScoreNorm", "Fillna", "CSRankNorm", "FilterCol"}
    processors = {
        name: [
            {"class": one.name, "kwargs": {
                **({"fields_group": group[name]} if one.name in takes_group else {}), **one.kwargs}}
            for one in getattr(spec.config, name)
        ]
        for name in group
    }  # fmt: skip
    handler = data.Alpha158(
        bars=bars,
        start_time=keys[0],
        end_time=keys[-1],
        fit_start_time=str(spec.config.fit_start),
        fit_end_time=str(spec.config.fit_end),
        semantics="qlib" if change == AS_QLIB else spec.features.semantics,
        **processors,
    )
    train_end, valid_first, valid_last = ends
    segments = {
        "train": (keys[0], train_end),
        "valid": (valid_first, valid_last),
        "test": (plan.first_trained, keys[-1]),
    }
    rows = "infer" if change in ("", "no purge") else "fetched"
    return data.TSDatasetH(handler, segments, step_len=spec.config.step_len, window_rows=rows)


def main(words: Sequence[str]) -> None:
    """Train the seeds that are not there yet."""
    path, folder, model, change, *ends, seeds = words
    market, place = Market(load_config(Path(path)), named=path), Path(folder)
    spec = next(spec for spec in market.models if spec.name == model)
    place.mkdir(parents=True, exist_ok=True)
    dataset = None
    for seed in range(int(seeds)):
        file = place / f"{seed}.parquet"
        if file.exists():
            continue
        dataset = dataset or make_dataset(market, model, change, ends)
        half = place / f".{seed}"
        scores(market, spec, seed, dataset).to_frame("score").to_parquet(half)
        half.replace(file)


def scores(market: Market, spec: ModelSpec, seed: int, dataset: Any) -> pd.Series:
    """Train one seed of a model of a market on a dataset, and score the test sessions."""
    from rnn_core import estimators

    columns = len(market.dataset_of(spec.name).window_columns)
    settings = {**spec.hyper, **spec.training, "d_feat": columns, "seed": seed}
    del settings["clip_value"]  # the estimator's is fixed, at the default of both
    estimator = getattr(estimators, spec.family.upper())(**settings, threads=1, GPU=-1)
    estimator.fit(dataset, callback=lambda report: print(report, flush=True))
    return estimator.predict(dataset, "test")


if __name__ == "__main__":
    main(sys.argv[1:])
