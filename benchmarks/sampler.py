"""Time the construction and the batches of TSDataSampler, beside pyqlib's where it is at hand.

    python benchmarks/sampler.py
    python benchmarks/sampler.py --peer PYTHON

pyqlib 0.9.7 needs pandas 2, so it usually lives in another environment: PYTHON is that
environment's interpreter, and runs this file on the same seeded frame. Without --peer, pyqlib is
timed only if it can be imported here. Both sides take the best of several runs, in one process
each, on the same machine. Peak is what one construction allocates at most, its result included
and the caller's frame not (tracemalloc). Batches are 800 shuffled samples: ours one `batch`
call on the CPU, pyqlib's a loop of `__getitem__` and a stack, which is what its DataLoader does in
each worker. On a busy machine `--threads 1` gives steadier batches.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd

BATCH = 800
FILL = "ffill+bfill"


def synthetic(instruments: int, sessions: int, features: int, seed: int = 0) -> pd.DataFrame:
    """float32 frame with 3 % of its rows missing, sorted by (datetime, instrument)."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2018-01-01", periods=sessions)
    names = [f"S{i:05d}" for i in range(instruments)]
    index = pd.MultiIndex.from_product([dates, names], names=["datetime", "instrument"])
    held = rng.random(len(index)) > 0.03
    values = rng.standard_normal((len(index), features), dtype=np.float32)
    columns = [f"F{i}" for i in range(features)]
    return pd.DataFrame(values, index=index, columns=columns)[held]


def best(action: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_mb(action: Callable[[], object]) -> float:
    """Most memory that an action holds at a time, 10^6 bytes."""
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure_ours(frame: pd.DataFrame, step: int, repeats: int, threads: int) -> dict[str, object]:
    """Construction and batches of this library, seconds."""
    import torch

    from rnn_core.data import TSDataSampler

    if threads:
        torch.set_num_threads(threads)

    def build() -> TSDataSampler:
        return TSDataSampler(frame, None, None, step, fillna_type=FILL)

    sampler = build()
    order = np.random.default_rng(1).permutation(len(sampler))
    batches = [order[k : k + BATCH] for k in range(0, 20 * BATCH, BATCH)]
    sampler.batch(batches[0])
    return {
        "construct_s": best(build, repeats),
        "batch_s": best(lambda: [sampler.batch(b) for b in batches], repeats) / len(batches),
        "peak_mb": peak_mb(build),
        "samples": len(sampler),
        "sum": float(np.nansum(sampler.batch(batches[0]).numpy(), dtype=np.float64)),
        "versions": f"pandas {pd.__version__}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
    }


def measure_peer(frame: pd.DataFrame, step: int, repeats: int) -> dict[str, object]:
    """Construction and batches of pyqlib, seconds."""
    import qlib
    from qlib.data.dataset import TSDataSampler

    frames = [frame.copy() for _ in range(repeats)]  # it empties the one it is given
    extra = frame.copy()
    sampler = TSDataSampler(frame.copy(), None, None, step, fillna_type=FILL)
    order = np.random.default_rng(1).permutation(len(sampler))
    batch = order[:BATCH].tolist()

    def load() -> np.ndarray:
        return np.stack([sampler[k] for k in batch])

    return {
        "construct_s": best(
            lambda: TSDataSampler(frames.pop(), None, None, step, fillna_type=FILL), repeats
        ),
        "batch_s": best(load, repeats),
        "peak_mb": peak_mb(lambda: TSDataSampler(extra, None, None, step, fillna_type=FILL)),
        "samples": len(sampler),
        "sum": float(np.nansum(load(), dtype=np.float64)),
        "versions": f"pyqlib {qlib.__version__}, pandas {pd.__version__}",
    }


def report(side: str, got: dict[str, object]) -> None:
    """One line of figures."""
    print(
        f"{side:7} construct {got['construct_s'] * 1e3:9.1f} ms   "
        f"batch({BATCH}) {got['batch_s'] * 1e3:8.3f} ms   {got['samples']} samples   "
        f"peak {got['peak_mb']:.0f} MB   {got['versions']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=int, default=300)
    parser.add_argument("--sessions", type=int, default=1250)
    parser.add_argument("--features", type=int, default=21)
    parser.add_argument("--step", type=int, default=20, help="step_len, in sessions")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="torch threads, 0: its default")
    parser.add_argument("--peer", help="interpreter of an environment with pyqlib")
    parser.add_argument("--side", choices=["ours", "peer"], help="one side only, as JSON")
    args = parser.parse_args()
    if args.side:
        frame = synthetic(args.instruments, args.sessions, args.features)
        if args.side == "ours":
            got = measure_ours(frame, args.step, args.repeats, args.threads)
        else:
            got = measure_peer(frame, args.step, args.repeats)
        print(json.dumps(got))
        return

    def child(python: str, side: str) -> dict[str, object]:
        sizes = [f"--{k}={getattr(args, k)}" for k in ("instruments", "sessions", "features")]
        sizes += [f"--step={args.step}", f"--repeats={args.repeats}", f"--side={side}"]
        sizes.append(f"--threads={args.threads}")
        out = subprocess.run(  # noqa: S603
            [python, __file__, *sizes], check=True, capture_output=True, text=True
        )
        return json.loads(out.stdout.splitlines()[-1])

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    ours = child(sys.executable, "ours")
    report("ours", ours)
    peer_python = args.peer or (sys.executable if importlib.util.find_spec("qlib") else None)
    if peer_python is None:
        print("pyqlib cannot be imported here: pass --peer PYTHON to compare")
        return
    peer = child(peer_python, "peer")
    report("pyqlib", peer)
    assert ours["samples"] == peer["samples"]
    assert np.isclose(ours["sum"], peer["sum"], rtol=1e-9), "the two give different windows"
    for what in ("construct_s", "batch_s"):
        print(f"{what[:-2]}: {peer[what] / ours[what]:.0f} times as fast as pyqlib")
    print(f"peak memory: {ours['peak_mb'] / peer['peak_mb']:.2f} of pyqlib's")


if __name__ == "__main__":
    main()
