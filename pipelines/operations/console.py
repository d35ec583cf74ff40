"""Console of the commands: a live display of assets and epochs, and the final table."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from pipelines.instance.progress import reporting_to
from pipelines.operations.streams import lasting_stream

if TYPE_CHECKING:
    import pandas as pd


_WARNINGS = 20  # kinds of them that are shown
_LINE_EVERY = 60.0  # seconds between lines about one asset where there is no terminal


class LiveProgress:
    """A progress bar an asset, with its present activity; plain lines without a terminal.

    Args:
        console: the console to draw on.
        clock: returns seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._bars = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[left]:<15} {task.fields[doing]}"),
            console=console,
            refresh_per_second=8,
        )
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, tuple[int, float]] = {}
        self._done: dict[str, int] = {}
        self._empty: dict[str, int] = {}
        self._estimates: dict[str, float] = {}
        self._warnings: Counter[str] = Counter()
        self._said = clock()

    def start(self, asset: str, total: int) -> None:
        """Start the bar of an asset."""
        self._totals[asset], self._done[asset] = (total, self._clock()), 0
        self._empty[asset] = 0
        self._said = self._clock()
        self._tasks[asset] = self._bars.add_task(asset, total=total, doing="", left="")

    def advance(self, asset: str, key: str, rows: int | None = None) -> None:
        """Count a finished partition, and whether it has rows."""
        self._empty[asset] += rows == 0
        self._done[asset] += 1
        self._bars.update(self._tasks[asset], advance=1, doing=key, left=self._left(asset))
        self._say(asset, key)

    def note(self, asset: str, text: str, left: float | None = None) -> None:
        """Show the present activity of an asset, and its own estimate of the seconds left."""
        if left is not None:
            self._estimates[asset] = self._clock() + left
        self._bars.update(self._tasks[asset], doing=text, left=self._left(asset))
        self._say(asset, text)

    def _left(self, asset: str) -> str:
        """The time left: an asset's own estimate, else by the rate of its partitions so far."""
        total, began = self._totals[asset]
        done, now = self._done[asset], self._clock()
        if asset in self._estimates:
            seconds = self._estimates[asset] - now
        elif done:
            seconds = (now - began) / done * (total - done)
        else:
            return ""
        return f"{time_words(seconds)} left" if seconds > 0 else ""

    def _say(self, asset: str, text: str) -> None:
        """Print a line a minute on an asset that takes long, without a terminal."""
        if not self._console.is_terminal and self._clock() - self._said >= _LINE_EVERY:
            self._said = self._clock()
            done, total, left = self._done[asset], self._totals[asset][0], self._left(asset)
            about = f", about {left}" if left else ""
            say(self._console, f"  {asset:<26} {done:>5} of {total} {text}{about}")

    def finish(self, asset: str) -> None:
        """End the bar of an asset; without a terminal, print the asset's line."""
        empty = f"{self._empty[asset]} without rows" if self._empty[asset] else ""
        self._bars.update(self._tasks[asset], doing=empty, left="")
        self._bars.stop_task(self._tasks[asset])
        if not self._console.is_terminal:
            total, began = self._totals[asset]
            done, took = self._done[asset], self._clock() - began
            self._said = self._clock()
            count = f"{total:>5}" if done == total else f"{done:>5} of {total}"
            without = f", {empty}" if empty else ""
            say(self._console, f"  {asset:<26} {count} partitions {took:7.1f} s{without}")

    def warn(self, text: str) -> None:
        """Print a warning of a step; those that differ in figures alone are counted at the end."""
        kind = re.sub(r"[\d.,-]+", "0", text)
        self._warnings[kind] += 1
        if self._warnings[kind] == 1 and len(self._warnings) <= _WARNINGS:
            say(self._console, f"warning: {text}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs."""
        with reporting_to(self):
            if self._console.is_terminal:
                with self._bars:
                    yield
            else:
                yield
        more = self._warnings.total() - min(len(self._warnings), _WARNINGS)
        if more > 0:
            like = " like these" if len(self._warnings) <= _WARNINGS else ""
            say(self._console, f"{more} more warnings{like} are in the log of the run, in the UI")


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: brackets are no markup, and no command or path is broken in two."""
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def figures_table(title: str, words: Sequence[str], figures: Sequence[str]) -> Table:
    """A table without rows: columns of words at the left, then columns of figures."""
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def time_words(seconds: float) -> str:
    """Write a duration as a person says it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def make_console() -> Console:
    """Open the terminal; a file or a pipe gets lines of a width that cuts nothing.

    Dagster points the standard streams of a step at its log files, so the console holds a
    descriptor of its own to the earlier standard output.
    """
    try:
        stream = lasting_stream(os.dup(sys.stdout.fileno()), close=True)
    except (OSError, AttributeError):  # replaced by something without a descriptor
        return Console(width=120)
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=120)


def results_table(signal: pd.DataFrame, portfolio: pd.DataFrame) -> Table:
    """One row a model: figures of its scores, and of its portfolio after costs."""
    from rnn_core.evaluation.portfolio_figures import yearly_note

    table = Table(
        title="Models side by side", title_justify="left", header_style="bold", box=SIMPLE_HEAD
    )
    table.add_column("model")
    columns = (
        ("IC", "signal", "ic", ".4f"),
        ("ICIR", "signal", "icir", ".3f"),
        ("rank IC", "signal", "rank_ic", ".4f"),
        ("rank ICIR", "signal", "rank_icir", ".3f"),
        ("days", "signal", "days", ".0f"),
        ("ann. ret.*", "portfolio", "annualized_excess_return_with_cost", ".2%"),
        ("IR*", "portfolio", "information_ratio_with_cost", ".2f"),
        ("max DD*", "portfolio", "max_drawdown_with_cost", ".2%"),
    )
    for title, *_ in columns:
        table.add_column(title, justify="right")
    frames = {"signal": signal, "portfolio": portfolio}
    for model in signal.index:
        cells = []
        for _, frame, column, form in columns:
            # A model may have scores and no portfolio yet: its cells show a dash.
            source = frames[frame]
            has_figure = (
                model in source.index and source.loc[model, column] == source.loc[model, column]
            )
            cells.append(format(source.loc[model, column], form) if has_figure else "–")
        table.add_row(str(model), *cells)
    table.caption = (
        "IC: each model over all sessions that it was evaluated on"
        f"{'' if (signal['days'] > 0).all() else ', which need two names with score and label'}\n"
        "* portfolio after costs, in excess of the members at equal weight: annualised return, "
        "information ratio, maximum drawdown"
    )
    if len(portfolio) and "names" in portfolio:
        note = yearly_note(portfolio)
        table.caption += f"\n* {note}" if note else ""
    table.caption_justify = "left"
    return table
