"""A process that is killed at any point loses nothing. Oracle: a run that was not disturbed.

A chain of kills: each ends a real process, at a point that the undisturbed run reached (the first
or a later write, rename, commit, … of a part of the data folder: before it, after it, or with half
of the bytes written) or at a random time, and the same command is given again. At last it runs to
its end; then `status` says what it says of the undisturbed market, every byte is that one's, and no
lock, temporary file or unfinished run is left.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults import market
from tests.faults.commands import KILLED, Command, good, run
from tests.faults.conftest import LONG
from tests.faults.points import AFTER, BEFORE, HALF, KILL, Fault
from tests.pipelines.conftest import make_market, merged
from tests.pipelines.finished_markets import as_of_an_earlier_release

RANGE = ("--start", market.NEXT, "--end", market.LAST)
POINTS, TIMES = "points", "times"


def _sessions(states: Path, folder: Path) -> None:
    market.put(states / "until", folder)


def _reports(states: Path, folder: Path) -> None:
    market.put(states / "whole", folder)
    shutil.rmtree(folder / "data/tiny/reports")
    shutil.rmtree(folder / "data/reports")


def _record(states: Path, folder: Path) -> None:
    market.put(states / "whole", folder)
    shutil.rmtree(folder / "data/dagster")


def _served(states: Path, folder: Path) -> None:
    market.put(states / "whole", folder)
    market.serve(folder)
    good(folder, "sync")


def _changed(folder: Path, changes: dict[str, Any]) -> None:
    """Change the YAML of a folder."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes)))


def _unneeded(states: Path, folder: Path) -> None:
    """Bundles of which the newest alone keeps its weights, and an old revision."""
    market.put(states / "whole", folder)
    _changed(folder, {"retention": {"bundles": 1, "revision_days": 1, "unit_days": 1}})
    unit = folder / "data/tiny/units/gru/2020-04-01/0/checkpoint"
    unit.parent.mkdir(parents=True)
    unit.write_bytes(b"cut off")
    os.utime(unit, (0, 0))


def _moving_fit(states: Path, folder: Path) -> None:
    """Processors that are fitted anew as time goes on, each session with its state."""
    market.put(states / "whole", folder)
    rolling = {"fit": {"rolling": {"window_sessions": 30}}, "fit_start": None, "fit_end": None}
    _changed(folder, {"dataset": rolling})
    good(
        folder, "backfill", "--start", "2020-04-01", "--end", market.LAST, "--select", "processors"
    )


def _earlier(states: Path, folder: Path) -> None:
    """A market in the form of releases that gave no identity."""
    market.put(states / "whole", folder)
    as_of_an_earlier_release(make_market(folder / "data/tiny"))


def _damaged(states: Path, folder: Path) -> None:
    """A market with a backup, of which files of several kinds were damaged or lost since."""
    _served(states, folder)
    good(folder, "backup", str(folder / "backup"))
    state = folder / "data/tiny"
    tables = state / "warehouse"
    (tables / "market.json").write_bytes(b"")
    for path in (*tables.glob(f"*/date={market.LAST}/*.parquet"), *state.glob("models/gru/*/w*")):
        path.write_bytes(path.read_bytes()[:-1])
    for path in tables.glob(f"ohlcv*/date={market.NEXT}/*.parquet"):
        path.unlink()


@dataclass(frozen=True)
class Work:
    """A command that is killed.

    Attributes:
        words: the command; `{folder}` stands for the folder of the state.
        begin: puts the state at which it begins into a folder.
        points: chains of kills at points, and kills of each; of the short form and of the long.
        times: likewise at random times.
    """

    words: tuple[str, ...]
    begin: Callable[[Path, Path], None]
    points: tuple[tuple[int, int], tuple[int, int]]
    times: tuple[tuple[int, int], tuple[int, int]]

    def of(self, folder: Path) -> tuple[str, ...]:
        """The command for a folder."""
        return tuple(word.format(folder=folder) for word in self.words)


