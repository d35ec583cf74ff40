"""KunQuant's side of the contest: `PYTHON kunquant_alpha158.py BARS.npz OUT.npy`.

Run in an interpreter that has KunQuant, with g++ on the path (requirements in kunquant.txt). It
generates C++ for the 158 features, compiles it and runs it on its own threads. Timed as its
authors advise for speed: data already in the input layout, output arrays made beforehand, the
executor made beforehand, best of the repeats; compilation is reported apart.

Which configuration is fastest depends on the processor, so each of `CANDIDATES` is compiled and
timed here and the fastest is taken: single precision in its blocked layout `STs` with AVX2 and
AVX-512 blocks, code for this very processor, and its optimisations on. The set its authors use in
their test of these features (double precision, layout `TS`) is timed too. Variants tried and left
out because they are no faster: its inexact running statistics (`no_fast_stat` off; in single
precision these lose digits as well), `TS` in single precision, `opt_reduce` off, larger partitions,
-ffast-math.

KunQuant does not know missing values. It is given the bars with their gaps filled forward (and
late listings backward), since a NaN would spread; the raw bars are timed as well. It counts
stocks in blocks, so in `STs` the last block is filled up with copies of other names. Rows before a
window is full are NaN or partial: compare only full windows. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from memory import growth_mb

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
WINDOWS = [5, 10, 20, 30, 60]
MODULE = "alpha158"


class Candidate(NamedTuple):
    """One way to compile: precision, stocks in a SIMD block, layout, size of its partitions."""

    dtype: str
    block: int
    layout: str
    partition: int
    fast_statistics: bool

    def __str__(self) -> str:
        return f"{self.dtype}, {self.layout}, blocks of {self.block}, partition {self.partition}"


CANDIDATES = [
    Candidate("float", 8, "STs", 2, False),
    Candidate("float", 8, "STs", 4, False),
    Candidate("float", 16, "STs", 2, False),
    Candidate("float", 16, "STs", 3, False),
    Candidate("float", 16, "STs", 4, False),
]
AUTHORS = [Candidate("double", 8, "TS", 4, True), Candidate("double", 4, "TS", 4, True)]


def usable(candidates: list[Candidate]) -> list[Candidate]:
    """Those this processor can run: blocks of 512 bits need AVX-512."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    bits = {"float": 32, "double": 64}
    widest = 512 if "avx512f" in flags else 256
    return [c for c in candidates if c.block * bits[c.dtype] <= widest]


def compiled(candidate: Candidate, folder: Path) -> tuple[str, float]:
    """Path of the shared library, and the seconds that making it took."""
    from KunQuant.Driver import KunCompilerConfig
    from KunQuant.jit import cfake
    from KunQuant.Op import Builder, Input, Output
    from KunQuant.predefined.Alpha158 import AllData
    from KunQuant.Stage import Function

    began = time.perf_counter()
    builder = Builder()
    with builder:
        field = {name: Input(name) for name in FIELDS}
        prices = [(name.upper(), field[name]) for name in ("open", "high", "low", "vwap")]
        features, names = AllData(**field).build(
            {
                "kbar": {},
                "price": {"windows": [0], "feature": prices},
                "rolling": {"windows": WINDOWS},
            }
        )
        for feature, name in zip(features, names, strict=True):
            Output(feature, name)
    statistics = "no_warn" if candidate.fast_statistics else True
    settings = KunCompilerConfig(
        dtype=candidate.dtype,
        blocking_len=candidate.block,
        partition_factor=candidate.partition,
        input_layout=candidate.layout,
        output_layout=candidate.layout,
        allow_unaligned=candidate.layout == "TS",
        split_source=4,
        options={"opt_reduce": True, "fast_log": True, "no_fast_stat": statistics},
    )
    library = cfake.compileit(
        [(MODULE, Function(builder.ops), settings)],
        "_".join(map(str, candidate)),
        cfake.CppCompilerConfig(machine=cfake.NativeCPUFlags()),
        tempdir=str(folder),
        keep_files=True,
        load=False,
    )
    return library, time.perf_counter() - began


def filled(values: np.ndarray) -> np.ndarray:
    """Gaps filled forward, a late start backward, [N, T]."""
    known = ~np.isnan(values)
    sessions = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(known, sessions, -1), axis=1)
    source = np.where(last < 0, known.argmax(axis=1)[:, None], last)
    return np.take_along_axis(values, source, axis=1)


