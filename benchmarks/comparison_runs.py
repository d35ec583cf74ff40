"""The markets of a comparison: what is done, what it took, and how a cell is made.

A cell is made by `rnn-pipelines backfill`, in three calls: what its model reads, its training, then
its predictions, evaluations and portfolio. The product keeps all that is finished, an epoch at
least, so a call that was killed goes on. The record of a cell says that it is done, and the
processor seconds and the peak memory of the processes that trained it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from comparison_cells import AS_QLIB, HERE, WITHOUT_SWITCH, Cell, Grid, market_yaml

from pipelines.assets.stages import stages
from pipelines.config.loader import load_config
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.operations.backfill import is_unfitted

MEASURED = {
    ("lstm", "20"): 350.0,
    ("lstm", "158"): 300.0,
    ("lstm", "alpha360"): 600.0,
    ("gru", "20"): 380.0,
    ("gru", "158"): 300.0,
    ("krnn", "20"): 200.0,
    ("krnn", "158"): 250.0,
    ("krnn", "alpha360"): 320.0,
    ("linear", "20"): 20.0,
    ("linear", "158"): 30.0,
    ("lightgbm", "20"): 11.0,
    ("lightgbm", "158"): 36.0,
}
"""Processor seconds of one training of the CSI300 file, until a cell of the kind is done.

Those of linear and lightgbm are measured; those of networks are reckoned from the seconds of an
epoch and the epochs of earlier trainings (benchmarks/RESULTS.md), wider windows by guess.
"""
BESIDE = 120.0  # processor seconds of features, scores and portfolio of a cell


class CellFailedError(Exception):
    """A command that makes a cell failed; the message has the command's error."""


