"""A full disk, a folder that cannot be written, lost permissions, and a clock that was moved.

The disk is full from the n-th write of a part of the data folder on, as the process sees it; with
the right to mount one, a small file system is full in truth, for SQLite and DuckDB too. Sources
that hang, truncate or lie are tested in `tests/pipelines/sources` (`test_network.py`,
`test_database.py`, `test_damaged_files.py`, `test_transient.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults import market
from tests.faults.commands import good, run
from tests.faults.conftest import LONG
from tests.faults.points import FULL, HALF, Fault

ORDINARY = 65534
STAGES = (
    "warehouse/ohlcv",
    "warehouse/alpha158",
    "warehouse/label",
    "warehouse/dataset_infer",
    "warehouse/dataset_learn",
    "models/gru",
    "warehouse/gru_prediction",
    "warehouse/gru_evaluation",
    "warehouse/gru_portfolio",
)


@pytest.mark.parametrize("stage", STAGES if LONG else STAGES[::4])
def test_a_full_disk_is_an_error_and_what_was_made_stays(
    states,
    completed,
    tmp_path,
    noted,
    stage,
):
    folder = market.put(states / "until", tmp_path / "full")
    command = run(folder, *market.WORDS, fault=Fault(FULL, "write", stage, 1, HALF))
    noted(f"full disks: {stage}")
    assert command.status == 1, command.said()
    assert "Traceback" not in command.said()
    assert "No space left" in command.said() or "disk is full" in command.said()
    good(folder, *market.WORDS)
    assert market.differences(folder, completed) == []


def test_a_small_file_system_that_is_full(states, completed, tmp_path, noted):
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only, where the system allows it")
    try:
        market.put(states / "until", folder / "full")
        filler = folder / "filler"
        with filler.open("wb") as file:
            left = shutil.disk_usage(folder).free - 300_000
            file.write(bytes(left))
        command = run(folder / "full", *market.WORDS)
        noted("full disks: a small file system")
        assert command.status == 1
        filler.unlink()
        good(folder / "full", *market.WORDS)
        assert market.differences(folder / "full", completed) == []
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_ordinary_user_without_the_right_to_write_is_told_so(states, completed, tmp_path, noted):
    """The market is another user's: writing names the folder, and nothing changes."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if any(not folder.stat().st_mode & 0o001 for folder in Path(os.__file__).parents):
        pytest.skip(f"another user cannot read Python itself, {os.__file__}")
    folder = market.put(states / "until", tmp_path / "foreign")
    for parent in folder.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent.is_relative_to(tmp_path.parents[1]):
            parent.chmod(parent.stat().st_mode | 0o055)
    before = market.contents(folder)
    (folder / "said-0.txt").touch()
    command = run(folder, *market.WORDS, user=ORDINARY)
    noted("permissions: another user's market")
    assert command.status == 1, command.said()
    assert "Traceback" not in command.said()
    assert str(folder / "data") in command.said()
    assert market.contents(folder) == before
    good(folder, *market.WORDS)
    assert market.differences(folder, completed) == []


@pytest.mark.parametrize("moment", ["2020-05-15T22:00", "2035-01-01T00:00"])
def test_a_clock_that_was_moved_changes_no_byte(states, completed, tmp_path, noted, moment):
    """Back to the evening of the last session but one of the range, or years ahead."""
    folder = market.put(states / "until", tmp_path / "clock")
    clock = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    command = run(folder, *market.WORDS, clock=clock)
    noted(f"clocks: {moment}")
    assert command.status == 0, command.said()
    good(folder, *market.WORDS)
    assert market.differences(folder, completed) == []
