"""Time a training of several models and seeds by executor, and compare the bundles byte by byte.

    python benchmarks/executors.py                            # 500 names, 3 networks, 2 seeds
    python benchmarks/executors.py --rounds 1 --names 100     # a quick look
    python benchmarks/executors.py --workers 16 --epochs 5    # on a larger machine

The market is `simulated_500`, cut to one year of training, with one session to train. Each round
trains the same bundles with every executor in turn, in this process and from nothing but the
warehouse; the time covers the plan, the start of workers, all epochs, and the joins. CPU seconds
are those of this process and its workers, so that a machine with other work on it is recognised:
where wall time exceeds CPU seconds over cores by much, something else ran.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from pipelines.build import build_definitions
from pipelines.config.loader import CONFIGS, parse_config
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets
from pipelines.training.executor import Executor, Inline
from pipelines.training.train import ensure_trained, missing_units
from pipelines.training.worker_pool import WorkerPool, slots_of
from rnn_core.warm import warm

NETWORKS = ("lstm", "gru", "krnn")
DATA = ("ohlcv", "alpha158", "label", "processors", "dataset_infer", "dataset_learn")


def market_of(names: int, epochs: int, seeds: int, root: Path) -> Market:
    raw: dict[str, Any] = yaml.safe_load((CONFIGS / "simulated_500.yaml").read_text())
    raw["market"]["source"]["instruments"] = names
    raw["market"] |= {"start": "2022-06-01", "end": "2023-12-29"}
    raw["dataset"].pop("fit")
    raw["dataset"] |= {"fit_start": "2022-09-01", "fit_end": "2023-06-30"}
    raw["training"] |= {"first_trained": "2023-10-02", "window_sessions": 250}
    raw["training"] |= {"valid_sessions": 40, "seeds": seeds}
    raw["models"] = {n: {**(raw["models"][n] or {}), "n_epochs": epochs} for n in NETWORKS}
    return Market(parse_config(raw), root=root)


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def train(market: Market, executor: Executor) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds, and a digest of all bundles."""
    shutil.rmtree(market.paths.models, ignore_errors=True)
    key = market.plan.first_trained
    wall, cpu = time.perf_counter(), cpu_seconds()
    executor.submit([unit for spec in market.models for unit in missing_units(market, spec, [key])])
    for spec in market.models:
        ensure_trained(
            market, spec, key, log=lambda _: None, on_epoch=lambda *_: None, executor=executor
        )
    wall = time.perf_counter() - wall
    if isinstance(executor, WorkerPool):
        executor.close()
    digest = hashlib.sha256()
    for path in sorted(path for path in market.paths.models.rglob("*") if path.is_file()):
        digest.update(path.relative_to(market.paths.models).as_posix().encode())
        digest.update(path.read_bytes())
    return wall, cpu_seconds() - cpu, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warm()
    with tempfile.TemporaryDirectory() as folder:
        market = market_of(args.names, args.epochs, args.seeds, Path(folder) / "market")
        keys, first = market.sessions.keys, market.plan.first_trained
        with dagster_instance(market) as instance:
            run_assets(build_definitions(market), instance, DATA, (keys[0], first))
        print(
            f"{args.names} names, {len(NETWORKS)} models x {args.seeds} seeds x {args.epochs} "
            f"epochs, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads inline, "
            f"{args.workers} workers",
            flush=True,
        )
        seconds: dict[str, list[float]] = {"inline": [], "processes": []}
        digests = set()
        for number in range(args.rounds):
            for name in seconds if number % 2 == 0 else reversed(seconds):
                pool = name == "processes"
                executor: Executor = (
                    WorkerPool(market, slots_of(market, args.workers)) if pool else Inline(market)
                )
                wall, cpu, digest = train(market, executor)
                seconds[name].append(wall)
                digests.add(digest)
                load = os.getloadavg()[0]
                print(f"{name:<10} {wall:7.1f} s, {cpu:7.1f} s of CPU, load {load:.1f}", flush=True)
        assert len(digests) == 1, "the bundles differ"
        ratios = [a / b for a, b in zip(seconds["inline"], seconds["processes"], strict=True)]
        print(
            f"inline / processes: median {statistics.median(ratios):.2f} "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}); the bundles are byte-identical"
        )


if __name__ == "__main__":
    main()
