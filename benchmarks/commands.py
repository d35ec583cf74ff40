"""Processor seconds of every command over a sample market, perhaps beside another checkout.

    python benchmarks/commands.py [--data FOLDER] [--config sample] [--other CHECKOUT] [--repeats 5]

A command runs as a process of its own, from its start to its end; user and system time are summed
over it and the processes that it waited for, and the least of the repeats counts. With `--other`
both checkouts take turns over the same data folder, so that a ratio is one of the same minutes.
Without `--data` the market is made first, in a temporary folder, which takes minutes. Nothing that
a command finds is changed: the backfill and `sync` find everything current, `init` writes into a
folder of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
_MAIN = "import sys; from pipelines.cli.main import main; sys.exit(main())"


def commands(config: str, start: str, end: str, folder: str) -> dict[str, list[str]]:
    """The arguments of every command that is timed, by the name in the table."""
    market = ["--config", config]
    return {
        "help": ["--help"],
        "ui, help": ["ui", "--help"],
        "sql": ["sql", "FROM latest_signal", *market],
        "signal": ["signal", *market],
        "orders": ["orders", *market],
        "status": ["status", *market],
        "validate": ["validate", config],
        "sync": ["sync", *market],
        "backfill, idle": ["backfill", "--start", start, "--end", end, *market],
        "init": ["init", "--path", f"{folder}/bars.csv", "--out", f"{folder}/drafted.yaml"],
    }


def seconds_of(code: Path, arguments: list[str], data: Path) -> tuple[float, int]:
    """Processor seconds and exit status of a command, run by a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(code), "RNN_DATA_DIR": str(data)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every run compiles the checkout anew
    before = os.times()
    done = subprocess.run(  # noqa: S603 - the project's own command
        [sys.executable, "-P", "-c", _MAIN, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system, done.returncode


def write_bars(path: Path) -> None:
    """Write the bars that `init` looks at: two names, 300 weekdays."""
    import pandas as pd

    days = pd.bdate_range("2020-01-01", periods=300)
    rows = [
        f"{day:%Y-%m-%d},{name},{100 + i % 7},{101 + i % 7},{99 + i % 7},{100 + i % 5},{1000 + i}"
        for name in ("AAA", "BBB")
        for i, day in enumerate(days)
    ]
    path.write_text("\n".join(["date,symbol,open,high,low,close,volume", *rows]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data folder in which the market is made")
    parser.add_argument("--config", default="sample")
    parser.add_argument("--start", default="2012-06-01", help="range of the idle backfill")
    parser.add_argument("--end", default="2013-02-25")
    parser.add_argument("--other", type=Path, help="another checkout, shown first")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="the commands to time; all by default")
    args = parser.parse_args()
    checkouts = [*([args.other.resolve()] if args.other else []), HERE]
    with tempfile.TemporaryDirectory() as folder:
        data = (args.data or Path(folder) / "data").resolve()
        if args.data is None:
            _, status = seconds_of(HERE, ["demo", "--config", args.config], data)
            if status:
                sys.exit(f"`demo --config {args.config}` ended with status {status}")
        write_bars(Path(folder) / "bars.csv")
        print(f"| command | {' | '.join(f'{code.name}, s' for code in checkouts)} | exit |")
        print(f"|---|{'---|' * len(checkouts)}---|")
        timed = commands(args.config, args.start, args.end, folder)
        for name in args.only or timed:
            best = [float("inf")] * len(checkouts)
            statuses = set()
            for _ in range(args.repeats):
                for place, code in enumerate(checkouts):
                    (Path(folder) / "drafted.yaml").unlink(missing_ok=True)
                    took, status = seconds_of(code, timed[name], data)
                    best[place] = min(best[place], took)
                    statuses.add(status)
            shown = " | ".join(f"{took:.2f}" for took in best)
            print(f"| {name} | {shown} | {sorted(statuses)} |", flush=True)


if __name__ == "__main__":
    main()
