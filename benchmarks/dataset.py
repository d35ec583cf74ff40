"""Handler, dataset and sampler beside pyqlib: the same bars, the same machine, the same call.

    make bench-peers                          # once: an environment for pyqlib
    python benchmarks/dataset.py [--instruments 300] [--sessions 1250] [--write]
    python benchmarks/dataset.py --qlib PYTHON

Both sides make what a training needs from one simulated market (`market.py`): an Alpha158 handler
that keeps 20 features, scales them robustly, fills holes, drops rows without a label and ranks it;
a TSDatasetH of 20 sessions; the sampler of the training segment. Here with semantics "qlib", so
that the samples must be the same and the windows can be compared. Without pyqlib its columns are
left out, and without `rnn_core.data.Alpha158` only the sampler is timed, on noise.

Each side runs in processes of its own, one for the times and one for the memory; times are the
best of the repeats, compiled kernels warm. Peak is the growth of resident memory from the handler
to the sampler, result included; pyqlib's workers get theirs for free. A batch is 800 shuffled
windows: here one `batch` call on one thread (a busy machine makes two unsteady), in pyqlib a loop
and a stack, as its DataLoader does in each worker.
--write puts the table into RESULTS.md.
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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

import market  # noqa: E402
from features_report import ATOL, RTOL, table, write_ratios, write_section  # noqa: E402
from memory import growth_mb  # noqa: E402

BATCH, STEP, FILL = 800, 20, "ffill+bfill"
KEPT = [
    *("RESI5", "WVMA5", "RSQR5", "KLEN", "RSQR10", "CORR5", "CORD5", "CORR10", "ROC60", "RESI10"),
    *(
        "VSTD5",
        "RSQR60",
        "CORR60",
        "WVMA60",
        "STD5",
        "RSQR20",
        "CORD60",
        "CORD10",
        "CORR20",
        "KLOW",
    ),
]
"""The 20 features of qlib's published LSTM and GRU configurations."""


