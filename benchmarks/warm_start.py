"""Compare trainings that begin with the weights before them with trainings from fresh weights.

    python benchmarks/warm_start.py FILE --folder F [--every 5] [--sessions 126] [--seeds 2]
        [--models lstm gru] [--epochs 3] [--full-every 12] [--precision bfloat16]

Two markets of the CSI300 file, equal but for `training.warm_start`, are made by `backfill`: strict
Alpha158, qlib's 20 features, processors that move with the models, a training every `--every`
sessions, up to the end of the file. The scores of the last `--sessions` sessions are measured, and
the daily IC and rank IC of both are set against each other: the mean of the difference with the t
of Newey and West. What is made stays in the folder, so a call that was stopped goes on, and a call
that was finished reads its figures again. The share that a warm start saves is one of CPU seconds
of training alone.

With two seeds of two models and a training every fifth session that is 104 trainings from fresh
weights; on two cores they take hours, which the command estimates from the first of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pipelines.config.loader import load_config  # noqa: E402
from pipelines.market.market import Market  # noqa: E402
from rnn_core.evaluation.inference import mean_test  # noqa: E402

BASE = HERE.parent / "pipelines" / "config" / "shipped" / "csi300_baostock.yaml"
KINDS = ("fresh", "warm")


def market_of(args: argparse.Namespace, kind: str) -> Market:
    """One of the two markets, its YAML written."""
    raw: dict[str, Any] = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    raw["name"] = kind
    raw["market"]["source"]["path"] = str(args.file.resolve())
    raw["models"] = {name: raw["models"][name] for name in args.models}
    training = raw["training"]
    training |= {"retrain_every": args.every, "seeds": args.seeds, "precision": args.precision}
    if kind == "warm":
        training["warm_start"] = {"epochs": args.epochs, "full_every": args.full_every}
    path = args.folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    # The first anchor is the one of `--sessions` sessions before the last that is scored.
    keys = Market(load_config(path), root=args.folder / "data" / kind).sessions.keys
    training["first_trained"] = keys[-args.sessions - 2]  # the label of the last matures then
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return Market(load_config(path), root=args.folder / "data" / kind)


def made(args: argparse.Namespace, market: Market, kind: str) -> float:
    """Make the market; the CPU seconds of the process that did."""
    environment = {**os.environ, "RNN_DATA_DIR": str(args.folder / "data")}
    keys = market.sessions.keys
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["backfill", "--start", keys[0], "--end", keys[-1]]
    subprocess.run(  # noqa: S603 - our own command
        [Path(sys.executable).with_name("rnn-pipelines"), *command, "--config", f"{kind}.yaml"],
        cwd=args.folder,
        env={**environment, "PYTHONPATH": str(HERE.parent)},
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def daily(market: Market, model: str, args: argparse.Namespace) -> pd.DataFrame:
    """The IC and rank IC of each session that both markets score."""
    table = f"{model}_evaluation"
    keys = [key for key in market.warehouse.sessions(table) if key >= market.plan.first_trained]
    rows = market.warehouse.read(table, keys, needed_by="this comparison").frame
    columns = {"ic": "IC", "rank_ic": "rank IC"}
    return rows.set_index("decision_date")[list(columns)].rename(columns=columns)


def main() -> None:
    """Make both markets and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=126)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--full-every", type=int, default=12)
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    markets = {kind: market_of(args, kind) for kind in KINDS}
    for kind, market in markets.items():
        began = time.monotonic()
        spent = made(args, market, kind)
        print(f"{kind}: {spent:.0f} s of CPU, {time.monotonic() - began:.0f} s", flush=True)
    for model in args.models:
        fresh, warm = (daily(markets[kind], model, args) for kind in KINDS)
        both = fresh.index.intersection(warm.index)
        print(f"\n{model}, {len(both)} sessions {both[0]} … {both[-1]}")
        for column in ("IC", "rank IC"):
            test = mean_test(warm.loc[both, column] - fresh.loc[both, column])
            print(
                f"  {column:8} fresh {fresh.loc[both, column].mean():.4f}, "
                f"warm {warm.loc[both, column].mean():.4f}, difference {test['mean']:+.4f}, "
                f"t {test['t_nw']:+.2f}, 95 % {test['ci_low']:+.4f} … {test['ci_high']:+.4f}"
            )


if __name__ == "__main__":
    main()
