"""Time the assets `ohlcv` and `alpha158` over a simulated market, Parquet included.

    python benchmarks/alpha158_asset.py [--instruments 500] [--sessions 2520]

Runs each as one range run through Dagster on a fresh home on disk, kernels compiled beforehand.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from pipelines.config_file import CONFIGS, parse_config
from pipelines.graph import build_definitions
from pipelines.home import dagster_instance
from pipelines.market import Market
from pipelines.runs import run_assets


def main() -> None:
    import pandas as pd
    import yaml

    from rnn_core.data import Panel
    from rnn_core.data.simulate import simulate_market
    from rnn_core.features import alpha158_panel

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    args = parser.parse_args()
    raw = yaml.safe_load((CONFIGS / "simulated.yaml").read_text())
    raw["market"]["source"]["instruments"] = args.instruments
    raw["market"] |= {"start": "2012-01-03", "end": "2022-12-30"}
    raw["dataset"] |= {"fit_start": "2012-04-02"}
    small = simulate_market(3, pd.bdate_range("2020-01-01", periods=80), 0)
    alpha158_panel(Panel.from_frame(small.drop(columns="adj_ratio").assign(vwap=small["close"])))
    with tempfile.TemporaryDirectory() as folder:
        market = Market(parse_config(raw), root=Path(folder))
        defs, keys = build_definitions(market), market.sessions.keys[: args.sessions]
        market.source.fetch(keys[:1])  # simulates the market
        with dagster_instance(market) as instance:
            for asset in ("ohlcv", "alpha158"):
                began = time.perf_counter()
                run_assets(defs, instance, [asset], (keys[0], keys[-1]))
                took = time.perf_counter() - began
                print(
                    f"{asset:<9} {args.instruments} x {len(keys)}: {took:.1f} s, "
                    f"{1e3 * took / len(keys):.1f} ms a session, {os.cpu_count()} CPUs"
                )


if __name__ == "__main__":
    main()
