"""Time the daily run of 500 simulated names: with training of the three models, and without.

    python benchmarks/daily.py [--instruments 500] [--epochs 3] [--threads 2] [--without 5]

Makes the data assets of a fresh home up to the session before the first trained one, compiled
beforehand. Then it runs the job `daily` as the schedule does, in one process: first of the session
that trains, then of some that do not. Seconds inside the steps are Dagster's own; those of the
whole run have its record and its planning in them. `--epochs` bounds the training, whose time is
stated an epoch; what a training takes to its early stop is that times its epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import dagster as dg
import torch
import yaml

from pipelines.build import build_definitions
from pipelines.config.loader import CONFIGS, parse_config
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import DAILY, own_name
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets
from rnn_core.warm import warm

DATA = ("ohlcv", "alpha158", "label")
SPLIT = ("dataset_infer", "dataset_learn")
NETWORKS = ("lstm", "gru", "krnn")  # the models of the first revisions, whose graph had no books


def market_of(instruments: int, epochs: int, root: Path) -> Market:
    raw = yaml.safe_load((CONFIGS / "simulated_500.yaml").read_text())
    raw["market"]["source"]["instruments"] = instruments
    for name in NETWORKS:
        raw["models"][name]["n_epochs"] = epochs
    return Market(parse_config(raw), root=root)


def seconds_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Seconds inside each step of a run."""
    return {
        step.step_key.rpartition("__")[2]: step.end_time - step.start_time
        for step in instance.get_run_step_stats(run_id)
        if step.start_time is not None and step.end_time is not None
    }


def of_networks(steps: dict[str, float]) -> float:
    """Seconds inside the stages that the first revisions have too: figures stay comparable."""
    others = ("linear_", "lightgbm_")
    return sum(
        took
        for name, took in steps.items()
        if not name.startswith(others) and not name.endswith("_portfolio")
    )


def told(label: str, steps: dict[str, float], whole: float) -> str:
    slowest = sorted(steps.items(), key=lambda item: -item[1])[:6]
    shown = ", ".join(f"{name} {took:.2f}" for name, took in slowest)
    inside = f"{sum(steps.values()):.2f} s inside {len(steps)} steps"
    return f"{label}: {inside}, {whole:.2f} s in all; {shown}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without", type=int, default=5, help="sessions without training")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warm()
    with tempfile.TemporaryDirectory() as folder:
        market = market_of(args.instruments, args.epochs, Path(folder) / "market")
        keys = market.sessions.keys
        trained = market.sessions.position(str(market.config.training.first_trained))
        defs = build_definitions(market)
        daily = defs.resolve_job_def(own_name(market, DAILY))
        with dagster_instance(market) as instance:
            before = keys[0], keys[trained - 1]
            run_assets(defs, instance, DATA, before)
            if market.datasets[0].fit_plan is None:  # else the first training's session fits
                run_assets(defs, instance, ["processors"])
                run_assets(defs, instance, SPLIT, before)

            def run(key: str) -> tuple[dict[str, float], float]:
                began = time.perf_counter()
                result = daily.execute_in_process(partition_key=key, instance=instance)
                assert result.success
                return seconds_of(instance, result.run_id), time.perf_counter() - began

            print(f"{args.instruments} names, {os.cpu_count()} CPUs, {args.threads} threads")
            print(told(f"with training, {args.epochs} epochs each", *run(keys[trained])))
            runs = [run(key) for key in keys[trained + 1 : trained + 1 + args.without]]
            for key, (steps, whole) in zip(keys[trained + 1 :], runs, strict=False):
                print(told(f"without, {key}", steps, whole))
            inside = [sum(steps.values()) for steps, _ in runs]
            print(
                f"without training, median of {len(runs)}: {statistics.median(inside):.2f} s "
                f"inside the steps, {statistics.median(whole for _, whole in runs):.2f} s in all; "
                f"{statistics.median(of_networks(steps) for steps, _ in runs):.2f} s inside the "
                f"stages of {', '.join(NETWORKS)} without their books"
            )


if __name__ == "__main__":
    main()
