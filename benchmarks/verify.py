"""Time `verify` on a market of a gigabyte: MB/s from a warm disk, wall clock and CPU.

    python benchmarks/verify.py [--names 500] [--sessions 3000] [--home FOLDER]

Writes feature tables of the shipped market `simulated_500` with random values, so that files have
the size of real ones and nothing is computed, and verifies them as the command does: every byte by
its checksum, every file by its place, every partition by what it would be made from.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pipelines.assets.stages import stages
from pipelines.config.loader import CONFIGS, parse_config
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.staleness.verification import verify_market
from pipelines.warehouse.partition_file import Provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=3000)
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure((args.home or Path(folder)) / "big", args.names, args.sessions)


def measure(root: Path, names: int, sessions: int) -> None:
    raw = yaml.safe_load((CONFIGS / "simulated_500.yaml").read_text())
    raw["market"] |= {"start": "2006-01-03", "end": "2025-12-31"}
    market = Market(parse_config(raw), root=root)
    table = next(stage for stage in stages(market) if stage.name == "alpha158").tables[0]
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"instrument": [f"S{i:04d}" for i in range(names)], "member": True})
    values = {c: rng.normal(size=names).astype("float32") for c in table.names[2:]}
    rows = pd.concat([rows, pd.DataFrame(values)], axis=1)
    made = Provenance("alpha158", "1", "c0ffee")
    keys = market.sessions.keys[:sessions]
    if len(market.warehouse.sessions("alpha158")) < len(keys):
        market.warehouse.write_many(table, "alpha158", ((key, rows, made) for key in keys))
    with dagster_instance(market) as instance:
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            found = verify_market(market, stages(market), instance)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            count = found.counts["alpha158"]
            size = count.bytes / 1e6
            print(
                f"{count.files} files, {size:.0f} MB: {wall:.2f} s, {cpu:.2f} s of CPU, "
                f"{size / wall:.0f} MB/s, {size / cpu:.0f} MB a second of CPU"
            )


if __name__ == "__main__":
    main()