class Contest:
    """A compiled library with its inputs in place."""

    def __init__(self, library: str, candidate: Candidate, market: dict[str, np.ndarray]) -> None:
        from KunQuant.runner import KunRunner
        from KunQuant.runner.KunRunner import Library as Compiled

        self.runner, self.candidate = KunRunner, candidate
        self.compiled = Compiled.load(library)
        self.module = self.compiled.getModule(MODULE)
        self.names = self.module.getOutputNames()
        self.count, self.sessions = market["close"].shape
        self.inputs = {name: self._laid_out(market[name]) for name in FIELDS}
        self.values = np.empty(0)
        self.outputs: dict[str, np.ndarray] = {}

    def allocate(self) -> None:
        """Make the output arrays and touch their pages."""
        like = self.inputs["close"]
        self.values = np.zeros((len(self.names), *like.shape), like.dtype)
        self.outputs = dict(zip(self.names, self.values, strict=True))

    def executor(self, threads: int) -> Any:
        """Its thread pool."""
        if threads == 1:
            return self.runner.createSingleThreadExecutor()
        return self.runner.createMultiThreadExecutor(threads)

    def run(self, executor: Any) -> object:
        """Compute all features once."""
        return self.runner.runGraph(
            executor, self.module, self.inputs, 0, self.sessions, self.outputs
        )

    def seconds(self, threads: int, repeats: int) -> float:
        """Shortest of the repeats, after one run that is not counted."""
        executor = self.executor(threads)
        self.run(executor)
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            self.run(executor)
            times.append(time.perf_counter() - began)
        return min(times)

    def features(self, names: list[str]) -> np.ndarray:
        """The values last computed, in the order of the names."""
        order = [self.names.index(name) for name in names]
        if self.candidate.layout == "TS":
            return self.values[order].swapaxes(1, 2)  # [158, N, T]
        blocks = self.values[order].swapaxes(2, 3)  # [158, N / block, block, T]
        return blocks.reshape(len(order), -1, self.sessions)[:, : self.count]  # [158, N, T]

    def _laid_out(self, values: np.ndarray) -> np.ndarray:
        """[N, T] in the layout of the candidate: [T, N], or [N / block, T, block]."""
        dtype = np.float32 if self.candidate.dtype == "float" else np.float64
        if self.candidate.layout == "TS":
            return np.ascontiguousarray(values.T, dtype=dtype)
        block = self.candidate.block
        padded = np.resize(values, (-(-self.count // block) * block, self.sessions))
        blocks = padded.reshape(-1, block, self.sessions).swapaxes(1, 2)
        return np.ascontiguousarray(blocks, dtype=dtype)


def memory(library: str, candidate: Candidate, market: dict[str, np.ndarray]) -> float:
    """Growth of resident memory of one run that makes its own output arrays, 10^6 bytes."""
    contest = Contest(library, candidate, {name: filled(market[name]) for name in FIELDS})
    executor = contest.executor(2)
    return growth_mb(lambda: contest.run(executor))


def compete(args: argparse.Namespace) -> dict[str, object]:
    """Every run."""
    raw = dict(np.load(args.bars))
    names = [str(name) for name in raw["names"]]
    market = {name: filled(raw[name]) for name in FIELDS}
    tried = {}
    with tempfile.TemporaryDirectory() as folder:
        authors = usable(AUTHORS)[0]
        for candidate in [*usable(CANDIDATES), authors]:
            library, compile_s = compiled(candidate, Path(folder))
            contest = Contest(library, candidate, market)
            contest.allocate()
            seconds = contest.seconds(max(args.threads), args.repeats)
            tried[candidate] = (seconds, compile_s, library)
        double = args.out.with_suffix(".double.npy")
        np.save(double, contest.features(names).astype(np.float32))  # the authors', tried last
        winner = min(tried, key=lambda c: tried[c][0])
        seconds, compile_s, library = tried[winner]
        contest = Contest(library, winner, market)
        contest.allocate()
        runs = {count: contest.seconds(count, args.repeats) for count in args.threads}
        runs[max(args.threads)] = min(seconds, runs[max(args.threads)])
        np.save(args.out, contest.features(names).astype(np.float32))
        gapped = Contest(library, winner, raw)
        gapped.allocate()
        gaps_s = gapped.seconds(max(args.threads), args.repeats)
        gaps_left = args.out.with_suffix(".gaps.npy")
        np.save(gaps_left, gapped.features(names).astype(np.float32))
        alone = [sys.executable, __file__, args.bars, args.out, "--memory", library]
        alone += ["--candidate", json.dumps(winner)]
        done = subprocess.run(alone, check=True, capture_output=True, text=True)  # noqa: S603
    from importlib.metadata import version

    return {
        "runs": [{"threads": count, "seconds": took} for count, took in runs.items()],
        "others": {"gaps left": gaps_s, "double": tried[authors][0]},
        "results": {"gaps left": str(gaps_left), "double": str(double)},
        "configuration": str(winner),
        "compile_s": compile_s,
        "peak_mb": json.loads(done.stdout.splitlines()[-1]),
        "tried": {str(c): took[0] for c, took in tried.items()},
        "versions": f"KunQuant {version('KunQuant')}, numpy {np.__version__}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", metavar="LIBRARY", help="only measure this library's memory")
    parser.add_argument("--candidate", help="what that library was compiled from, as JSON")
    args = parser.parse_args()
    if args.memory:
        candidate = Candidate(*json.loads(args.candidate))
        print(json.dumps(memory(args.memory, candidate, dict(np.load(args.bars)))))
        return
    print(json.dumps(compete(args)))


if __name__ == "__main__":
    main()