WORKS = {
    "sessions": Work(
        market.WORDS,
        _sessions,
        ((1, 9), (12, 12)),
        ((1, 3), (4, 8)),
    ),
    "reports": Work(
        ("backfill", *RANGE, "--select", market.REPORTS),
        _reports,
        ((1, 2), (4, 4)),
        ((0, 0), (1, 4)),
    ),
    "record": Work(("sync",), _record, ((1, 4), (3, 8)), ((1, 2), (1, 8))),
    "served": Work(
        ("backfill", *RANGE, "--force", "--republish", "--select", "gru_model,gru_prediction"),
        _served,
        ((1, 4), (4, 8)),
        ((0, 0), (1, 4)),
    ),
    "prune": Work(("prune",), _unneeded, ((1, 3), (2, 6)), ((0, 0), (1, 3))),
    "refit": Work(("refit",), _moving_fit, ((0, 0), (2, 6)), ((0, 0), (1, 3))),
    "upgrade": Work(("upgrade",), _earlier, ((0, 0), (2, 8)), ((0, 0), (1, 4))),
    "restore": Work(("restore", "{folder}/backup"), _damaged, ((0, 0), (2, 6)), ((0, 0), (1, 3))),
    "demo": Work(("demo",), _sessions, ((0, 0), (2, 8)), ((0, 0), (1, 3))),
}
CASES = [
    (name, how, chain)
    for name, work in WORKS.items()
    for how in (POINTS, TIMES)
    for chain in range(getattr(work, how)[LONG][0])
]


@dataclass
class Undisturbed:
    """A run that nobody disturbed.

    Attributes:
        folder: where it ended.
        reached: the kinds and groups of points that it reached, in this order, and their numbers.
        seconds: it took so many of the CPU.
        status: `status` says this afterwards.
    """

    folder: Path
    reached: dict[tuple[str, str], int]
    seconds: float
    status: str


@pytest.fixture(scope="session")
def undisturbed(states, tmp_path_factory) -> Callable[[str], Undisturbed]:
    """The undisturbed run of each work, made when it is first asked for."""
    made: dict[str, Undisturbed] = {}

    def of(name: str) -> Undisturbed:
        if name not in made:
            work, folder = WORKS[name], tmp_path_factory.mktemp("undisturbed") / name
            work.begin(states, folder)
            command = run(folder, *work.of(folder), trace=True)
            assert command.status == 0, command.said()
            made[name] = Undisturbed(folder, *command.traced(), market.status(folder))
        return made[name]

    return of


def chosen(whole: Undisturbed, seed: str, chain: int, chains: int, kills: int) -> Iterator[Fault]:
    """The faults of a chain, in the order in which a run reaches them.

    The chains of a long form share out all kinds and groups of points among them.
    """
    dice = random.Random(f"{seed} {chain}")
    every = list(whole.reached)
    own = list(range(len(every)))[chain::chains]
    for at in sorted(dice.sample(own, min(kills, len(own)))):
        (kind, group), count = every[at], whole.reached[every[at]]
        later = frozenset(place for place in every[at + 1 :] if place[0] in ("write", "rename"))
        moment = dice.choice((BEFORE, HALF, AFTER) if kind == "write" else (BEFORE, AFTER))
        # What is done is not done again, so that a later number may not come any more.
        number = dice.randrange(min(count, 40)) if kind == "commit" else 0
        yield Fault(KILL, kind, group, number, moment, later)


@pytest.mark.parametrize(
    ("name", "how", "chain"), CASES, ids=["-".join(map(str, c)) for c in CASES]
)
def test_a_killed_process_loses_nothing(states, undisturbed, tmp_path, name, how, chain, noted):
    work, whole = WORKS[name], undisturbed(name)
    folder = tmp_path / "killed"
    work.begin(states, folder)
    chains, kills = getattr(work, how)[LONG]
    met, planned = [], kills
    if how == POINTS:
        faults = list(chosen(whole, name, chain, chains if LONG else 1, kills))
        planned = len(faults)
        for fault in faults:
            command = run(folder, *work.of(folder), fault=fault)
            assert command.status in (KILLED, 0), f"{fault}: {command.said()}"
            if command.status == KILLED:
                met.append(str(fault))
    else:
        dice = random.Random(f"{name} {chain}")
        for _ in range(kills):
            share = dice.uniform(0.02, 0.9)
            command = Command(folder, work.of(folder))
            while command.process.is_alive() and command.seconds() < share * whole.seconds:
                time.sleep(0.005)
            command.process.kill()
            if command.wait() == KILLED:
                met.append(f"kill after {share:.0%} of {whole.seconds:.1f} CPU seconds")
    for what in met:
        noted(f"{name}: {what}")
    assert 2 * len(met) >= planned, f"too few kills were met: {met}"
    good(folder, *work.of(folder))
    assert market.differences(folder, whole.folder) == [], met
    assert market.status(folder) == whole.status, met
