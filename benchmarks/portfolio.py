"""The portfolio and the signal statistics beside pyqlib: the same bars, scores and rules.

    make bench-peers                          # once: an environment for pyqlib
    python benchmarks/portfolio.py [--instruments 500] [--sessions 2520] [--write]
    python benchmarks/portfolio.py --qlib PYTHON

Both sides backtest TopkDropout (topk 50, n_drop 5, costs, price limits, suspensions) on one
simulated market (`market.py`) with slowly changing scores, and compute the daily IC, rank IC and
long-short return of the same scores. Here also the full `signal_analysis`: 20 horizons, 11 groups,
5 quantiles, Newey-West tests, by month and year. Times here are the best of the repeats, pyqlib's
of one run; CPU time is that of all threads in the fastest repeat, which a busy machine stretches
less. Without pyqlib its column is left out.
--write puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent

import market  # noqa: E402
from features_report import table, write_ratios, write_section  # noqa: E402

from rnn_core.evaluation import (  # noqa: E402
    PortfolioConfig,
    calc_ic,
    calc_long_short_return,
    compare_signals,
    equal_weight_benchmark,
    forward_returns,
    signal_analysis,
    topk_dropout,
)

STRATEGY = {"topk": 50, "n_drop": 5, "hold_thresh": 1, "risk_degree": 0.95}
EXCHANGE = {
    "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5.0, "limit_threshold": 0.095,
    "deal_price": "close",
}  # fmt: skip
ACCOUNT = 1e8


def long_frame(data: dict[str, np.ndarray]) -> pd.DataFrame:
    """The bars that exist with the scores, indexed by (datetime, instrument)."""
    name, day = np.nonzero(data["present"])
    index = pd.MultiIndex.from_arrays(
        [pd.DatetimeIndex(data["sessions"])[day], data["instruments"].astype(object)[name]],
        names=["datetime", "instrument"],
    )
    columns = {k: data[k][name, day].astype(np.float64) for k in ("close", "score")}
    return pd.DataFrame(columns, index=index).sort_index()


def scores(data: dict[str, np.ndarray], seed: int = 11) -> np.ndarray:
    """[N, T] scores that move a little every session, so that a few names are swapped."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=data["close"].shape)
    for day in range(1, steps.shape[1]):
        steps[:, day] = 0.95 * steps[:, day - 1] + np.sqrt(1 - 0.95**2) * steps[:, day]
    return steps


