"""Measure the cost of a market of N names × S sessions by asset: CPU, memory, bytes, files.

    python benchmarks/scale.py --names 500 --sessions 500 --folder /tmp/scale    # about 2 minutes
    python benchmarks/scale.py --names 5000 --sessions 2500 --folder /tmp/scale  # once
    python benchmarks/scale.py --names 500 --sessions 500 --folder … --assets alpha158 --again
    python benchmarks/scale.py --names 1000 --sessions 840 --first 820 --folder … \
        --assets ohlcv alpha158 label processors loading

Bars are simulated (`rnn_core.data.simulate`) and put into a folder of Parquet files, one for about
250 sessions, as a vendor would deliver them. Then every asset is made over all sessions by a run of
Dagster in a process of its own, so that its CPU seconds (user and system, of all threads) and its
peak of resident memory are its own; `start` is a process that loads the same and makes nothing.
All 158 features are kept; the processors are fitted and the model trained once, at the middle
session (or that of `--first`), on the newest 750 sessions or fewer, and the sessions from there on
are normalised, scored, evaluated and traded. `loading` reads the rows of that training as every
model does, and trains nothing.

The market stays in the folder: a second call makes only what is not there, and `--again` all that
`--assets` names. Figures of every asset are kept in `scale.json` beside the market.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

END = "2023-12-29"
DATA = ("ohlcv", "alpha158", "label", "processors", "dataset_infer", "dataset_learn")
MODEL = ("linear_model", "linear_prediction", "linear_evaluation", "linear_portfolio")
START, LOADING = "start", "loading"
BARS_IN_A_FILE = 250  # sessions


@dataclass(frozen=True)
class Cost:
    """The cost of making one asset.

    Attributes:
        cpu: seconds, user and system, of all threads.
        peak: bytes of resident memory.
        stored: bytes of its files.
        files: their number.
        rows: in its partitions.
        sessions: with rows.
    """

    cpu: float
    peak: int
    stored: int = 0
    files: int = 0
    rows: int = 0
    sessions: int = 0


def session_keys(n_sessions: int) -> list[str]:
    """The last sessions of the exchange up to `END`."""
    import exchange_calendars
    import pandas as pd

    calendar = exchange_calendars.get_calendar("XNYS", start="1990-01-02")
    days = calendar.sessions_window(pd.Timestamp(END), -n_sessions)
    return [f"{day:%Y-%m-%d}" for day in days]


def configuration(folder: Path, keys: Sequence[str], first: int) -> dict[str, Any]:
    """The market's YAML: all features, one fit and one training, at the session of a number."""
    window = min(750, first - 10)
    return {
        "name": "scale",
        "market": {
            "source": {
                "kind": "files",
                "path": str(folder / "bars"),
                "basis": {"ratio": "adj_ratio"},
            },
            "calendar": "XNYS",
            "start": keys[0],
            "end": keys[-1],
            "vwap": "amount",
        },
        "features": {"set": "alpha158"},
        "dataset": {
            "fit": {"rolling": {"window_sessions": window}},
            "step_len": 20,
            "infer_processors": [{"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"],
            "learn_processors": ["DropnaLabel", "CSRankNorm"],
        },
        "training": {
            "first_trained": keys[first],
            "window_sessions": window,
            "valid_sessions": window // 6,
            "retrain_every": len(keys),
            "device": "cpu",
        },
        "models": {"linear": {}},
    }


def market_of(folder: Path, sessions: int, first: int) -> Any:
    """The market of a folder."""
    from pipelines.config.loader import parse_config
    from pipelines.market.market import Market

    raw = configuration(folder, session_keys(sessions), first)
    return Market(parse_config(raw), root=folder / "market")


def simulate(folder: Path, names: int, sessions: int) -> None:
    """Put the bars into files."""
    import pandas as pd

    from rnn_core.data.simulate import simulate_market

    days = pd.DatetimeIndex(session_keys(sessions))
    bars = simulate_market(names, days, 0)
    (folder / "bars").mkdir(parents=True)
    for first in range(0, len(days), BARS_IN_A_FILE):
        part = days[first : first + BARS_IN_A_FILE]
        inside = bars["date"].between(part[0], part[-1])
        bars[inside].to_parquet(folder / "bars" / f"{part[0]:%Y-%m-%d}.parquet", index=False)


def load(market: Any) -> None:
    """Read the rows of the first training, and say how large they are."""
    from pipelines.training.windows import training_data

    dataset, began = market.datasets[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    data = training_data(market, dataset, market.plan.first_trained, LOADING)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows, width = data.train.data_arr.shape
    print(
        f"{len(data.train):,} and {len(data.valid):,} samples over {rows - 1:,} rows of {width} "
        f"columns, {4 * rows * width / 1e9:.3f} GB as float32; the process held {began / 1e9:.3f} "
        f"GB before and {peak / 1e9:.3f} GB at most"
    )


def make(folder: Path, names: int, sessions: int, first: int, asset: str) -> None:
    """Make one asset over all sessions; the work of a process of its own."""
    if asset == "bars":
        simulate(folder, names, sessions)
        return
    from pipelines.build import build_definitions
    from pipelines.instance.home import dagster_instance
    from pipelines.operations.runs import run_assets
    from rnn_core.warm import warm

    market = market_of(folder, sessions, first)
    definitions, keys = build_definitions(market), market.sessions.keys
    if asset == START:
        warm()
        return
    if asset == LOADING:
        load(market)
        return
    with dagster_instance(market) as instance:
        run_assets(definitions, instance, [asset], (keys[0], keys[-1]))


def cost_of(folder: Path, names: int, sessions: int, first: int, asset: str) -> Cost:
    """Make an asset in a process of its own, and measure it."""
    command = [sys.executable, __file__, "--names", str(names), "--sessions", str(sessions)]
    command += ["--first", str(first), "--folder", str(folder), "--make", asset]
    process = subprocess.Popen(command)  # noqa: S603 - this very file
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{asset} ended with {process.returncode}")
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    return Cost(cpu, peak, **stored(folder, asset))


def stored(folder: Path, asset: str) -> dict[str, int]:
    """Bytes, files, rows and sessions of the tables, or of the model bundles, of an asset."""
    import pyarrow.parquet as pq

    tables = folder / "market" / "warehouse"
    stems = [asset, *(f"{asset}_{more}" for more in ("quarantine",))]
    if asset.endswith("_portfolio"):
        stem = asset.removesuffix("_portfolio")
        stems = [f"{stem}_{more}" for more in ("portfolio", "book", "trades", "orders")]
    paths = [path for stem in stems for path in (tables / stem).rglob("*.parquet")]
    counts = [pq.read_metadata(path).num_rows for path in (tables / asset).rglob("*.parquet")]
    return {
        "stored": sum(path.stat().st_size for path in paths),
        "files": len(paths),
        "rows": sum(counts),
        "sessions": sum(count > 0 for count in counts),
    }


def table(costs: Mapping[str, Cost], names: int, sessions: int) -> str:
    """The figures as a table."""
    begun = costs[START].cpu if START in costs else 0.0
    lines = [
        "| asset | sessions with rows | CPU, s | CPU, µs a name × session | peak, GB | stored, MB "
        "| bytes a name × session | files |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for asset, cost in costs.items():
        cells = cost.sessions * names
        of_cell = f"{1e6 * max(cost.cpu - begun, 0) / cells:.2f}" if cells else "–"
        bytes_of_cell = f"{cost.stored / cells:.1f}" if cells else "–"
        lines.append(
            f"| `{asset}` | {cost.sessions or '–'} | {cost.cpu:.1f} | {of_cell} "
            f"| {cost.peak / 1e9:.2f} | {cost.stored / 1e6:,.1f} | {bytes_of_cell} "
            f"| {cost.files or '–'} |"
        )
    return "\n".join([f"{names:,} names × {sessions:,} sessions:", "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--first", type=int, help="number of the first trained session")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--assets", nargs="+", default=[*DATA, *MODEL])
    parser.add_argument("--again", action="store_true", help="make what --assets names anew")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = (args.names, args.sessions)
    first = args.first or args.sessions // 2
    if args.make:
        make(args.folder, *size, first, args.make)
        return
    folder = args.folder / f"{args.names}x{args.sessions}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "scale.json"
    costs = {k: Cost(**v) for k, v in json.loads(kept.read_text()).items()} if kept.exists() else {}
    for asset in ("bars", START, *args.assets):
        if asset not in costs or (args.again and asset in args.assets):
            costs[asset] = cost_of(folder, *size, first, asset)
            kept.write_text(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
            print(f"{asset}: {costs[asset]}", flush=True)
    print(table({name: cost for name, cost in costs.items() if name != "bars"}, *size))


if __name__ == "__main__":
    main()
