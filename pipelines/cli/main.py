"""`rnn-pipelines`: the daily signal factory from the command line.

Every command has a module here, which declares its arguments; `pipelines/operations` does the work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.cli import (
    backfill,
    demo,
    init,
    qrun,
    refit,
    refresh,
    signal,
    sql,
    status,
    sync,
    ui,
    upgrade,
    validate,
)
from pipelines.errors import PipelineError

_COMMANDS = (
    demo, init, validate, backfill, status, refresh, refit, sync, sql, qrun, signal, ui, upgrade,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    args = _parser().parse_args(argv)
    try:
        status_code: int = args.run(args)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(_stopped(args), file=sys.stderr)
        return 130
    return status_code


def _stopped(args: argparse.Namespace) -> str:
    """Say what Ctrl-C leaves behind, and what the same command would do now."""
    again = {
        "demo": "run the same command again to go on from here",
        "backfill": "run the same command again to go on from here",
        "refresh": "what was made is kept; run the same command again to complete it",
        "sync": "what was put on record stays there; run the same command again to complete it",
        "upgrade": "what was signed stays so; run the same command again to complete it",
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

    for module in _COMMANDS:
        module.add_command(commands)
    return parser


class _Version(argparse.Action):
    """Print the installed version and exit; the version is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"rnn-signal-factory {version('rnn-signal-factory')}")
        parser.exit()


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