def best(call: Callable[[], Any], repeats: int) -> tuple[tuple[float, float], Any]:
    """Seconds and CPU seconds of the fastest of the repeats, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        result = call()
        seconds.append((time.perf_counter() - began, time.process_time() - busy))
    return min(seconds), result


def report(args: argparse.Namespace, folder: Path) -> str:
    """Run both, and return the section."""
    load = os.getloadavg()[0]
    data = market.simulate(args.instruments, args.sessions)
    data["score"] = scores(data)
    frame = long_frame(data)
    bars, signal = frame[["close"]], frame["score"]
    labels = forward_returns(bars)
    wide = labels.unstack("instrument").reindex(  # noqa: PD010
        index=pd.DatetimeIndex(data["sessions"]), columns=data["instruments"]
    )
    data["label"] = wide.to_numpy().T
    bench = equal_weight_benchmark(bars)
    data["bench"] = bench.to_numpy()
    first, last = 1, args.sessions - 2
    sessions = pd.DatetimeIndex(data["sessions"])[first : last + 1]
    config = PortfolioConfig(**STRATEGY, **EXCHANGE, account=ACCOUNT, semantics="qlib")  # type: ignore[arg-type]
    groups = {name: k % 11 for k, name in enumerate(data["instruments"])}

    def ours() -> Any:
        return topk_dropout(signal, bars, config, benchmark=bench, sessions=sessions)

    def daily() -> Any:
        return calc_ic(signal, labels), calc_long_short_return(signal, labels)

    def everything() -> Any:
        return signal_analysis(signal, labels, bars=bars, groups=groups)

    here: dict[str, tuple[float, float]] = {}
    here["backtest_s"], result = best(ours, args.repeats)
    here["calc_ic_s"], ((ic, _), _) = best(daily, args.repeats)
    here["analysis_s"], _ = best(everything, args.repeats)
    runs = {name: signal + k for k, name in enumerate("abc")}
    here["compare_s"], _ = best(lambda: compare_signals(runs, labels, ensemble=False), 1)
    base: dict[str, Any] = {}
    words = ""
    python = args.qlib or HERE.parent / ".venv-peers" / "qlib" / "bin" / "python"
    if Path(python).exists():
        print("timing pyqlib ...", flush=True)
        market.write(folder / "bars.npz", data, ())
        plan = {"first": first, "last": last, "strategy": STRATEGY, "exchange": EXCHANGE,
                "account": ACCOUNT}  # fmt: skip
        (folder / "plan.json").write_text(json.dumps(plan))
        script = HERE / "peers" / "qlib_portfolio.py"
        command = [python, script, folder / "bars.npz", folder / "plan.json", folder / "out.npz"]
        done = subprocess.run(  # noqa: S603
            list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True
        )
        base = json.loads(done.stdout.splitlines()[-1])
        theirs = dict(np.load(folder / "out.npz"))
        far = {c: np.abs(result.daily[c].to_numpy() - theirs[c]).max() for c in ("return", "cost")}
        ics = np.nanmax(np.abs(ic.reindex(wide.index[: len(theirs["ic"])]) - theirs["ic"]))
        words = (
            f"Largest difference from pyqlib: daily return {far['return']:.1g}, daily cost "
            f"{far['cost']:.1g}, daily IC {ics:.1g}. {base['versions']}. "
        )
    else:
        print(f"pyqlib is left out: no interpreter at {python}; `make bench-peers` makes one")
    lines = (
        ("TopkDropout backtest", "backtest_s"),
        ("`calc_ic` and `calc_long_short_return`", "calc_ic_s"),
        ("`signal_analysis`, 20 horizons, 11 groups", "analysis_s"),
        ("`compare_signals` of three, 2,000 draws", "compare_s"),
    )
    pairs = [(text, "pyqlib", here[key][0], base[key]) for text, key in lines if key in base]
    write_ratios(args.ratios, pairs)
    rows: list[list[str | None]] = []
    for text, key in lines:
        wall, busy = here[key]
        ratio = f" ({base[key] / wall:.3g}×)" if key in base else ""
        row: list[str | None] = [text, f"{wall:.2f}{ratio}", f"{busy:.2f}"]
        if base:
            row.append(f"{base[key]:.2f}" if key in base else None)
        rows.append(row)
    header = ["", "here", "here, CPU s", *(["pyqlib, s"] if base else [])]
    about = (
        f"`python benchmarks/portfolio.py --repeats {args.repeats}`: one simulated market, "
        f"{1 - data['present'].mean():.1%} of its rows missing; topk 50, n_drop 5, turnover "
        f"{result.daily['turnover'].mean():.1%} a session, semantics qlib. In brackets: how many "
        f"times as fast as pyqlib. {words}Python {platform.python_version()}, pandas "
        f"{pd.__version__}, numpy {np.__version__}. Load of the machine before: {load:.1f}."
    )
    title = (
        f"## Portfolio and signal statistics, {args.instruments} instruments × {args.sessions:,} "
        f"sessions ({datetime.date.today()}, {args.machine})"
    )
    return "\n\n".join([title, textwrap.fill(about, 100), table(header, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeats", type=int, default=5, help="here: best of")
    parser.add_argument("--qlib", metavar="PYTHON", help="interpreter that has pyqlib")
    parser.add_argument("--ratios", type=Path, help="a file for `against_peers.py`")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        section = report(args, Path(folder))
    print(section)
    if args.write:
        write_section(HERE / "RESULTS.md", section, "benchmarks/portfolio.py")


if __name__ == "__main__":
    main()
