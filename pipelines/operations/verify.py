"""`verify`: check every file of a market, show one table, and name or run what repairs it.

What was served, and what else cannot be made again as it was, is never repaired by itself: the
lines name the backup that brings it back, and the command that makes it anew. Bars, fitted states
and models that nothing was served from are made again on request; the lines name the backup first,
since they may come out otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from pipelines.assets.stages import stages as stages_of
from pipelines.instance.home import reading_instance
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.backfill import run_backfill
from pipelines.operations.console import figures_table, say, time_words
from pipelines.operations.refit import run_refit
from pipelines.operations.upgrade import run_upgrade
from pipelines.staleness.market_files import LEFT, Damage
from pipelines.staleness.state_bytes import bytes_in_words
from pipelines.staleness.verification import Count, Verification, verify_market

_LINE_EVERY = 60.0  # seconds between lines where there is no terminal
_SHOWN = 50  # damaged files that are named one by one


@dataclass(frozen=True)
class Repair:
    """A command that repairs files, and the call that does the same.

    Attributes:
        words: the command.
        does: what it does, for a person who shall know that before.
        run: does it.
    """

    words: str
    does: str
    run: Callable[[], object]


def run_verify(market: Market, console: Console, *, repair: bool = False) -> bool:
    """Verify a market and show the result.

    Args:
        market: the market.
        console: gets progress, the table and the lines below it.
        repair: run the commands that repair it, and verify again.

    Returns:
        True if nothing is damaged or missing.

    Raises:
        PipelineError: the state cannot be read, or a repair failed.
    """
    stages = stages_of(market)
    found = _verified(market, stages, console)
    repairs = repairs_of(market, stages, console, found.damages)
    if repair and repairs:
        for one in repairs:
            say(console, f"repairing: `{one.words}` {one.does}")
            one.run()
        market = market.opened_anew()
        found = _verified(market, stages_of(market), console)
    return not found.damages


def _verified(market: Market, stages: Sequence[Stage], console: Console) -> Verification:
    began = time.monotonic()
    with reading_instance(market) as instance, verification_shown(console) as on_bytes:
        found = verify_market(market, stages, instance, on_bytes)
    took = time.monotonic() - began
    console.print(verification_table(market.config.name, found))
    say(console, *verification_lines(market, stages, console, found, took))
    return found


@contextmanager
def verification_shown(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how far a verification is; without a terminal by a line a minute."""
    if console.is_terminal:
        columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began = said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _LINE_EVERY and done:
            said = time.monotonic()
            left = (said - began) / done * (total - done)
            far = f"{bytes_in_words(done)} of {bytes_in_words(total)}"
            say(console, f"  verified {far}, about {time_words(left)} left")

    yield tell


def verification_table(name: str, found: Verification) -> Table:
    """One row a kind of file, and their sum."""
    figures = ("count", "bytes", "intact", "damaged", "missing", "stale", "unknown")
    table = figures_table(name, ["files"], figures)
    whole = Count()
    for kind, count in found.counts.items():
        is_bad = count.damaged or count.missing
        table.add_row(kind, *_cells(count), style="bold red" if is_bad else "")
        for field in ("files", "bytes", "damaged", "missing", "stale", "unknown"):
            setattr(whole, field, getattr(whole, field) + getattr(count, field))
    table.add_section()
    table.add_row("all", *_cells(whole), style="bold")
    return table


def _cells(count: Count) -> tuple[str, ...]:
    numbers = (count.intact, count.damaged, count.missing, count.stale, count.unknown)
    return f"{count.files}", bytes_in_words(count.bytes), *(f"{n or '–'}" for n in numbers)


