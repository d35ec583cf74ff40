"""Alpha158 beside pyqlib and KunQuant: the same bars, the same machine, the same call.

    make bench-peers                          # once: an environment for each peer
    python benchmarks/features.py [--instruments 500] [--sessions 2520] [--repeats 5] [--write]

Every contestant runs in processes of its own, one at a time, on one simulated market with about
1 % of its rows missing (`market.py`), and hands back its values; they are compared here. A peer
whose environment is missing is named and left out. --write puts the tables into RESULTS.md.

How each is timed:

* here: warm (best of the repeats) into an array made beforehand, into a new one, and from a long
  frame of bars to the sorted long frame of features; further the import and the first call of a
  fresh process, with an empty compile cache and with a filled one.
* pyqlib: `D.features` in 2 processes, cold (peers/qlib_alpha158.py). Its answer is a long frame,
  so "long frame" is the run to compare; the re-sorting its loader adds is named beside it.
* KunQuant: the fastest of several configurations, inputs in its own layout, into an array made
  beforehand (peers/kunquant_alpha158.py). It does not handle NaN: it gets the same bars with their
  gaps filled, so it does less; the bars as they are, are timed as well.

The ratio to KunQuant is taken at the same number of threads. Peak memory is the growth of resident
memory during one call that makes its own result, in a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import market
import numpy as np
from features_report import (
    compare,
    gapless,
    missing_share,
    table,
    write_ratios,
    write_section,
)

from rnn_core.data.bars import spans
from rnn_core.features import ALPHA158_NAMES

HERE = Path(__file__).parent
THREADS = (1, 2)
SEMANTICS = ("strict", "qlib")
PEERS = {"qlib": "pyqlib", "kunquant": "KunQuant"}


def child(python: str, script: str, *arguments: object, cache: str | None = None) -> dict:
    """The JSON that a contestant's process prints last."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    command = [python, str(HERE / "peers" / script), *map(str, arguments)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def interpreter(peer: str, given: str | None) -> str | None:
    """The peer's interpreter, or None with a word on how to get it."""
    python = Path(given) if given else HERE.parent / ".venv-peers" / peer / "bin" / "python"
    if python.exists():
        return str(python)
    how = f"--{peer} is not a file" if given else "`make bench-peers` makes it"
    print(f"{PEERS[peer]} is left out: no environment at {python}; {how}")
    return None


def engine(bars: Path, folder: Path, repeats: int) -> dict:
    """This library: warm seconds, first calls, memory."""
    script, python = "engine_alpha158.py", sys.executable
    got = child(python, script, "time", bars, "--folder", folder, "--repeats", repeats)
    tiny = folder / "tiny.npz"
    market.write(tiny, market.simulate(2, 120), ALPHA158_NAMES)
    got["first"], got["peak_mb"] = [], {}
    for semantics in SEMANTICS:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("empty", "filled"):
                chosen = ("--semantics", semantics)
                first = child(python, script, "first", tiny, *chosen, cache=cache)
                got["first"].append(first | {"semantics": semantics, "cache": state})
        for what in ("given array", "new array", "long frame"):
            chosen = ("--semantics", semantics, "--what", what)
            grown = child(python, script, "memory", bars, *chosen)
            got["peak_mb"][semantics, what] = grown["peak_mb"]
    return got


