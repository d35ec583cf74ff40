"""`qrun`: run a qlib workflow file as it is, without qlib, and print its progress.

The console shows the request, the loaded data, an epoch a line, and at the end the figures by which
qlib's benchmarks are compared. `rnn_core.workflow` does the work, `parity` the comparison with
pyqlib that `--verify-with` asks for.
"""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.errors import PipelineError
from pipelines.operations.console import make_console, say
from pipelines.operations.parity import certify, probe

if TYPE_CHECKING:
    from rnn_core.training.fit_result import EpochReport
    from rnn_core.workflow import RunResult, WorkflowSpec
    from rnn_core.workflow.build_data import Segment
    from rnn_core.workflow.records import PortfolioAnalysis


DIFFERS = 3
"""Exit status of a run that pyqlib does not confirm."""


class WorkflowFailedError(PipelineError):
    """A workflow file that cannot be run, or a run that failed; nothing of it was written."""


def run_command(args: argparse.Namespace, console: Console | None = None) -> int:
    """Run a workflow file and print its progress.

    Args:
        args: the arguments that `pipelines.cli.qrun` declares.
        console: the console to print on; by default the terminal.

    Returns:
        The exit status: 0, or `DIFFERS` if pyqlib was asked to verify the run and differs.

    Raises:
        WorkflowFailedError: the file asks for something unsupported, the provider lacks something,
            the training diverged, or the folder cannot be written.
        ParityError: no comparison with pyqlib is possible; if the interpreter is the cause,
            nothing was run.
    """
    from rnn_core.workflow import (
        WorkflowError,
        default_folder,
        load_document,
        read_workflow,
        run_workflow,
    )

    console = console or make_console()
    folder = Path(args.out or default_folder(args.workflow, dt.datetime.now()))
    try:
        spec = read_workflow(
            load_document(args.workflow, args.overrides),
            semantics=args.semantics,
            provider_uri=args.provider_uri,
            vwap=args.vwap,
        )
        _show_spec(console, spec)
        versions = probe(args.verify_with, spec) if args.verify_with else None
        # A finished run that is to be verified is not run again.
        if versions is None or not (folder / "run.json").exists():
            with _warnings_shown(console):
                result = run_workflow(spec, folder, make_watcher(console))
            _show_result(console, result)
    except (WorkflowError, OSError) as error:
        raise WorkflowFailedError(str(error)) from error
    if versions is None:
        return 0
    return _verify(console, spec, folder, args.verify_with, versions)


def _verify(
    console: Console, spec: WorkflowSpec, folder: Path, python: str, versions: Mapping[str, str]
) -> int:
    """Compare a run with pyqlib, print the certificate and return the exit status."""
    certificate = certify(spec, folder, python, versions, partial(say, console))
    table = Table(
        title=f"Parity with pyqlib {versions['pyqlib']}, {certificate.rows:,} rows",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
    )
    table.add_column("largest difference")
    for title in ("compared", "missing", "own scores", "same scores", "bound", ""):
        table.add_column(title, justify="right")
    for m in certificate.measures:
        same = "" if m.same is None else f"{m.same:.1e}"
        figures = (f"{m.compared:,}", f"{m.missing:,}", f"{m.largest:.1e}", same, f"{m.bound:.0e}")
        table.add_row(m.name, *figures, "holds" if m.holds else "differs")
    console.print(table)
    verdict = f"{certificate.verdict}; written to {os.fspath(folder / 'certificate.md')}"
    say(console, *(f"note: {note}" for note in certificate.notes), verdict)
    return 0 if certificate.holds else DIFFERS