def plan(sessions: np.ndarray) -> dict[str, Any]:
    """What both sides build, JSON-able."""
    last = int(len(sessions) * 0.7)
    days = sessions.astype("datetime64[D]").astype(str)
    feature = {"fields_group": "feature"}
    return {
        "segments": {
            "train": [days[0], days[last - 1]],
            "valid": [days[last], days[-1]],
        },
        "infer": [
            {"class": "FilterCol", "kwargs": {**feature, "col_list": KEPT}},
            {"class": "RobustZScoreNorm", "kwargs": {**feature, "clip_outlier": True}},
            {"class": "Fillna", "kwargs": feature},
        ],
        "learn": [
            {"class": "DropnaLabel"},
            {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
        ],
        "step": STEP,
        "fill": FILL,
        "batch": BATCH,
    }


def best(call: Callable[[], object], repeats: int) -> float:
    """Shortest of the repeats, seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def long_frame(bars: dict[str, np.ndarray]) -> pd.DataFrame:
    """The rows that exist, one instrument after another, as vendors deliver them."""
    name, day = np.nonzero(bars["present"])
    keys = {
        "date": bars["sessions"].astype("datetime64[ns]")[day],
        "instrument": bars["instruments"].astype(object)[name],
    }
    return pd.DataFrame(keys | {field: bars[field][name, day] for field in market.FIELDS})


def build(bars: pd.DataFrame, chosen: dict[str, Any], semantics: str) -> tuple[Any, Any, Any]:
    """Handler, dataset and the sampler of the training segment, as a user of qlib writes it."""
    handler = make_handler(bars, chosen, semantics)
    return handler, *make_sampler(handler, chosen)


def make_handler(bars: pd.DataFrame, chosen: dict[str, Any], semantics: str) -> Any:
    from rnn_core.data import Alpha158

    start, end = chosen["segments"]["train"]
    return Alpha158(
        bars=bars,
        fit_start_time=start,
        fit_end_time=end,
        infer_processors=chosen["infer"],
        learn_processors=chosen["learn"],
        semantics=semantics,
    )


def make_sampler(handler: Any, chosen: dict[str, Any]) -> tuple[Any, Any]:
    from rnn_core.data import TSDatasetH

    dataset = TSDatasetH(handler, segments=chosen["segments"], step_len=chosen["step"])
    sampler = dataset.prepare("train", col_set=["feature", "label"], data_key="learn")
    sampler.config(fillna_type=chosen["fill"])
    return dataset, sampler


def noise(bars: dict[str, np.ndarray]) -> pd.DataFrame:
    """21 columns of noise on the market's rows, where there is no handler to make features."""
    index = long_frame(bars).set_index(["date", "instrument"]).index
    index = index.set_names(["datetime", "instrument"]).sort_values()
    values = np.random.default_rng(0).standard_normal((len(index), 21), dtype=np.float32)
    return pd.DataFrame(values, index=index, columns=[*KEPT, "LABEL0"])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """This library's side, in this process."""
    bars, chosen = dict(np.load(args.side[1])), json.loads(Path(args.side[2]).read_text())
    rows = long_frame(bars)
    tiny = long_frame(market.simulate(5, 200))
    short = plan(market.simulate(5, 200)["sessions"])
    try:
        build(tiny, short, args.semantics)  # compiles the kernels, loads what loads late
    except ImportError as error:
        print(f"the handler is left out: {error}", file=sys.stderr)
        if args.side[0] == "memory":
            return {}
        return sampler_figures(noise(bars), None, chosen, args)
    if args.side[0] == "memory":
        del bars
        return {"peak_mb": growth_mb(lambda: build(rows, chosen, args.semantics))}
    handler_s = best(lambda: make_handler(rows, chosen, args.semantics), args.repeats)
    handler, _, sampler = build(rows, chosen, args.semantics)
    got = {
        "handler_s": handler_s,
        "prepare_s": best(lambda: make_sampler(handler, chosen), args.repeats),
    }
    frame = handler.fetch(slice(*chosen["segments"]["train"]), data_key="learn")
    return got | sampler_figures(frame, sampler, chosen, args)


def sampler_figures(
    frame: pd.DataFrame, sampler: Any, chosen: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Construction, a window, a batch; the samples and some windows into a file."""
    import torch

    from rnn_core.data import TSDataSampler

    if args.threads:
        torch.set_num_threads(args.threads)
    span, step = chosen["segments"]["train"], chosen["step"]
    got: dict[str, Any] = {
        "sampler_s": best(lambda: TSDataSampler(frame, *span, step), max(args.repeats, 3))
    }
    compared = sampler is not None
    sampler = sampler or TSDataSampler(frame, *span, step, fillna_type=chosen["fill"])
    size = min(chosen["batch"], len(sampler))
    order = np.random.default_rng(1).permutation(len(sampler))
    batches = [np.roll(order, -k * size)[:size] for k in range(20)]
    some = batches[0].tolist()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:

        def gather(device: str = device) -> None:
            for numbers in batches:
                sampler.batch(numbers, device=device)
            if device == "cuda":
                torch.cuda.synchronize()

        gather()
        got["batch_s" if device == "cpu" else "cuda_batch_s"] = best(gather, 20) / len(batches)
    got["window_s"] = best(lambda: [sampler[k] for k in some], 5) / size
    got["list_s"] = best(lambda: sampler[some], 20)
    if compared:
        index = sampler.get_index()
        dates = index.get_level_values(0).to_numpy("datetime64[D]")
        names = index.get_level_values(1).to_numpy(dtype=str)
        np.savez(args.out, date=dates, instrument=names, windows=sampler.batch(some).numpy())
    got["samples"], got["columns"] = len(sampler), len(sampler.columns)
    got["versions"] = (
        f"Python {platform.python_version()}, pandas {pd.__version__}, numpy {np.__version__}, "
        f"torch {torch.__version__} (threads: {torch.get_num_threads()})"
    )
    return got


def child(command: list[object]) -> dict[str, Any]:
    """The JSON that a process prints last."""
    done = subprocess.run(  # noqa: S603
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent,
    )
    sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if "left out" in line))
    if done.returncode:
        raise RuntimeError(f"{Path(str(command[1])).name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def differences(here: Path, peer: Path) -> str:
    """Whether the samples are the same, and how far the windows are apart, in words."""
    ours, theirs = np.load(here), np.load(peer)
    for key in ("date", "instrument"):
        same = ours[key].shape == theirs[key].shape and (ours[key] == theirs[key]).all()
        assert same, f"the two have other samples: {len(ours[key])} and {len(theirs[key])}"
    a, b = ours["windows"].astype(np.float64), theirs["windows"].astype(np.float64)
    far = ~(np.abs(a - b) <= ATOL + RTOL * np.abs(b)) & ~(np.isnan(a) & np.isnan(b))
    return (
        f"The {len(ours['date']):,} samples are the same, in the same order; of the {a.size:,} "
        f"cells of {len(a)} windows {far.mean():.4%} differ by more than rtol {RTOL:g}, atol "
        f"{ATOL:g}"
    )


LINES = (
    ("handler, s", "handler_s", 1, "{:.2f}"),
    ("`prepare` of the training segment, s", "prepare_s", 1, "{:.3f}"),
    ("`TSDataSampler` of its frame, ms", "sampler_s", 1e3, "{:.1f}"),
    ("one window, µs", "window_s", 1e6, "{:.1f}"),
    ("a batch of 800 windows, ms", "batch_s", 1e3, "{:.2f}"),
    ("the same on the GPU, ms", "cuda_batch_s", 1e3, "{:.3f}"),
    ("peak memory, MB", "peak_mb", 1, "{:.0f}"),
)


def report(args: argparse.Namespace, folder: Path) -> str:
    """Run both, and return the section."""
    bars, chosen = folder / "bars.npz", folder / "plan.json"
    load = os.getloadavg()[0]
    data = market.simulate(args.instruments, args.sessions)
    market.write(bars, data, ())
    chosen.write_text(json.dumps(plan(data["sessions"])))
    own = [sys.executable, Path(__file__).resolve(), "--repeats", args.repeats]
    own += ["--threads", args.threads, "--out", folder / "here.npz", "--semantics"]
    sides: dict[str, dict[str, Any]] = {}
    for semantics in ("strict", "qlib"):
        print(f"timing this library, {semantics} ...", flush=True)
        sides[f"here, {semantics}"] = child([*own, semantics, "--side", "time", bars, chosen])
        sides[f"here, {semantics}"] |= child([*own, semantics, "--side", "memory", bars, chosen])
    words = ""
    python = args.qlib or HERE.parent / ".venv-peers" / "qlib" / "bin" / "python"
    if Path(python).exists():
        print("timing pyqlib ...", flush=True)
        script, out = HERE / "peers" / "qlib_dataset.py", folder / "qlib.npz"
        repeats = ["--out", out, "--repeats", args.qlib_repeats]
        sides["pyqlib"] = child([python, script, "time", bars, chosen, *repeats])
        sides["pyqlib"] |= child([python, script, "memory", bars, chosen])
        if (folder / "here.npz").exists():
            words = differences(folder / "here.npz", out) + " (semantics qlib). "
    else:
        print(f"pyqlib is left out: no interpreter at {python}; `make bench-peers` makes one")
    base = sides.get("pyqlib", {})
    rows = []
    for label, key, unit, form in LINES:
        row: list[str | None] = [label]
        for side, got in sides.items():
            value = got.get(key)
            text = None if value is None else form.format(value * unit)
            ratio = base[key] / value if value and key in base and side != "pyqlib" else None
            row.append(text if ratio is None else f"{text} ({ratio:.3g}×)")
        if any(cell is not None for cell in row[1:]):
            rows.append(row)
    one = sides["here, qlib"]
    both = [(label, key) for label, key, *_ in LINES if one.get(key) and base.get(key)]
    pairs = [
        (label.rpartition(", ")[0], "pyqlib", one[key], base[key])
        for label, key in both
        if key.endswith("_s")
    ]
    write_ratios(args.ratios, pairs)
    about = (
        f"`python benchmarks/dataset.py --repeats {args.repeats}`: one simulated market, "
        f"{1 - data['present'].mean():.1%} of its rows missing, {one['samples']:,} samples of "
        f"[{STEP}, {one['columns']}]. In brackets: how many times less than pyqlib. {words}"
        f"`sampler[list]` of {BATCH} windows takes {one['list_s'] * 1e3:.2f} ms. {one['versions']}"
        + (f"; {base['versions']}" if base else "")
        + f". Load of the machine before: {load:.1f}."
    )
    title = (
        f"## Handler, dataset and sampler, {args.instruments} instruments × {args.sessions:,} "
        f"sessions ({datetime.date.today()}, {args.machine})"
    )
    return "\n\n".join([title, textwrap.fill(about, 100), table(["", *sides], rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=int, default=300)
    parser.add_argument("--sessions", type=int, default=1250)
    parser.add_argument("--repeats", type=int, default=5, help="here: best of")
    parser.add_argument("--qlib-repeats", type=int, default=1, help="pyqlib's handler: best of")
    parser.add_argument("--threads", type=int, default=1, help="torch's, here; 0: its default")
    parser.add_argument("--qlib", metavar="PYTHON", help="interpreter that has pyqlib")
    parser.add_argument("--ratios", type=Path, help="a file for `against_peers.py`")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    parser.add_argument("--side", nargs=3, metavar="X", help=argparse.SUPPRESS)
    parser.add_argument("--semantics", default="qlib", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        section = report(args, Path(folder))
    print(section)
    if args.write:
        write_section(HERE / "RESULTS.md", section, "benchmarks/dataset.py")


if __name__ == "__main__":
    main()
