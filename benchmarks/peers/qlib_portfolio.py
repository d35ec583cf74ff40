"""pyqlib's side of the evaluation contest: `PYTHON qlib_portfolio.py BARS.npz PLAN.json OUT.npz`.

Run in an interpreter that has pyqlib (requirements in qlib.txt). The bars become a provider folder
(`qlib_alpha158.provide`) to which the field `change` is added for the price limits; writing it is
not timed. Timed are

    backtest_s     `backtest` with TopkDropoutStrategy as its users call it: the quotes are read
                   and the sessions stepped through; `trade_unit` null as here
    calc_ic_s      `calc_ic` and `calc_long_short_return` of the same scores and labels

OUT gets the daily report and the daily ICs. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from qlib_alpha158 import provide


def add_change(market: dict[str, np.ndarray], root: Path) -> None:
    """Write `change`: the close over the last one before, less 1."""
    for i, name in enumerate(market["instruments"]):
        rows = np.flatnonzero(market["present"][i])
        close = pd.Series(market["close"][i, rows[0] : rows[-1] + 1], dtype="float64")
        change = (close / close.ffill().shift(1) - 1).to_numpy()
        path = root / "features" / name.lower() / "change.day.bin"
        np.r_[np.float32(rows[0]), change].astype("<f4").tofile(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    import qlib
    from qlib.backtest import backtest
    from qlib.contrib.eva.alpha import calc_ic, calc_long_short_return
    from qlib.contrib.strategy import TopkDropoutStrategy

    warnings.simplefilter("ignore")
    market, plan = dict(np.load(args.bars)), json.loads(args.plan.read_text())
    sessions = pd.DatetimeIndex(market["sessions"])
    name, day = np.nonzero(market["present"])
    index = pd.MultiIndex.from_arrays(
        [sessions[day], market["instruments"].astype(object)[name]],
        names=["datetime", "instrument"],
    )
    score = pd.Series(market["score"][name, day], index).sort_index()
    label = pd.Series(market["label"][name, day], index).sort_index()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "provider"
        provide(market, root)
        add_change(market, root)
        qlib.init(
            provider_uri=str(root),
            region="us",
            kernels=2,
            expression_cache=None,
            dataset_cache=None,
            logging_level="ERROR",
        )
        bench = pd.Series(market["bench"], index=sessions)
        began = time.perf_counter()
        metrics, _ = backtest(
            start_time=sessions[plan["first"]],
            end_time=sessions[plan["last"]],
            strategy=TopkDropoutStrategy(signal=score, **plan["strategy"]),
            executor={
                "class": "SimulatorExecutor",
                "module_path": "qlib.backtest.executor",
                "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
            },
            benchmark=bench,
            account=plan["account"],
            exchange_kwargs={"freq": "day", "trade_unit": None, **plan["exchange"]},
        )
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    ic, rank_ic = calc_ic(score, label)
    calc_long_short_return(score, label)
    ic_seconds = time.perf_counter() - began
    report = metrics["1day"][0]
    columns = ("return", "cost", "turnover", "bench")
    np.savez(args.out, ic=ic, rank_ic=rank_ic, **{c: report[c].to_numpy() for c in columns})
    versions = f"pyqlib {qlib.__version__}, pandas {pd.__version__}, numpy {np.__version__}"
    print(json.dumps({"backtest_s": seconds, "calc_ic_s": ic_seconds, "versions": versions}))


if __name__ == "__main__":
    main()