def make_watcher(console: Console) -> Any:
    """A `rnn_core.workflow.Watcher` that prints.

    Args:
        console: the console to print on.

    Returns:
        The watcher.
    """
    from rnn_core.workflow import Watcher

    class Printer(Watcher):
        """A line for a stage, a line for an epoch."""

        def stage(self, text: str) -> None:
            say(console, text)
            if text == "training":
                titles = f"{'epoch':>9} {'train loss':>12} {'valid score':>12} {'best':>5}"
                say(console, f"  {titles} {'rows/s':>9}")

        def loaded(self, segments: Sequence[Segment], n_features: int) -> None:
            table = Table(box=SIMPLE_HEAD, header_style="bold")
            table.add_column("segment")
            for title in ("from", "to", "sessions", "rows", "features"):
                table.add_column(title, justify="right")
            for s in segments:
                days = (f"{s.first:%Y-%m-%d}", f"{s.last:%Y-%m-%d}")
                table.add_row(s.name, *days, f"{s.sessions:,}", f"{s.rows:,}", str(n_features))
            console.print(table)

        def epoch(self, report: EpochReport) -> None:
            valid = report.valid_score
            say(
                console,
                f"  {f'{report.epoch + 1}/{report.n_epochs}':>9} {report.train_loss:12.6f} "
                f"{f'{valid:.6f}' if valid == valid else '–':>12} {report.best_epoch + 1:>5} "
                f"{report.samples_per_second:>9,.0f}",
            )

    return Printer()


@contextmanager
def _warnings_shown(console: Console) -> Iterator[None]:
    """Print warnings of the library as lines among the others, while the block runs."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(console, f"note: {record.getMessage()}")

    log, lines = logging.getLogger("rnn_core"), Lines(level=logging.WARNING)
    propagated, log.propagate = log.propagate, False
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.propagate = propagated


def _show_spec(console: Console, spec: WorkflowSpec) -> None:
    """Print the request of the file."""
    data, model = spec.dataset, spec.model
    steps = f", {data.step_len} steps" if data.step_len else ""
    universe = data.instruments if isinstance(data.instruments, str) else f"{len(data.instruments)}"
    lines = {
        "workflow": spec.document.path,
        "provider": f"{spec.provider.uri} ({spec.provider.region})",
        "data": f"{data.handler}, {data.dataset}{steps}, instruments {universe}",
        "semantics": spec.semantics,
        "model": f"{model.name}({', '.join(f'{k}={v}' for k, v in model.arguments.items())})",
    }
    if spec.document.overrides:
        lines["set"] = ", ".join(spec.document.overrides)
    for title, text in lines.items():
        say(console, f"{title:<10} {text}")


def _show_result(console: Console, result: RunResult) -> None:
    """Print the figures by which benchmarks are compared, and the folder of the rest."""
    if result.signal is not None:
        console.print(_signal_table(result.signal.summary))
    if result.portfolio is not None:
        console.print(_risk_table(result.portfolio.risk))
        say(console, _basis(result.portfolio))
    say(console, f"written to {os.fspath(result.folder)}")


def _signal_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="Scores", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    cells = []
    for title, key, form in (
        ("IC", "ic", ".4f"),
        ("ICIR", "icir", ".4f"),
        ("rank IC", "rank_ic", ".4f"),
        ("rank ICIR", "rank_icir", ".4f"),
        ("sessions", "days", "d"),
        ("long-short a year", "long_short_annualized_return", ".2%"),
    ):
        if key in summary:
            table.add_column(title, justify="right")
            cells.append(_number(summary[key], form))
    table.add_row(*cells)
    return table


def _risk_table(risk: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="Portfolio", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("return")
    for title in ("a year", "information ratio", "max drawdown", "mean", "std"):
        table.add_column(title, justify="right")
    for name, row in risk.items():
        table.add_row(
            name.replace("_", " "),
            _number(row["annualized_return"], ".2%"),
            _number(row["information_ratio"], ".3f"),
            _number(row["max_drawdown"], ".2%"),
            _number(row["mean"], ".6f"),
            _number(row["std"], ".6f"),
        )
    return table


def _basis(portfolio: PortfolioAnalysis) -> str:
    """Say what the returns of the table are of, and if the figures of a year mean little."""
    from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS

    sessions, names = (int(portfolio.summary[key]) for key in ("sessions", "names"))
    against = portfolio.result.benchmark
    text = f"{sessions} sessions, {names} names held" + (
        f", benchmark {against}" if against else ""
    )
    if sessions < YEAR_SESSIONS:
        text += (
            f"; figures of a year extrapolate fewer than {YEAR_SESSIONS} sessions and mean little"
        )
    return text


def _number(value: float, form: str) -> str:
    return format(value, form) if value == value else "–"
