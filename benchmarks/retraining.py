"""What a retraining costs on the CPU or on a GPU: the three models of `simulated_500`, to the end.

    python benchmarks/retraining.py --device cpu --threads 2
    python benchmarks/retraining.py --device cuda --repeats 3 [--precision bfloat16]
    python benchmarks/retraining.py --epochs 2 --models krnn       # a minute, to see that it runs

The training of that market's first trained session with the library alone, so that it also runs
where neither Dagster nor DuckDB is installed: the same bars, features, processors, windows, label
and hyper-parameters, read from the market's YAML. Unlike `training.py`, which sets one epoch beside
pyqlib's, this says what the user waits for: all epochs up to the early stop, samplers included.
`--epochs` bounds them for a quick look. `daily.py` times the same training inside the daily run.

Seconds an epoch include its validation. Memory is the device's own peak on a GPU, the growth of the
process on the CPU.
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from rnn_core.data import Alpha158, TSDatasetH
from rnn_core.data.processors import PROCESSORS
from rnn_core.data.simulate import simulate_market
from rnn_core.models.families import MODEL_FAMILIES, build_network, model_family
from rnn_core.training import FitResult, Trainer, TrainerConfig, seeded_network
from rnn_core.warm import warm

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

from memory import growth_mb  # noqa: E402

CONFIG = HERE.parent / "pipelines" / "config" / "shipped" / "simulated_500.yaml"
PRICES = ["open", "high", "low", "close"]
LABEL_LAG = 2  # sessions until a label matures: decisions in between are in neither segment


@dataclass(frozen=True)
class Cost:
    """What one training took."""

    result: FitResult
    seconds: float
    peak_mb: float

    @property
    def epochs(self) -> int:
        """Epochs up to the early stop."""
        return len(self.result.history)


def adjusted_bars(market: dict[str, Any], sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """The market's bars in adjusted prices, with vwap from the amount."""
    settings = {k: v for k, v in market["source"].items() if k not in ("kind", "instruments")}
    seed = settings.pop("seed")
    bars = simulate_market(market["source"]["instruments"], sessions, seed, **settings)
    factor = bars.groupby("instrument")["adj_ratio"].cumprod()
    vwap = bars["amount"] / bars["volume"] * factor
    bars[PRICES] = bars[PRICES].mul(factor, axis=0)
    return bars.assign(volume=bars["volume"] / factor, vwap=vwap)


def steps(entries: list[Any], group: str) -> list[dict[str, Any]]:
    """Processors of the market's YAML, each a name or {name: kwargs}, as a handler takes them."""
    named = [{entry: {}} if isinstance(entry, str) else entry for entry in entries]
    return [
        {
            "class": name,
            "kwargs": {"fields_group": group, **kwargs} if takes_group(name) else kwargs,
        }
        for entry in named
        for name, kwargs in entry.items()
    ]


def takes_group(processor: str) -> bool:
    """Whether a processor can be told which columns it works on."""
    return "fields_group" in inspect.signature(PROCESSORS[processor]).parameters


def dataset_of(raw: dict[str, Any]) -> TSDatasetH:
    """Windows of the training as of the market's first trained session."""
    training, chosen = raw["training"], raw["dataset"]
    sessions = pd.bdate_range(raw["market"]["start"], training["first_trained"])
    matured = len(sessions) - 1 - LABEL_LAG  # the newest decision whose label is known
    valid = matured - training["valid_sessions"] + 1
    train = matured - training["window_sessions"] + 1
    handler = Alpha158(
        bars=adjusted_bars(raw["market"], sessions),
        fit_start_time=str(sessions[-chosen["fit"]["rolling"]["window_sessions"]].date()),
        fit_end_time=str(sessions[-1].date()),
        infer_processors=steps(chosen["infer_processors"], "feature"),
        learn_processors=steps(chosen["learn_processors"], "label"),
    )
    segments = {
        "train": (sessions[train], sessions[valid - 1 - LABEL_LAG]),
        "valid": (sessions[valid], sessions[matured]),
    }
    return TSDatasetH(handler, segments, step_len=chosen["step_len"])


def train(model: str, entry: dict[str, Any], dataset: TSDatasetH, args: argparse.Namespace) -> Cost:
    """One training from the samplers on, as the pipeline does it."""
    family = model_family(model)
    names = set(family.resolve({}))
    hyper = family.resolve({k: v for k, v in entry.items() if k in names})
    given = {k: v for k, v in entry.items() if k not in names}
    if args.epochs:
        given["n_epochs"] = args.epochs
    config = TrainerConfig.for_family(
        model, **given, seed=0, device=args.device, precision=args.precision
    )
    got: list[FitResult] = []
    began = time.perf_counter()

    def fit() -> None:
        sources = [dataset.prepare(s, ["feature", "label"], "learn") for s in ("train", "valid")]
        for source in sources:
            source.config(fillna_type="ffill+bfill")
        width = sources[0][[0]].shape[-1] - 1  # the last column is the label
        network = seeded_network(lambda: build_network(model, width, hyper), config.seed)
        got.append(Trainer(config).fit(network, *sources))

    grown = growth_mb(fit)
    (result,) = got
    on_gpu = result.device != "cpu"
    return Cost(result, time.perf_counter() - began, result.peak_memory / 1e6 if on_gpu else grown)


def row(model: str, costs: list[Cost]) -> str:
    """A line of the table: medians of the repeats."""
    first = costs[0]
    seconds = statistics.median(cost.seconds for cost in costs)
    rate = statistics.median(cost.result.samples_per_second for cost in costs)
    return (
        f"| {model} | {first.epochs} | {seconds:.1f} | {seconds / first.epochs:.2f} | {rate:,.0f} "
        f"| {first.peak_mb:,.0f} | {first.result.best_score:.5f} | {first.result.precision} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=["lstm", "gru", "krnn"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--epochs", type=int, help="at most; without it to the early stop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    raw["market"]["source"]["instruments"] = args.instruments
    warm()
    began = time.perf_counter()
    dataset = dataset_of(raw)
    samples = [len(dataset.prepare(s, ["feature", "label"], "learn")) for s in ("train", "valid")]
    print(
        f"{args.instruments} names, {samples[0]:,} training and {samples[1]:,} validation rows; "
        f"bars, features and processors {time.perf_counter() - began:.1f} s; "
        f"{os.cpu_count()} CPUs, {args.threads} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
    print(
        "| model | epochs | whole training, s | an epoch, s | training rows a second "
        "| peak memory, MB | best valid (−MSE) | precision |\n| --- | --- | --- | --- | --- | --- "
        "| --- | --- |"
    )
    whole = 0.0
    for model in args.models or [name for name in raw["models"] if name in MODEL_FAMILIES]:
        entry = dict(raw["models"][model] or {})
        costs = [train(model, entry, dataset, args) for _ in range(args.repeats)]
        whole += statistics.median(cost.seconds for cost in costs)
        print(row(model, costs), flush=True)
        where = costs[0].result.device_reason
    print(f"all of them: {whole:.1f} s on {where}")


if __name__ == "__main__":
    main()
