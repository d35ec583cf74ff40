"""Time bars from files and qlib folders into session partitions, and their memory.

    python benchmarks/ingest.py files BARS.parquet      # fetch, then the asset `ohlcv`, then a day
    python benchmarks/ingest.py qlib [--instruments 5000] [--sessions 2500] [--stretch 250]

`files` takes the table that config/shipped/us_files.yaml describes. `qlib` makes a provider folder
and fetches it in stretches of sessions, as memory follows the rows that are asked for at once; a
stretch of all sessions shows what that saves. The peak is that of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

FIELDS = ("open", "high", "low", "close", "volume", "vwap", "factor")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began, cpu = time.perf_counter(), time.process_time()
    yield
    took, used = time.perf_counter() - began, time.process_time() - cpu
    print(f"{what}: {took:.2f} s, {used:.2f} s of CPU, load {os.getloadavg()[0]:.1f}", flush=True)


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def files(path: Path) -> None:
    import yaml

    from pipelines.build import build_definitions
    from pipelines.config.loader import CONFIGS, parse_config
    from pipelines.instance.home import dagster_instance
    from pipelines.market.market import Market
    from pipelines.operations.runs import run_assets
    from pipelines.sources.fetch import fetch_bars

    raw = yaml.safe_load((CONFIGS / "us_files.yaml").read_text())
    raw["market"]["source"]["path"] = str(path)
    with tempfile.TemporaryDirectory() as folder:
        market = Market(parse_config(raw), root=Path(folder) / "market")
        keys = market.sessions.keys
        with timed("fetch of all sessions"):
            rows = len(fetch_bars(market.source, keys))
        with timed("fetch of the last session"):
            fetch_bars(market.source, keys[-1:])
        defs = build_definitions(market)
        with dagster_instance(market) as instance:
            with timed(f"ohlcv of {rows:,} rows, {len(keys)} sessions"):
                run_assets(defs, instance, ["ohlcv"], (keys[0], keys[-1]))
            with timed("ohlcv of the last session alone"):
                run_assets(defs, instance, ["ohlcv"], (keys[-1], keys[-1]))
    print(f"peak {peak_gigabytes():.2f} GB")


def provider(root: Path, instruments: int, sessions: int) -> list[str]:
    """A folder of a random walk with a dividend a year."""
    days = pd.bdate_range("2010-01-04", periods=sessions).strftime("%Y-%m-%d")
    (root / "calendars").mkdir(parents=True)
    (root / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    rng = np.random.default_rng(0)
    factor = 1.01 ** (np.arange(sessions) // 250)
    for i in range(instruments):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, sessions)))
        spread = 1 + np.abs(rng.normal(0, 0.01, sessions))
        values = (close, close * spread, close / spread, close, rng.uniform(1e5, 1e6, sessions),
                  close, factor)  # fmt: skip
        folder = root / "features" / f"sh{i:06d}"
        folder.mkdir(parents=True)
        for name, column in zip(FIELDS, values, strict=True):
            np.append(0.0, column).astype("<f4").tofile(folder / f"{name}.day.bin")
    return list(days)


def qlib(instruments: int, sessions: int, stretch: int) -> None:
    from pipelines.config.sources import QlibBinSource
    from pipelines.sources.fetch import fetch_bars
    from pipelines.sources.qlib_bin import QlibBars

    with tempfile.TemporaryDirectory() as folder:
        with timed("making the folder"):
            days = provider(Path(folder), instruments, sessions)
        source, rows = QlibBars(QlibBinSource(kind="qlib_bin", path=folder)), 0
        print(f"peak {peak_gigabytes():.2f} GB before")
        with timed(f"fetch of {instruments:,} x {sessions:,} in stretches of {stretch}"):
            for start in range(0, sessions, stretch):
                rows += len(fetch_bars(source, days[start : start + stretch]))
        print(f"{rows:,} rows, peak {peak_gigabytes():.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("files").add_argument("path", type=Path)
    of_qlib = kinds.add_parser("qlib")
    of_qlib.add_argument("--instruments", type=int, default=5000)
    of_qlib.add_argument("--sessions", type=int, default=2500)
    of_qlib.add_argument("--stretch", type=int, default=250)
    args = parser.parse_args()
    if args.kind == "files":
        files(args.path)
    else:
        qlib(args.instruments, args.sessions, args.stretch)


if __name__ == "__main__":
    main()
