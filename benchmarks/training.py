"""An epoch of LSTM, GRU and KRNN beside pyqlib: the same samples, settings, threads and seed.

    make bench-peers                          # once: an environment for pyqlib, with torch
    python benchmarks/training.py [--models lstm gru krnn] [--threads 2] [--repeats 3] [--write]
    python benchmarks/training.py --device cuda
    python benchmarks/training.py --precisions float32 bfloat16    # ours in both, in one run
    python benchmarks/training.py --models lstm gru --features 158  # all of Alpha158 in the windows
    python benchmarks/training.py --scale 0.05 --repeats 1         # a minute, to see that it runs

Each side makes its handler and dataset from one simulated market (`market.py`) with the processors
of qlib's benchmark files, and trains with their settings (`qlib_settings`): windows of 20 sessions
of 20 features for LSTM and GRU, rows of Alpha360 for the KRNN. pyqlib's is its own `fit` as
shipped, DataLoader included; the two sides must have the same samples and the same initial weights,
or it is an error. They live side by side and take turns, each going first in every other repeat.

An epoch is what the user waits for: the pass over the training rows and the validation, in pyqlib
also its second pass, which evaluates the training rows. It is the time of `fit` less that inside
`dataset.prepare`, which makes the samplers and has a column of its own, divided by the epochs.
pyqlib is tried with several numbers of loader workers and the fastest counts. Figures are medians.
A fit waits for a quiet machine, and is taken again if other processes used more than --quiet cores
during it: threads inside an operation suffer from company far more than ours do, and the ratio
would flatter us.
Peak memory is the growth of the process during a `fit`, samplers included, the handler not;
loader workers get theirs for free. CPU seconds are those of a whole `fit`, of all its threads and
processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

import dataset as dataset_benchmark  # noqa: E402
import market  # noqa: E402
from contest import (  # noqa: E402
    Contestant,
    TimedDataset,
    serve,
    take_stdout,
    wait_for_quiet,
    watched,
)
from features_report import write_ratios, write_section  # noqa: E402
from memory import growth_mb  # noqa: E402
from qlib_settings import SETUPS  # noqa: E402
from training_report import Answers, epoch_seconds, ratios, said, section  # noqa: E402

INSTRUMENTS, SESSIONS = 300, 700
MODELS = ("lstm", "gru", "krnn")


def plan(sessions: np.ndarray, features: int) -> dict[str, Any]:
    """What both sides build, JSON-able; the validation is 0.29 of the training, as on the CSI300.

    Args:
        sessions: of the market.
        features: of the windows: 20, those of qlib's benchmark files, or 158.

    Returns:
        `dataset.plan` with three segments, and the infer processors of each handler.
    """
    days = sessions.astype("datetime64[D]").astype(str)
    train, valid = int(len(days) * 0.7), int(len(days) * 0.9)
    chosen = dataset_benchmark.plan(sessions)
    keep, *scale_and_fill = chosen["infer"]
    return chosen | {
        "infer": {
            "Alpha158": [keep, *scale_and_fill] if features == 20 else scale_and_fill,
            "Alpha360": scale_and_fill,
        },
        "segments": {
            "train": [days[0], days[train - 1]],
            "valid": [days[train], days[valid - 1]],
            "test": [days[valid], days[-1]],  # pyqlib's KRNN asks for it and never uses it
        },
    }


def side(bars: Path, chosen: Path) -> None:
    """This library's side of the contest: answer requests until there are no more."""
    replies = take_stdout()
    import pandas as pd
    import torch

    from rnn_core import data, models
    from rnn_core.models.blas import has_fast_bfloat16
    from rnn_core.models.families import build_network, model_family
    from rnn_core.training import seeded_network

    rows = dataset_benchmark.long_frame(dict(np.load(bars)))
    wanted = json.loads(chosen.read_text())
    segments = wanted["segments"]
    datasets: dict[str, Any] = {}

    def dataset_of(handler: str) -> Any:
        if handler not in datasets:
            datasets.clear()
            held = getattr(data, handler)(
                bars=rows,
                fit_start_time=segments["train"][0],
                fit_end_time=segments["train"][1],
                infer_processors=wanted["infer"][handler],
                learn_processors=wanted["learn"],
                semantics="qlib",
            )
            windows = handler == "Alpha158"
            datasets[handler] = (
                data.TSDatasetH(held, segments, step_len=wanted["step"])
                if windows
                else data.DatasetH(held, segments)
            )
        return datasets[handler]

    def answer(
        model: str, handler: str, arguments: dict[str, Any], threads: int, cuda: bool
    ) -> dict[str, Any]:
        if cuda and not torch.cuda.is_available():
            return {"left_out": f"torch {torch.__version__} sees no CUDA device here"}
        if arguments.get("precision") == "bfloat16" and not (cuda or has_fast_bfloat16()):
            return {"left_out": "this processor has no tiles for bfloat16 (AMX)"}
        source = TimedDataset(dataset_of(handler))
        estimator = getattr(models, SETUPS[model].estimator)(
            **arguments, threads=threads, GPU=0 if cuda else -1
        )
        family = model_family(model)
        hyper = {k: v for k, v in arguments.items() if k in family.resolve({})}
        width = arguments[family.feature_argument]
        network = seeded_network(lambda: build_network(model, width, hyper), arguments["seed"])
        digest = hashlib.sha256()
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        evals: dict[str, list[float]] = {}
        speeds: list[float] = []
        took: dict[str, float] = {}

        def told(report: Any) -> None:
            speeds.append(report.samples_per_second)

        def fit() -> None:
            took.update(watched(lambda: estimator.fit(source, evals, callback=told)))

        if cuda:
            torch.cuda.reset_peak_memory_stats()
        peak = growth_mb(fit)
        return took | {
            "prepare_s": source.seconds,
            "sizes": source.sizes[:2],
            "peak_mb": peak,
            "cuda_mb": torch.cuda.max_memory_allocated() / 1e6 if cuda else None,
            "valid": evals["valid"][0],
            "pass_rows_s": statistics.median(speeds),
            "weights": digest.hexdigest(),
            "versions": f"Python {platform.python_version()}, pandas {pd.__version__}, numpy "
            f"{np.__version__}, torch {torch.__version__}",
        }

    serve(answer, replies)


