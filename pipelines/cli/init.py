"""`rnn-pipelines init`: look at data, or read qlib workflows, and draft the YAML of a market.

A terminal is asked for the values that no flag gives; without a terminal a missing value is an
error that lists the flags. The file is written only once it loads, and never over another.

Exit status 0: the YAML is written; 1: an error; 2: the data allows several calendars or time zones,
which are named, and nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cli.arguments import Arguments, day
from pipelines.errors import PipelineError, UndecidedError

if TYPE_CHECKING:
    from pipelines.onboarding.infer_market import Wishes
    from pipelines.onboarding.propose import Proposal

UNDECIDED = 2
Ask = Callable[[str], str]


ARGUMENTS: Arguments = {
    "--from-qlib": {
        "action": "extend",
        "nargs": "+",
        "default": [],
        "metavar": "WORKFLOW.yaml",
        "help": "qlib workflow files: their dataset, models and backtest become one market; --path "
        "is then the provider's folder (default: that of the files)",
    },
    "--source": {"metavar": "KIND", "help": "files or qlib_bin"},
    "--path": {"help": "a file, a folder, a pattern such as 'bars/*.csv', a URL"},
    "--calendar": {
        "metavar": "NAME",
        "help": "XNYS, XSHG, 24/7 …, or data (default: the one that fits best)",
    },
    "--timezone": {
        "metavar": "ZONE",
        "help": "in which moments have their day, as in Europe/Berlin (default: the one that fits)",
    },
    "--name": {"help": "of the market (default: from the path)"},
    "--universe": {"help": "a file that says who was a member when"},
    "--column": {
        "default": [],
        "metavar": "OURS=THEIRS",
        "help": "a column that is not recognised, as in close=Last (several times)",
    },
    "--date-format": {"metavar": "FORM", "help": "as in '%%d/%%m/%%Y' or epoch_ms"},
    "--start": {"type": day, "metavar": "DAY", "help": "the first day that is read"},
    "--end": {"type": day, "metavar": "DAY", "help": "the last day that is read"},
    "--basis": {
        "metavar": "WORD",
        "help": "how splits show in the prices: adjusted, factor, adj_close, preclose or ratio "
        "(default: the one that the prices agree with)",
    },
    "--format": {
        "choices": ("csv", "parquet", "feather"),
        "help": "of files with another ending",
    },
    "--encoding": {"metavar": "NAME", "help": "of a CSV, as cp1252 (default: as seen)"},
    "--delimiter": {"metavar": "MARK", "help": "between the fields of a CSV (default: as seen)"},
    "--decimal": {"metavar": "MARK", "help": "the decimal mark of a CSV"},
    "--thousands": {"metavar": "MARK", "help": "the mark of thousands of a CSV"},
    "--header": {
        "choices": ("none", "1", "2", "3"),
        "help": "rows of a CSV's header (default: as seen)",
    },
    "--names": {"metavar": "A,B,C", "help": "the names of a CSV's columns, in order"},
    "--skip-lines": {
        "metavar": "REGEX",
        "help": "lines of a CSV that are no bars, as in '^(Total|#)'",
    },
    "--ignore": {
        "action": "append",
        "default": [],
        "metavar": "PATTERN",
        "help": "files of a folder that hold no bars, as in 'README*' (several times)",
    },
    "--quick": {
        "action": "store_true",
        "help": "small models that train in minutes, to see it run",
    },
    "--out": {"type": Path, "help": "the YAML to write (default: NAME.yaml)"},
    "--force": {"action": "store_true", "help": "write over a file that is there"},
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.onboarding.infer_market import Wishes

    if args.from_qlib:
        return _written(_of_workflows(args), args)
    ask = input if sys.stdin.isatty() else None
    kind, path, calendar = _asked(args, ask)
    wishes = Wishes(
        kind,
        path,
        calendar,
        timezone=_known_zone(args.timezone),
        name=args.name,
        universe=args.universe,
        columns=_columns(args.column),
        date_format=args.date_format,
        writing=_writing(args),
        basis=args.basis,
        start=args.start,
        end=args.end,
        quick=args.quick,
    )
    try:
        proposal = _proposed(wishes, ask)
    except UndecidedError as error:
        sys.stderr.write(f"undecided: {error}\n")
        return UNDECIDED
    return _written(proposal, args)


def _of_workflows(args: argparse.Namespace) -> Proposal:
    """The proposal for the market of qlib workflow files.

    Raises:
        PipelineError: a flag says what the files say.
    """
    from pipelines.onboarding.from_workflow import WorkflowWishes, propose_from_workflows

    free = ("--from-qlib", "--path", "--calendar", "--timezone", "--name", "--out", "--force")
    others = [flag for flag in ARGUMENTS if flag not in free]
    idle = [flag for flag in others if getattr(args, flag[2:].replace("-", "_"))]
    if idle:
        raise PipelineError(
            f"{', '.join(idle)}: the workflow files say it; beside --from-qlib only "
            f"{', '.join(free[1:])} go"
        )
    timezone = _known_zone(args.timezone)
    wishes = WorkflowWishes(args.from_qlib, args.path, args.calendar, timezone, args.name)
    return propose_from_workflows(wishes)


def _written(proposal: Proposal, args: argparse.Namespace) -> int:
    """Write the YAML of a proposal, and print the findings and the next commands."""
    out = args.out or Path(f"{proposal.name}.yaml")
    if any(out.resolve() == Path(file).resolve() for file in args.from_qlib):
        raise PipelineError(f"{out} is the workflow file itself: choose another place, --out")
    for line in proposal.lines:
        sys.stdout.write(f"{line}\n")
    write_new(out, proposal.text, force=args.force)
    if proposal.problems:
        sys.stdout.write(
            f"\nwritten to {out}, and it has the problems above: mend the data or the YAML, then\n"
            f"  rnn-pipelines validate {out}\n"
        )
        return 1
    sys.stdout.write(f"\nwritten to {out}. Next:\n")
    for command, what in next_commands(out, proposal.start, proposal.end):
        sys.stdout.write(f"  # {what}\n  {command}\n")
    return 0


def _proposed(wishes: Wishes, ask: Ask | None) -> Proposal:
    """The proposal for a market; on a terminal a person decides what the data does not.

    Raises:
        UndecidedError: several answers fit, and there is no terminal to ask on.
    """
    from dataclasses import replace

    from pipelines.onboarding.propose import propose

    while True:
        try:
            return propose(wishes)
        except UndecidedError as error:
            if ask is None:
                raise
            sys.stdout.write(f"{error}\n")
            answer = _answered(ask)(f"Which {error.option}? [{error.answers[0]}] ").strip()
            wishes = replace(wishes, **{error.option: answer or error.answers[0]})  # type: ignore[arg-type]


def _known_zone(name: str | None) -> str | None:
    """Check the name of a time zone.

    Raises:
        PipelineError: there is none of that name.
    """
    from pipelines.config.types import known_timezone

    try:
        return None if name is None else known_timezone(name)
    except ValueError as error:
        raise PipelineError(f"--timezone {name}: {error}") from None


def next_commands(out: Path, start: str, end: str) -> list[tuple[str, str]]:
    """The commands to run next, and the effect of each."""
    return [
        (f"rnn-pipelines validate {out}", "once you have edited it"),
        (f"rnn-pipelines demo --config {out}", "everything, from bars to reports"),
        (
            f"rnn-pipelines backfill --config {out} --start {start} --end {end} --select ohlcv",
            "the bars alone",
        ),
    ]


def write_new(out: Path, text: str, *, force: bool) -> None:
    """Write a file in one step.

    Raises:
        PipelineError: the file exists and `force` was not given, or it cannot be written.
    """
    from pipelines.warehouse.store import atomic_write

    if out.exists() and not force:
        raise PipelineError(f"{out} is there already, and nothing was written: --force, or --out")
    try:
        atomic_write(out, text.encode())
    except OSError as error:
        raise PipelineError(f"cannot write {out}: {error}; choose another place, --out") from error


def _asked(args: argparse.Namespace, ask: Ask | None) -> tuple[str, str, str | None]:
    """Source, path and calendar, from flags or from the terminal.

    Raises:
        PipelineError: one is missing and there is no terminal.
    """
    kind, path, calendar = args.source, args.path, args.calendar
    if ask is None:
        missing = [flag for flag, value in (("--source", kind), ("--path", path)) if not value]
        if missing == ["--source"]:
            kind, missing = kind_of(path), []
        if missing:
            raise PipelineError(
                f"{' and '.join(missing)} missing, and there is no terminal to ask on: "
                f"rnn-pipelines init --source files|qlib_bin --path PATH {_usage()}"
            )
    else:
        ask = _answered(ask)
        path = path or ask("Where is the data? A file, a folder, or a pattern: ").strip()
        default = kind_of(path)
        kind = kind or ask(f"What is it, files or qlib_bin? [{default}] ").strip() or default
        if calendar is None:
            calendar = ask("Which calendar? XNYS, XSHG, 24/7 … [the one that fits] ").strip()
    return kind, path, calendar or None


def _usage() -> str:
    """The optional flags, `[--calendar NAME] [--quick] …`."""
    flags = []
    for flag, settings in ARGUMENTS.items():
        name = settings.get("metavar") or "|".join(settings.get("choices", ())) or flag[2:].upper()
        flags.append(f"[{flag}]" if settings.get("action") == "store_true" else f"[{flag} {name}]")
    return " ".join(flag for flag in flags if not flag.startswith(("[--source", "[--path")))


def _answered(ask: Ask) -> Ask:
    """Make the end of input an error of a question.

    Raises:
        PipelineError: the input ended.
    """

    def answer(question: str) -> str:
        try:
            return ask(question)
        except EOFError:
            raise PipelineError("no answer, and nothing was written") from None

    return answer


def kind_of(path: str) -> str:
    """The kind of data at a path: a folder with `features` is qlib's."""
    folder = Path(path).expanduser()
    return "qlib_bin" if (folder / "features").is_dir() else "files"


def _writing(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the keys of files that flags give."""
    keys = ("format", "encoding", "delimiter", "decimal", "thousands", "skip_lines", "header",
            "names", "ignore")  # fmt: skip
    given = {key: getattr(args, key) for key in keys if getattr(args, key) not in (None, [])}
    if "names" in given:
        given["names"] = [name.strip() for name in given["names"].split(",")]
    if given.get("header", "none") != "none":
        given["header"] = int(given["header"])
    return given


def _columns(given: list[str]) -> dict[str, str]:
    """Parse texts such as `close=Last` into a mapping.

    Raises:
        PipelineError: a text is not of that form, or names no column of ours.
    """
    from pipelines.errors import did_you_mean
    from pipelines.onboarding.infer_columns import NAMES

    out = {}
    for text in given:
        ours, sign, theirs = text.partition("=")
        if not sign or not theirs:
            raise PipelineError(f"--column {text}: expected OURS=THEIRS, as in close=Last")
        if ours not in NAMES:
            raise PipelineError(f"--column {text}: {ours!r} is none; {did_you_mean(ours, NAMES)}")
        out[ours] = theirs
    return out
