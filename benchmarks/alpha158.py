"""Time Alpha158 on a dense simulated market, warm and from a cold compile cache.

    python benchmarks/alpha158.py [--instruments 500] [--sessions 2520] [--repeats 3]

Prints seconds (best of the repeats) for both semantics and 1 and 2 threads, into an array made
beforehand and into a new one, and the first call of a fresh process whose compile cache is empty.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from rnn_core.data.panel import Panel
from rnn_core.features import ALPHA158_NAMES, alpha158, alpha158_panel

FIRST_CALL = """
import sys, time
began = time.perf_counter()
sys.path.insert(0, {folder!r})
from alpha158 import market
from rnn_core.features import alpha158_panel
panel = market(2, 120)
imported = time.perf_counter()
alpha158_panel(panel, semantics={semantics!r}, threads=1)
print(imported - began, time.perf_counter() - imported)
"""


def market(instruments: int, sessions: int, seed: int = 7) -> Panel:
    """A dense random walk with volumes; no gaps, as in published timings of Alpha158."""
    rng = np.random.default_rng(seed)
    shape = (instruments, sessions)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=1))
    open_ = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.005, shape)))
    fields = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.exp(rng.normal(14, 0.5, shape)),
        "vwap": (high + low + close) / 3,
    }
    return Panel(
        pd.bdate_range("2010-01-04", periods=sessions, name="datetime"),
        pd.Index([f"S{i:05d}" for i in range(instruments)], name="instrument"),
        {k: v.astype(np.float32).astype(np.float64) for k, v in fields.items()},
        np.ones(shape, dtype=bool),
    )


def best(call: Callable[[], object], repeats: int) -> float:
    """Shortest of the repeats, seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def cold(semantics: str) -> tuple[float, float]:
    """Seconds to import, and of the first call, in a process with an empty compile cache."""
    with tempfile.TemporaryDirectory() as cache:
        folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", FIRST_CALL.format(folder=folder, semantics=semantics)],
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
            check=True,
            capture_output=True,
            text=True,
        )
    imported, first = done.stdout.split()
    return float(imported), float(first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for semantics in ("strict", "qlib"):
        imported, first = cold(semantics)
        print(f"{semantics:7s} cold cache: import {imported:.1f} s, first call {first:.1f} s")
    panel = market(args.instruments, args.sessions)
    out = np.zeros((len(ALPHA158_NAMES), *panel.shape), dtype=np.float32)
    for semantics in ("strict", "qlib"):
        for threads in (1, 2):
            alpha158_panel(market(2, 120), semantics=semantics, threads=threads)
            reused = best(
                lambda s=semantics, k=threads: alpha158_panel(
                    panel, semantics=s, threads=k, out=out
                ),
                args.repeats,
            )
            fresh = best(
                lambda s=semantics, k=threads: alpha158_panel(panel, semantics=s, threads=k),
                args.repeats,
            )
            print(
                f"{semantics:7s} {threads} threads: {reused:.2f} s into a given array,"
                f" {fresh:.2f} s into a new one"
            )
    fields = np.stack([panel.fields[name] for name in panel.fields])  # [6, N, T]
    bars = panel.to_frame(fields, list(panel.fields)).reset_index(names=["date", "instrument"])
    seconds = best(lambda: alpha158(bars, threads=2), max(args.repeats - 1, 1))
    print(f"strict  2 threads, long frame to long frame: {seconds:.2f} s")


if __name__ == "__main__":
    main()