def verification_lines(
    market: Market, stages: Sequence[Stage], console: Console, found: Verification, took: float
) -> list[str]:
    """The lines below the table: what is wrong by path, and the commands to give."""
    size = sum(count.bytes for count in found.counts.values())
    stale = sum(count.stale for count in found.counts.values())
    lines = [f"verified {bytes_in_words(size)} in {took:.1f} s"]
    for damage in found.damages[:_SHOWN]:
        state = "missing" if damage.is_missing else "damaged"
        lines.append(f"{state}: {damage.path}: {damage.why}")
    if len(found.damages) > _SHOWN:
        lines.append(f"… and {len(found.damages) - _SHOWN} more")
    history = [damage for damage in found.damages if damage.history]
    if history:
        lines.append(
            f"{len(history)} of them are history and cannot be made again as they were: "
            f"`{market.command('restore DIR')}` brings them back from a backup"
        )
        anew = [damage for damage in history if damage.stage]
        lines += [
            f"without a backup, `{one.words}` makes them anew, from then on as backfilled"
            for one in repairs_of(market, stages, console, anew, history=True)
        ]
    differ = sum(damage.may_differ and not damage.history for damage in found.damages)
    if differ:
        lines.append(
            f"{differ} of them may come out otherwise when they are made again: "
            f"`{market.command('restore DIR')}` brings back those that a backup has as they were"
        )
    lines += [
        f"{'then ' if differ else ''}`{one.words}` repairs {'the rest' if history else 'it'}: it "
        f"{one.does}"
        for one in repairs_of(market, stages, console, found.damages)
    ]
    if LEFT in found.counts:
        lines.append(f"`{market.command('prune')}` removes temporary files, by any of its rules")
    if not found.damages:
        lines.append("nothing is damaged or missing")
    if stale:
        lines.append(f"{stale} are stale or still to be made: `{market.command('status')}`")
    return lines


def repairs_of(
    market: Market,
    stages: Sequence[Stage],
    console: Console,
    damages: Sequence[Damage],
    *,
    history: bool = False,
) -> list[Repair]:
    """The commands that make damaged and missing files again.

    Args:
        market: the market.
        stages: its stages.
        console: for what the commands say.
        damages: what is damaged or missing.
        history: take what is history as well.
    """
    wanted = [d for d in damages if d.stage and (history or not d.history)]
    signed = [damage for damage in wanted if not damage.unsigned]
    by_name = {stage.name: stage for stage in stages}
    repairs = []
    if len(signed) < len(wanted):
        words = market.command("upgrade")
        does = "signs files of an earlier release, and computes nothing"
        repairs.append(Repair(words, does, lambda: run_upgrade(market, console)))
    if any(by_name[damage.stage].kind is Kind.FITTED and damage.key == WHOLE for damage in signed):
        words = market.command("refit")
        does = "fits the processors again, on the bars as they are now"
        repairs.append(Repair(words, does, lambda: run_refit(market, console)))
    made = [d for d in signed if by_name[d.stage].kind is not Kind.FITTED or d.key != WHOLE]
    left = set() if history else {(d.stage, d.key) for d in damages if d.history}
    pairs = {(d.stage, market.last_closed() if d.key == WHOLE else d.key) for d in made}
    chosen = [stage for stage in stages if any(stage.name == name for name, _ in pairs)]
    # Stages beside each other with the same sessions share a command; each after what it reads.
    for ranges, group in groupby(chosen, lambda stage: _ranges(market, stage, pairs, left)):
        together = list(group)
        select, does = ",".join(stage.name for stage in together), _does(together)
        for first, last in ranges:
            words = market.command(f"backfill --start {first} --end {last} --select {select}")
            run = partial(run_backfill, market, console, start=first, end=last, select=select)
            repairs.append(Repair(words, does, run))
    return repairs


def _ranges(
    market: Market,
    stage: Stage,
    pairs: Collection[tuple[str, str]],
    left_alone: Collection[tuple[str, str]],
) -> list[tuple[str, str]]:
    """The ranges that cover the damaged sessions of a stage, and none that is left alone.

    A damaged partition that was served is made anew by a backfill that comes by, a damaged bundle
    by one of any session that it is in force for. A day that is no session any more has no
    command: its file is none of the market's.

    Args:
        market: the market.
        stage: the stage.
        pairs: names of stages and sessions whose files are to be made again.
        left_alone: the same of those that nothing may make again.
    """
    keys = sorted(key for name, key in pairs if name == stage.name and key in market.sessions)
    alone = {key for name, key in left_alone if name == stage.name}
    if stage.kind is Kind.MODEL and alone:
        alone |= {key for key in market.sessions.keys if market.plan.anchor(key) in alone}
    ranges: list[tuple[str, str]] = []
    for key in (key for key in keys if key not in alone):
        if ranges and not any(ranges[-1][1] < other < key for other in alone):
            ranges[-1] = ranges[-1][0], key
        else:
            ranges.append((key, key))
    return ranges


def _does(stages: Sequence[Stage]) -> str:
    """Say what a backfill of some stages does, beyond computing."""
    what = []
    if any(stage.is_source for stage in stages):
        what.append("asks the source for the bars again, which it may have restated since")
    models = [str(stage.model) for stage in stages if stage.kind is Kind.MODEL]
    if models:
        what.append(f"trains {', '.join(models)} again where its bundle is damaged")
    return ", and ".join(what) or "computes it again from what is there"
