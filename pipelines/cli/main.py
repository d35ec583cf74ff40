"""`rnn-pipelines`: the daily signal factory from the command line.

Commands that are more than a few lines have a module each in `pipelines/commands`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import backfill, init, refit, refresh, sql, status, sync, validate
from pipelines.cli.arguments import add_config, day, market_of
from pipelines.errors import PipelineError
from pipelines.operations import qrun

if TYPE_CHECKING:
    from pipelines.calendar.sessions import Sessions


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        chosen: int = args.run(args)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(_stopped(args), file=sys.stderr)
        return 130
    return chosen


def _stopped(args: argparse.Namespace) -> str:
    """What Ctrl-C leaves behind, and what the same command would do now."""
    again = {
        "demo": "run the same command again to go on from here",
        "backfill": "run the same command again to go on from here",
        "refresh": "what was made is kept; run the same command again to complete it",
        "sync": "what was put on record stays there; run the same command again to complete it",
        "qrun": "nothing of the run was kept, the same command starts anew",
    }.get(args.command)
    if getattr(args, "fresh", False):
        again = "what was made is kept; the same command without --fresh goes on from here"
    if getattr(args, "force", False) and args.command == "backfill":
        again = "what was made is kept; the same command makes the whole range again"
    return f"stopped; {again}" if again else "stopped"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnn-pipelines", description=_first_line(__doc__))
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    demo = commands.add_parser("demo", help="run what is missing from bars to reports")
    demo.add_argument("--fresh", action="store_true", help="delete the market's state first")
    demo.set_defaults(run=_demo)

    for module in (init, validate, backfill, status, refresh, refit, sync, sql, qrun):
        module.add_command(commands)

    signal = commands.add_parser("signal", help="print the scores of a session")
    signal.add_argument(
        "--date", type=day, help="the session (default: the newest that was scored)"
    )
    signal.set_defaults(run=_signal)

    ui = commands.add_parser("ui", help="open the Dagster UI over the market's record")
    ui.add_argument("--port", type=int, default=3000)
    ui.set_defaults(run=_ui)

    for command in (demo, signal, ui):
        add_config(command)
    return parser


class _Version(argparse.Action):
    """Prints the installed version and ends; looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"rnn-signal-factory {version('rnn-signal-factory')}")
        parser.exit()


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _demo(args: argparse.Namespace) -> int:
    from pipelines.operations.console import make_console
    from pipelines.operations.demo import run_demo

    run_demo(market_of(args), make_console(), fresh=args.fresh)
    return 0


def _signal(args: argparse.Namespace) -> int:
    market = market_of(args)
    if args.date is not None:
        _require_session(market.sessions, args.date)
        if args.date < market.plan.first_trained:
            raise PipelineError(
                f"no model has scores of {args.date}: the first session that trains is "
                f"{market.plan.first_trained} (training.first_trained)"
            )
    for name, table in market.prediction_tables().items():
        keys = market.warehouse.sessions(table)
        if not keys:
            raise PipelineError(f"{table} has no session yet; run `{market.command('demo')}` first")
        key = args.date or keys[-1]
        if key not in keys:
            raise PipelineError(
                f"{table} has no session {key}, it has {len(keys)} from {keys[0]} to {keys[-1]}; "
                f"run `{market.command(f'backfill --start {key} --end {key}')}` first"
            )
        rows = market.warehouse.read(table, [key], needed_by="signal").frame
        print(f"{name}, {key}:")
        shown = rows[["instrument", "score", "as_of"]].sort_values("score", ascending=False)
        print(shown.to_string(index=False) if len(shown) else "  no scores: no model in force")
    return 0


def _require_session(sessions: Sessions, key: str) -> None:
    """The day is a session of the market.

    Raises:
        PipelineError: it is not, naming those next to it.
    """
    if key in sessions:
        return
    near = [*[k for k in sessions.keys if k < key][-1:], *[k for k in sessions.keys if k > key][:1]]
    raise PipelineError(
        f"{key} is not a session of {sessions.calendar}; the nearest of this market: "
        f"{', '.join(near)}"
    )


def _ui(args: argparse.Namespace) -> int:
    from pipelines.config.loader import ENV_CONFIG, config_path
    from pipelines.instance.home import dagster_instance, prepare_workspace
    from pipelines.instance.orphaned_runs import sweep_orphans
    from pipelines.instance.ui_lock import claim_ui, require_port

    path, market = config_path(args.config), market_of(args)
    require_port(args.port)
    claim_ui(market, args.port)
    with dagster_instance(market) as instance:
        sweep_orphans(instance)
    os.environ[ENV_CONFIG] = str(path.absolute())
    workspace = str(prepare_workspace(market))
    program = Path(sys.executable).with_name("dg")
    if not program.is_file():
        raise PipelineError("the UI needs the extra `ui`: pip install 'rnn-signal-factory[ui]'")
    where = ["--workspace", workspace, "--host", "127.0.0.1", "--port", str(args.port)]
    os.execv(program, [str(program), "dev", *where])  # noqa: S606 - our own interpreter's dg
