"""`rnn-pipelines`: the factory from the command line."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import PipelineError

if TYPE_CHECKING:
    from pipelines.config import FactoryConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on from here", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnn-pipelines", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run what is missing from bars to reports")
    demo.add_argument("--fresh", action="store_true", help="delete the market's state first")
    demo.set_defaults(run=_demo)

    backfill = commands.add_parser("backfill", help="run every asset over a range of sessions")
    backfill.add_argument("--start", required=True, type=_day, help="first day, YYYY-MM-DD")
    backfill.add_argument("--end", required=True, type=_day, help="last day, YYYY-MM-DD")
    backfill.set_defaults(run=_backfill)

    signal = commands.add_parser("signal", help="print the scores of a session")
    signal.add_argument(
        "--date", type=_day, help="the session (default: the newest that was scored)"
    )
    signal.set_defaults(run=_signal)

    ui = commands.add_parser("ui", help="open the Dagster UI over the market's record")
    ui.add_argument("--port", type=int, default=3000)
    ui.set_defaults(run=_ui)

    for command in (demo, backfill, signal, ui):
        command.add_argument(
            "--config", help="a YAML, or the name of a shipped one (default: $RNN_CONFIG, sample)"
        )
    return parser


def _day(text: str) -> str:
    """A date as it is compared with session keys."""
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write YYYY-MM-DD") from None
    return day.isoformat()


def _demo(args: argparse.Namespace) -> int:
    from pipelines.demo import run_demo
    from pipelines.display import make_console
    from pipelines.market import Market

    run_demo(Market(_config(args)), make_console(), fresh=args.fresh)
    return 0


def _backfill(args: argparse.Namespace) -> int:
    from pipelines.demo import DATA_ASSETS, model_assets
    from pipelines.display import LiveProgress, make_console
    from pipelines.graph import build_definitions
    from pipelines.home import dagster_instance
    from pipelines.market import Market
    from pipelines.orphans import sweep_orphans
    from pipelines.runs import run_assets
    from pipelines.store import remove_leftovers

    market, console = Market(_config(args)), make_console()
    first = market.sessions.at_or_after(args.start)
    last = min(market.sessions.at_or_before(args.end), market.last_closed())
    if last < first:
        raise PipelineError(f"no closed session between {args.start} and {args.end}")
    with dagster_instance(market) as instance, LiveProgress(console).shown():
        if sweep_orphans(instance):
            remove_leftovers(market.paths.root)
        assets = [*DATA_ASSETS, *model_assets(market)]
        run_assets(build_definitions(market), instance, assets, (first, last))
    return 0


def _signal(args: argparse.Namespace) -> int:
    from pipelines.market import Market

    market = Market(_config(args))
    for name, table in market.prediction_tables().items():
        keys = market.warehouse.sessions(table)
        key = args.date or (keys[-1] if keys else None)
        if key is None:
            raise PipelineError(f"{table} has no session yet; run `rnn-pipelines demo` first")
        rows = market.warehouse.read(table, [key], needed_by="signal").frame
        print(f"{name}, {key}:")
        shown = rows[["instrument", "score", "as_of"]].sort_values("score", ascending=False)
        print(shown.to_string(index=False) if len(shown) else "  no scores: warm-up")
    return 0


def _ui(args: argparse.Namespace) -> int:
    from pipelines.config_file import ENV_CONFIG, config_path
    from pipelines.home import prepare_home
    from pipelines.market import Market

    path = config_path(args.config)
    prepare_home(Market(_config(args)))
    os.environ[ENV_CONFIG] = str(path.absolute())
    program = Path(sys.executable).with_name("dg")
    if not program.is_file():
        raise PipelineError("the UI needs the extra `ui`: pip install 'rnn-signal-factory[ui]'")
    os.execv(program, [str(program), "dev", "--host", "127.0.0.1", "--port", str(args.port)])  # noqa: S606 - our own interpreter's dg


def _config(args: argparse.Namespace) -> FactoryConfig:
    from pipelines.config_file import load_config

    return load_config(args.config)