def speed_rows(here: dict, qlib: dict | None, kunquant: dict | None, nan: dict) -> list[list]:
    """The table of seconds: contestant, run, seconds, two ratios, peak memory, NaN share."""
    base = qlib["seconds"] if qlib else None
    kun = {run["threads"]: run["seconds"] for run in kunquant["runs"]} if kunquant else {}

    def row(who: str, run: str, seconds: float, threads: int, peak: float | None, part: str | None):
        ratios = [base / seconds if base else None, kun[threads] / seconds if kun else None]
        return [
            who,
            run,
            f"{seconds:.3f}",
            *(None if ratio is None else f"{ratio:.3g}" for ratio in ratios),
            None if peak is None else f"{peak:.0f}",
            None if part is None else f"{nan[part]:.2%}",
        ]

    rows = []
    if qlib:
        rows.append(row("pyqlib", "2 processes", base, 2, qlib["peak_mb"], "pyqlib"))
    if kunquant:
        for threads, seconds in kun.items():
            peak = kunquant["peak_mb"] if threads == max(kun) else None
            rows.append(row("KunQuant", spelled(threads), seconds, threads, peak, "KunQuant"))
        for what in ("gaps left", "double"):
            label, seconds = f"{spelled(2)}, {what}", kunquant["others"][what]
            rows.append(row("KunQuant", label, seconds, 2, None, what))
    for run in here["runs"]:
        semantics, what, threads = run["semantics"], run["what"], run["threads"]
        peak = here["peak_mb"].get((semantics, what)) if threads == max(THREADS) else None
        who = f"here, {semantics}"
        rows.append(
            row(who, f"{spelled(threads)}, {what}", run["seconds"], threads, peak, semantics)
        )
    return rows


def ratios(here: dict, qlib: dict | None, kunquant: dict | None) -> list[tuple]:
    """The runs that answer a peer's, on two threads: the work, the peer, seconds of both."""
    took = {(r["semantics"], r["what"]): r["seconds"] for r in here["runs"] if r["threads"] == 2}
    rows = []
    if qlib:
        for semantics in SEMANTICS:
            seconds = took[semantics, "long frame"]
            rows.append((f"Alpha158, {semantics}, long frame", "pyqlib", seconds, qlib["seconds"]))
    if kunquant:
        (single,) = (r["seconds"] for r in kunquant["runs"] if r["threads"] == 2)
        for peer, other in (("float", single), ("double", kunquant["others"]["double"])):
            seconds = took["strict", "new array"]
            rows.append(("Alpha158, strict, new array", f"KunQuant, {peer}", seconds, other))
    return rows


def spelled(threads: int) -> str:
    """A number of threads in words."""
    return f"{threads} thread" + "s" * (threads > 1)


def report(args: argparse.Namespace, folder: Path) -> str:
    """Run everyone, and return the section."""
    pythons = {peer: interpreter(peer, getattr(args, peer)) for peer in PEERS}
    bars = folder / "bars.npz"
    data = market.simulate(args.instruments, args.sessions)
    present = data["present"]
    market.write(bars, data, ALPHA158_NAMES)
    print("timing this library ...", flush=True)
    here = engine(bars, folder, args.repeats)
    peers: dict[str, dict | None] = dict.fromkeys(PEERS)
    repeats = {"qlib": args.qlib_repeats, "kunquant": args.repeats}
    for peer, python in pythons.items():
        script, out = f"{peer}_alpha158.py", folder / f"{peer}.npy"
        if not python:
            continue
        print(f"timing {PEERS[peer]} ...", flush=True)
        try:
            peers[peer] = child(python, script, bars, out, "--repeats", repeats[peer])
        except RuntimeError as error:
            print(f"{PEERS[peer]} is left out: {error}")
    qlib, kunquant = peers["qlib"], peers["kunquant"]

    write_ratios(args.ratios, ratios(here, qlib, kunquant))
    paths = {semantics: Path(here["results"][semantics]) for semantics in SEMANTICS}
    if qlib:
        paths["pyqlib"] = folder / "qlib.npy"
    if kunquant:
        paths["KunQuant"] = folder / "kunquant.npy"
        paths |= {what: Path(path) for what, path in kunquant["results"].items()}
    values = {who: np.load(path, mmap_mode="r") for who, path in paths.items()}
    nan = {who: missing_share(v, present) for who, v in values.items()}
    header = ["", "run", "s", "× pyqlib", "× KunQuant", "peak, MB", "NaN"]
    parts = [
        f"## Alpha158 beside its peers, {args.instruments} instruments × {args.sessions:,} sessions"
        f" ({datetime.date.today()}, {args.machine})",
        f"`python benchmarks/features.py --repeats {args.repeats}`: one simulated market,"
        f" {1 - present.mean():.1%} of its rows missing; NaN is counted in the rows that exist."
        " × is how many times as fast, for KunQuant at the same number of threads; peak is the"
        " growth of resident memory in one call. KunQuant gets the bars with their gaps filled."
        f" {here_versions()}" + "".join(f"; {p['versions']}" for p in peers.values() if p) + ".",
        table(header, speed_rows(here, qlib, kunquant, nan)),
    ]
    if qlib:
        parts.append(f"Sorting pyqlib's frame by session adds {qlib['sorting_s']:.2f} s.")
    if kunquant:
        tried = ", ".join(f"{name}: {took:.2f} s" for name, took in kunquant["tried"].items())
        parts.append(
            f"KunQuant is compiled as {kunquant['configuration']} (in {kunquant['compile_s']:.0f}"
            f" s), the fastest on 2 threads of: {tried}."
        )
    parts.append("A fresh process, 2 instruments × 120 sessions, 1 thread:")
    parts.append(
        table(
            ["semantics", "compile cache", "import, s", "first call, s"],
            [
                [f["semantics"], f["cache"], f"{f['import_s']:.2f}", f"{f['first_s']:.2f}"]
                for f in here["first"]
            ],
        )
    )
    parts += differences(values, present)
    return "\n\n".join(p if p[0] in "#|" else textwrap.fill(p, 100) for p in parts)