def compete(
    model: str, args: argparse.Namespace, here: Contestant, peer: Contestant | None
) -> dict[str, Answers]:
    """All repeats of one model.

    Args:
        model: its name.
        args: the command line.
        here: this library.
        peer: pyqlib, if it is there.

    Returns:
        "here", and "pyqlib" or "pyqlib, N workers" for each number tried: the answers.

    Raises:
        AssertionError: the sides have other samples or other initial weights.
    """
    setup = SETUPS[model]
    patience = args.epochs + 1
    arguments = {**setup.arguments, "n_epochs": args.epochs, "early_stop": patience, "seed": 0}
    if setup.handler == "Alpha158":
        arguments["d_feat"] = args.features
    request = {
        "model": model,
        "handler": setup.handler,
        "arguments": arguments,
        "threads": args.threads,
        "cuda": args.device == "cuda",
    }
    ours = {"here": {}} | {
        f"here, {name}": {"arguments": {**arguments, "precision": name}}
        for name in args.precisions
        if name != "float32"
    }
    tried: dict[str, dict[str, Any]] = {"pyqlib": {}}  # its KRNN has no loader
    if setup.handler == "Alpha158":
        tried = {f"pyqlib, {n} workers": {"n_jobs": n} for n in args.workers}
    got: dict[str, Answers] = {name: [] for name in [*ours, *(tried if peer else [])]}
    for turn in range(args.repeats):
        order = list(got) if turn % 2 == 0 else list(reversed(got))
        peers = [name for name in got if name not in ours]
        if turn == 1 and len(peers) > 1:  # the slower numbers of workers are dropped
            fastest = min(peers, key=lambda name: epoch_seconds(got[name], args.epochs))
            tried = {fastest: tried[fastest]}
        sides = ours | tried
        for name in order:
            if name not in sides:
                continue
            contestant = here if name in ours else peer
            assert contestant is not None
            one = least_disturbed(contestant, {**request, **sides[name]}, args)
            if "left_out" in one:
                print(f"{model}: {name} is left out: {one['left_out']}", flush=True)
                got.pop(name)
                continue
            got[name].append(one)
            print(f"  {model} {name}: {said(one, args.epochs)}", flush=True)
            first = next(iter(got.values()))[0]
            for key in ("sizes", "weights"):
                assert one[key] == first[key], f"{model}: the sides differ in their {key}"
    return {name: answers for name, answers in got.items() if answers}