@dataclass(frozen=True)
class Place:
    """A grid, and the folder that keeps what is made of it.

    Attributes:
        grid: the cells.
        root: the folder of all grids.
        bars: the file of bars; None for the source of the YAML.
        seeds: networks a model.
        kept: the folder of the figures of finished cells of all grids, which is committed.
    """

    grid: Grid
    root: Path
    bars: Path | None
    seeds: int
    kept: Path

    @property
    def folder(self) -> Path:
        """The folder of this grid."""
        return self.root / self.grid.name

    @cached_property
    def plan(self) -> dict[str, Any]:
        """The sessions of the plans, which depend on the calendar."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "calendar.yaml"
        raw = self.grid.raw()
        if self.bars is not None:
            raw["market"]["source"]["path"] = str(self.bars.resolve())
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        market = Market(load_config(path), root=self.folder / "data" / "calendar", read_only=True)
        sessions, lag = market.sessions, market.datasets[0].label_lag
        keys = sessions.keys
        begin, end = (sessions.position(key) for key in self.grid.valid)
        window = market.config.training.window_sessions
        return {
            "first": keys[0],
            "before_valid": keys[begin - 1],
            "purged": keys[begin - lag - 1],  # the newest decision that matured before it
            "valid_sessions": end - begin + 1,
            "first_trained": keys[end + lag],
            "window_start": keys[max(0, end + lag - window + 1)],
        }

    @cache  # noqa: B019 - a place lives as long as the command
    def market(self, name: str) -> Market:
        """A market of the grid, its YAML written."""
        raw = market_yaml(self.grid, name, self.bars, self.seeds, self.plan)
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        return Market(load_config(path), root=self.folder / "data" / name, named=path.name)

    @cached_property
    def digest(self) -> str:
        """The digest of the file of bars; empty without one."""
        return hashlib.sha256(self.bars.read_bytes()).hexdigest() if self.bars else ""

    @cache  # noqa: B019
    def identity(self, cell: Cell) -> str:
        """A digest of the bars and of all settings that decide a cell."""
        raw = market_yaml(self.grid, cell.market, self.bars, self.seeds, self.plan)
        entry = raw["models"][cell.key]
        settings = {**raw, "models": entry, "datasets": raw["datasets"][entry["dataset"]]}
        settings["market"]["source"].pop("path", None)  # where the bars lie is no setting
        text = json.dumps([settings, cell.change, self.digest], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self, cell: Cell) -> dict[str, Any]:
        """Read the record of a cell, which is empty if it has other settings.

        That of a finished cell lies with its kept figures.
        """
        for path in (self.kept_file(cell), self._record(cell)):
            if found := self._of_these_settings(cell, path):
                found.pop("figures", None)
                return found
        return {}

    def is_kept(self, cell: Cell) -> bool:
        """True if the figures of a cell are kept, and are of its settings."""
        return bool(self._of_these_settings(cell, self.kept_file(cell)))

    def _of_these_settings(self, cell: Cell, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found if found.pop("identity", None) == self.identity(cell) else {}

    def kept_file(self, cell: Cell) -> Path:
        """The file that keeps the figures of a finished cell, and its record."""
        return self.kept / self.grid.name / f"{cell.name}.json"

    def note(self, cell: Cell, **facts: Any) -> None:
        """Add facts to the record of a cell."""
        path = self._record(cell)
        path.parent.mkdir(exist_ok=True)
        known = self.record(cell) | {"identity": self.identity(cell)} | facts
        half = path.with_suffix(f".{os.getpid()}")
        half.write_text(json.dumps(known, indent=1) + "\n")
        half.replace(path)

    def _record(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}.json"

    def done(self) -> Iterator[Cell]:
        """The cells that are finished."""
        return (cell for cell in self.grid.cells if self.record(cell).get("done"))

    def trainings(self, cell: Cell) -> int:
        """The networks or estimators that a cell trains; 0 of a rule."""
        if cell.is_rule:
            return 0
        market = self.market(cell.market)
        anchors = sum(map(market.plan_of(cell.key).trains, market.sessions.keys))
        return anchors * (1 if cell.model == "linear" else self.seeds)

    def seconds(self, cell: Cell) -> float:
        """Processor seconds that a cell takes, by the cells of its kind or as measured before."""
        of_kind = [
            self.record(one)["cpu_s"] / self.trainings(one)
            for one in self.done()
            if one.kind == cell.kind and one.change != "warm start" and not one.is_rule
        ]
        each = sum(of_kind) / len(of_kind) if of_kind else MEASURED.get(cell.kind, 0.0)
        return each * self.trainings(cell) + BESIDE

    def make(self, cell: Cell) -> None:
        """Make a cell, or go on with it.

        Raises:
            CellFailedError: a command failed; what was finished before is kept.
        """
        market = self.market(cell.market)
        table = {stage.name: stage for stage in stages(market)}
        read = [
            name
            for name in upstream(table, f"{cell.key}_model")
            if table[name].tables or is_unfitted(market, table[name])
        ]
        self._backfill(market, cell, read)
        if cell.change in WITHOUT_SWITCH:
            script = [sys.executable, str(HERE / "comparison_direct.py"), *map(str, (
                self.folder / f"{cell.market}.yaml", self.scores(cell), cell.key, cell.change,
                self.plan["before_valid" if cell.change in ("no purge", AS_QLIB) else "purged"],
                *self.grid.valid, self.seeds))]  # fmt: skip
            self._run(cell, script, counted=True)
        else:
            self._backfill(market, cell, [f"{cell.key}_model"], counted=True)
            kinds = ("prediction", "evaluation", "portfolio")
            self._backfill(market, cell, [f"{cell.key}_{kind}" for kind in kinds])
        self.note(cell, done=True, when=f"{dt.date.today()}", reason=None)

    def scores(self, cell: Cell) -> Path:
        """The folder of the scores of a cell that the library makes."""
        return self.folder / "scores" / f"{cell.name}-{self.identity(cell)}"

    def _backfill(
        self, market: Market, cell: Cell, select: Sequence[str], *, counted: bool = False
    ) -> None:
        keys = market.sessions.keys
        command = ["backfill", "--start", keys[0], "--end", keys[-1], "--select", ",".join(select)]
        program = Path(sys.executable).with_name("rnn-pipelines")
        self._run(cell, [program, *command, "--config", f"{cell.market}.yaml"], counted=counted)

    def _run(self, cell: Cell, command: Sequence[Any], *, counted: bool) -> None:
        """Run a command, its output in the log of the cell, and count what it used.

        Raises:
            CellFailedError: it failed.
        """
        log = self.folder / "logs" / f"{cell.name}.log"
        log.parent.mkdir(exist_ok=True)
        paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "RNN_DATA_DIR": str(self.folder.resolve() / "data"),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
        }
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - our own command
                [str(word) for word in command],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                usage, peak = _waited(child)
            except BaseException:
                child.terminate()
                usage, peak = _waited(child)
                raise
            finally:
                if counted and child.returncode is not None:
                    self._count(cell, usage, peak)
        if child.returncode:
            lines = log.read_text(errors="replace").splitlines()
            errors = [line for line in lines if re.search(r"^\s*(\w+\.)*\w*[eE]rror: ", line)]
            why = " ".join(errors[-1].split()) if errors else f"exit status {child.returncode}"
            raise CellFailedError(f"{why} (logs/{log.name})")

    def _count(self, cell: Cell, usage: Any, peak: int) -> None:
        """Add what a process used to the record, also of one that was stopped."""
        before = self.record(cell)
        self.note(
            cell,
            cpu_s=round(before.get("cpu_s", 0.0) + usage.ru_utime + usage.ru_stime, 1),
            peak_mb=max(before.get("peak_mb", 0), peak),
        )


def _waited(child: subprocess.Popen[bytes]) -> tuple[Any, int]:
    """Wait for a process; what it used, and its peak memory in MB (0 where /proc has none).

    `ru_maxrss` would be no less than that of this process, from which the child was forked.
    """
    status_file, peak = Path(f"/proc/{child.pid}/status"), 0
    while True:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+) kB", status_file.read_text())
            peak = max(peak, int(found[1]) // 1024 if found else 0)
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return usage, peak
        time.sleep(0.2)


def upstream(table: Mapping[str, Stage], name: str) -> list[str]:
    """The stages that one is made from, itself left out, in the order of the table."""
    found, left = set[str](), list(table[name].deps)
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += table[one].deps
    return [one for one in table if one in found]
