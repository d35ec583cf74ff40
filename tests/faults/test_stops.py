"""Signals, several processes at once, and readers beside a writer.

A container's stop, Ctrl-C and the end of a terminal: the command ends soon, or goes on where the
signal is ignored, and the same command completes the work. What the UI and its daemon do with
signals is tested in `tests/pipelines/instance/test_ui_process.py`, a killed daemon in `tests/ui`.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.faults import market
from tests.faults.commands import Command, good
from tests.faults.conftest import LONG


def _written(folder: Path) -> int:
    return len(list((folder / "data/tiny/warehouse").glob(f"*/date={market.NEXT}/*.parquet")))


def _once_at_work(command: Command) -> None:
    """Wait until the command has written a partition."""
    until = time.monotonic() + 120
    before = 0
    while _written(command.folder) == before and time.monotonic() < until:
        time.sleep(0.01)
    assert _written(command.folder) > before, command.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_the_next_completes_it(
    states, completed, tmp_path, noted, number
):
    folder = market.put(states / "until", tmp_path / "stopped")
    command = Command(folder, market.WORDS)
    _once_at_work(command)
    command.signal(number)
    status = command.wait()
    noted(f"signals: {number.name} ended it with {status}")
    assert status in (130, 1, -number), command.said()
    if number == signal.SIGINT:
        assert "Traceback" not in command.said()
        assert "run the same command again" in command.said()
    good(folder, *market.WORDS)
    assert market.differences(folder, completed) == []


def test_a_closed_terminal_ends_nothing_under_nohup(states, completed, tmp_path, noted):
    folder = market.put(states / "until", tmp_path / "nohup")
    command = Command(folder, market.WORDS, options={"ignored": [signal.SIGHUP]})
    _once_at_work(command)
    command.signal(signal.SIGHUP)
    noted("signals: SIGHUP ignored")
    assert command.wait() == 0, command.said()
    assert market.differences(folder, completed) == []


@pytest.mark.parametrize("count", [2, 5] if LONG else [2])
def test_runs_of_one_range_at_once_make_it_once(states, completed, tmp_path, noted, count):
    folder = market.put(states / "until", tmp_path / "together")
    commands = [Command(folder, market.WORDS) for _ in range(count)]
    noted(f"together: {count}")
    assert [command.wait() for command in commands] == [0] * count, [c.said() for c in commands]
    assert market.differences(folder, completed) == []


READERS = {
    "pandas": lambda path: len(pd.read_parquet(path)),
    "polars": lambda path: len(pl.read_parquet(path, hive_partitioning=False)),
    "duckdb": lambda path: len(duckdb.connect().execute(f"FROM '{path}'").fetchall()),
}


def test_readers_beside_a_writer_see_whole_partitions(states, completed, tmp_path, noted):
    """All partitions are written again and again read; a reader sees a whole file or none."""
    folder = market.put(states / "until", tmp_path / "read")
    command = Command(folder, (*market.WORDS, "--force"))
    tables = folder / "data/tiny/warehouse"
    reads = 0
    while command.process.is_alive() or not reads:
        for path in tables.glob(f"*/date={market.LAST}/part-0.parquet"):
            rows = {name: read(path) for name, read in READERS.items()}
            assert len(set(rows.values())) == 1, (path, rows)
            reads += len(rows)
        time.sleep(0.01)
    noted(f"readers: {reads} reads")
    assert command.wait() == 0, command.said()
    assert market.differences(folder, completed) == []