def least_disturbed(
    contestant: Contestant, request: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """An answer during which others used few cores, or else the best of some attempts.

    Chosen by what others used, never by the result, and alike for both sides.

    Args:
        contestant: to ask.
        request: what.
        args: `quiet` cores, `wait` seconds, `attempts`.

    Returns:
        The answer.
    """
    best: dict[str, Any] = {}
    for _ in range(args.attempts):
        wait_for_quiet(args.quiet, args.wait)
        one = contestant.ask(**request)
        if "left_out" in one or not one["others"] > args.quiet:
            return one
        print(f"    disturbed: {said(one, args.epochs)}", flush=True)
        if not best or one["others"] < best["others"]:
            best = one
    return best


def report(args: argparse.Namespace, folder: Path) -> str | None:
    """Run the contest, and return the section; None if nothing could run."""
    bars, chosen = folder / "bars.npz", folder / "plan.json"
    data = market.simulate(max(round(INSTRUMENTS * args.scale), 10), SESSIONS)
    market.write(bars, data, ())
    chosen.write_text(json.dumps(plan(data["sessions"], args.features)))
    here = Contestant([sys.executable, __file__, "--side", bars, chosen], folder / "here.txt")
    python = args.qlib or HERE.parent / ".venv-peers" / "qlib" / "bin" / "python"
    peer = None
    if not Path(python).exists():
        print(f"pyqlib is left out: no interpreter at {python}; see `make bench-peers`")
    else:
        script = HERE / "peers" / "qlib_training.py"
        peer = Contestant([python, script, bars, chosen], folder / "pyqlib.txt")
    results = {}
    try:
        for model in args.models:
            print(f"{model}: making the datasets and training ...", flush=True)
            results[model] = compete(model, args, here, peer)
    finally:
        here.close()
        if peer:
            peer.close()
    write_ratios(args.ratios, ratios(results, args.epochs))
    return section({model: got for model, got in results.items() if got}, args)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--features", type=int, choices=[20, 158], default=20, help="of the windows"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch, on both sides")
    parser.add_argument("--epochs", type=int, default=1, help="of one fit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of instruments")
    parser.add_argument("--quiet", type=float, default=0.2, help="cores others may use in a fit")
    parser.add_argument("--wait", type=float, default=120, help="seconds to wait for quiet")
    parser.add_argument("--attempts", type=int, default=3, help="of a fit that others disturbed")
    parser.add_argument(
        "--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32"]
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--workers", type=int, nargs="+", help="of pyqlib's loader; default 0 2, on a GPU 16"
    )
    parser.add_argument("--qlib", metavar="PYTHON", help="interpreter that has pyqlib and torch")
    parser.add_argument("--ratios", type=Path, help="a file for `against_peers.py`")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    parser.add_argument("--side", nargs=2, type=Path, metavar="X", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(*args.side)
        return
    if args.workers is None:
        args.workers = [0, 2] if args.device == "cpu" else [16]
    args.cores = os.cpu_count()
    print(f"{platform.machine()}, {args.cores} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        words = report(args, Path(folder))
    if words is None:
        print("no side could run, nothing was measured")
        return
    print(words)
    if args.write:
        marker = f"benchmarks/training.py --device {args.device} --threads {args.threads}"
        marker += "" if args.features == 20 else f" --features {args.features}"
        write_section(HERE / "RESULTS.md", words, marker)


if __name__ == "__main__":
    main()