def differences(values: dict[str, np.ndarray], present: np.ndarray) -> list[str]:
    """The table of values against pyqlib's, or nothing without it."""
    if "pyqlib" not in values:
        return []
    sides = {
        "here, qlib": ("qlib", spans(present)),
        "here, strict": ("strict", present),
        "here, strict, no gap": ("strict", gapless(present)),
        "KunQuant, no gap": ("KunQuant", gapless(present)),
        "KunQuant, double, no gap": ("double", gapless(present)),
        "KunQuant, gaps left, no gap": ("gaps left", gapless(present)),
    }
    rows, words = [], []
    for label, (who, cells) in sides.items():
        if who not in values:
            continue
        got = compare(values[who], values["pyqlib"], cells, ALPHA158_NAMES)
        numbers = [f"{got['cells']:,}", f"{got['bits']:,}", f"{got['masks']:,}"]
        rows.append([label, *numbers, f"{got['far']:.4%}", f"{got['largest']:.3g}"])
        if got["families"]:
            most = list(got["families"].items())[:8]
            words.append(f"{label}: " + ", ".join(f"{name} {count:,}" for name, count in most))
    header = ["against pyqlib", "cells", "differ in a bit", "NaN on one side", "far", "largest"]
    title = (
        "Values against pyqlib's (far: rtol 1e-4, atol 1e-6, or NaN on one side; no gap: only"
        " sessions whose last 61 rows exist):"
    )
    parts = [title, table(header, rows)]
    if words:
        parts.append("Far cells by family. " + "; ".join(words) + ".")
    return parts


def here_versions() -> str:
    """What this side runs on."""
    from importlib.metadata import version

    names = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "pandas"))
    return f"Python {platform.python_version()}, {names}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeats", type=int, default=5, help="here and KunQuant: best of")
    parser.add_argument("--qlib-repeats", type=int, default=2, help="pyqlib: best of")
    parser.add_argument("--qlib", metavar="PYTHON", help="interpreter that has pyqlib")
    parser.add_argument("--kunquant", metavar="PYTHON", help="interpreter that has KunQuant")
    parser.add_argument("--ratios", type=Path, help="a file for `against_peers.py`")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; a few minutes, one contestant at a time")
    with tempfile.TemporaryDirectory() as folder:
        section = report(args, Path(folder))
    print(section)
    if args.write:
        write_section(HERE / "RESULTS.md", section)


if __name__ == "__main__":
    main()
