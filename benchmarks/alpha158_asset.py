"""Time the assets `ohlcv`, `alpha158` and `label` over a simulated market, Parquet included.

    python benchmarks/alpha158_asset.py [--instruments 500] [--sessions 2520]

Runs each as one range run through Dagster on a fresh home on disk, kernels compiled beforehand,
and then the last session alone, as the daily run does. CPU time is of all threads: where other
work shares the machine it says more than the clock.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import dagster as dg

from pipelines.build import build_definitions
from pipelines.config.loader import CONFIGS, parse_config
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets

ASSETS = ("ohlcv", "alpha158", "label")


def compile_kernels() -> None:
    import pandas as pd

    from rnn_core.data import Panel
    from rnn_core.data.simulate import simulate_market
    from rnn_core.features import alpha158_panel

    small = simulate_market(3, pd.bdate_range("2020-01-01", periods=80), 0)
    alpha158_panel(Panel.from_frame(small.drop(columns="adj_ratio").assign(vwap=small["close"])))


def simulated_market(instruments: int, root: Path) -> Market:
    import yaml

    raw = yaml.safe_load((CONFIGS / "simulated.yaml").read_text())
    raw["market"]["source"]["instruments"] = instruments
    raw["market"] |= {"start": "2012-01-03", "end": "2022-12-30"}
    market = Market(parse_config(raw), root=root)
    market.source.fetch(market.sessions.keys[:1])  # simulates the market
    return market


def step_seconds(instance: dg.DagsterInstance, run_id: str) -> float:
    """Time inside the one step of a run."""
    (step,) = instance.get_run_step_stats(run_id)
    assert step.start_time is not None
    assert step.end_time is not None
    return step.end_time - step.start_time


def kilobytes_a_session(market: Market, asset: str) -> float:
    files = list((market.paths.warehouse / asset).rglob("*.parquet"))
    return sum(f.stat().st_size for f in files) / len(files) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    args = parser.parse_args()
    compile_kernels()
    with tempfile.TemporaryDirectory() as folder:
        market = simulated_market(args.instruments, Path(folder) / "market")
        defs, keys = build_definitions(market), market.sessions.keys[: args.sessions]
        with dagster_instance(market) as instance:
            for asset in ASSETS:
                began, cpu = time.perf_counter(), time.process_time()
                run_assets(defs, instance, [asset], (keys[0], keys[-1]))
                took, used = time.perf_counter() - began, time.process_time() - cpu
                print(
                    f"{asset:<9} {args.instruments} x {len(keys)}: {took:.1f} s, "
                    f"{1e3 * took / len(keys):.1f} ms a session ({1e3 * used / len(keys):.1f} of "
                    f"CPU), {kilobytes_a_session(market, asset):.0f} kB, {os.cpu_count()} CPUs"
                )
            for asset in ASSETS:
                began = time.perf_counter()
                run_id = run_assets(defs, instance, [asset], (keys[-1], keys[-1]))
                took = time.perf_counter() - began
                print(
                    f"{asset:<9} {keys[-1]} alone: {took:.2f} s, "
                    f"{step_seconds(instance, run_id):.2f} s of it inside the step"
                )


if __name__ == "__main__":
    main()
