"""`rnn-pipelines`: the daily signal factory from the command line.

Every command has a module here, which declares its arguments; `pipelines/operations` does the work.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.cli import (
    backfill,
    backup,
    compare,
    demo,
    export_qlib,
    init,
    orders,
    prune,
    qrun,
    refit,
    refresh,
    restore,
    signal,
    sql,
    status,
    sync,
    ui,
    upgrade,
    validate,
    verify,
)
from pipelines.cli.arguments import Once, refusals
from pipelines.config.secrets_in_text import scrubbed
from pipelines.errors import PipelineError, did_you_mean
from pipelines.operations.streams import lasting_streams
from pipelines.warehouse.fetched import fetched_once
from rnn_core import __version__

COMMANDS = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module
    for module in (
        demo, init, validate, backfill, status, refresh, refit, sync, sql, qrun, signal, orders,
        compare, export_qlib, prune, verify, backup, restore, ui, upgrade,
    )
}  # fmt: skip
_SHORT = ("orders", "signal", "sql", "status")
"""Commands that run no code of the owner's and take most of their time to start."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    # Commands draw into files; the kernel of a notebook hands down a backend of its own.
    os.environ["MPLBACKEND"] = "agg"
    with lasting_streams(), fetched_once(), contextlib.ExitStack() as stack:
        args = parse(sys.argv[1:] if argv is None else argv)
        if args.command in _SHORT:
            # pydantic else looks for plugins in the metadata of every package that is installed.
            os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
            stack.enter_context(_rare_collections())
        if args.command in (*_SHORT, "backfill") and argv is None:
            _spare_last_collections()
        try:
            with refusals():
                status_code: int = COMMANDS[args.command].run(args)
                sys.stdout.flush()
        except PipelineError as error:
            print(f"error: {scrubbed(str(error))}", file=sys.stderr)
            return 1
        except ModuleNotFoundError as error:
            if str(error.name).startswith(("pipelines", "rnn_core")):
                raise
            print(
                f"error: {args.command} needs the package {error.name}, which is not installed: "
                f"pip install 'rnn-signal-factory[pipelines]'",
                file=sys.stderr,
            )
            return 1
        except KeyboardInterrupt:
            print(_stopped(args), file=sys.stderr)
            return 130
    return status_code


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage once in 100,000 new objects in the block, and not in 700.

    Imports make half a million objects that stay. Going through them again and again found nothing
    and was a sixth of the CPU time of `signal` and `status`.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _spare_last_collections() -> None:
    """Take the libraries out of the collections of garbage of a process that ends with its command.

    Python goes through all objects as it ends, a sixth of the CPU time of `signal`. DuckDB is not
    loaded yet: its binding names, at the end, whatever of it was not collected.
    """
    import pandas as pd  # noqa: F401 - with NumPy and pyarrow, half of all objects

    gc.freeze()
    atexit.register(gc.disable)  # so that Python goes through the others once and not twice


def _stopped(args: argparse.Namespace) -> str:
    """Say what Ctrl-C leaves behind, and what the same command would do now."""
    again = {
        "demo": "run the same command again to go on from here",
        "backfill": "run the same command again to go on from here",
        "refresh": "what was made is kept; run the same command again to complete it",
        "prune": "what was removed leaves nothing stale; run the same command again to complete it",
        "sync": "what was put on record stays there; run the same command again to complete it",
        "qrun": "nothing of the run was kept, the same command starts anew",
        "export-qlib": "nothing was written; an earlier export is as it was",
    }.get(args.command)
    if getattr(args, "verify_with", None):
        again = "a run that was written stays; give its folder as --out to verify it"
    if getattr(args, "fresh", False):
        again = "what was made is kept; the same command without --fresh goes on from here"
    if getattr(args, "force", False) and args.command == "backfill":
        again = "what was made is kept; the same command makes the whole range again"
    return f"stopped; {again}" if again else "stopped"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; what is wrong with it ends the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="rnn-pipelines", description=_first_line(__doc__), allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rnn-signal-factory {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parsers = {name: _add_command(commands, name) for name in COMMANDS}
    # argparse knows no near names, takes an option for any that it begins, and names an unknown one
    # only where nothing else is missing.
    name = next((word for word in words if not word.startswith("-")), "")
    if words[:1] != [name]:
        _require_known(parser, words[:1], ["--version"])
    elif name in COMMANDS:
        _require_known(parsers[name], words[1:], COMMANDS[name].ARGUMENTS)
    else:
        parser.error(f"unknown command {name!r}; {did_you_mean(name, COMMANDS)}")
    return parser.parse_args(words)


def _add_command(commands: Any, name: str) -> argparse.ArgumentParser:
    """Declare a command: the docstring of its module is its help."""
    module = COMMANDS[name]
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=_first_line(module.__doc__).partition("`: ")[2].rstrip("."),
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flag, settings in module.ARGUMENTS.items():
        command.add_argument(flag, **{"action": Once, **settings})
    return command


def _require_known(
    parser: argparse.ArgumentParser, words: Iterable[str], options: Iterable[str]
) -> None:
    """End the process where a word is an option that the parser lacks."""
    known = ["-h", "--help", *options]
    for word in itertools.takewhile(lambda word: word != "--", words):
        flag = word.partition("=")[0]
        is_text = " " in flag or word[1:2].isdigit() or word == "-"  # as argparse reads it
        if flag.startswith("-") and not is_text and flag not in known:
            choices = [option for option in known if option.startswith("--")]
            parser.error(f"unknown option {flag}; {did_you_mean(flag, choices)}")


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
