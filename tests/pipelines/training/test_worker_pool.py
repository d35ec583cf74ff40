"""The ends of workers. Oracle: the system's own list of processes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.pipelines.processes import start_python, wait_until

pytestmark = pytest.mark.cluster  # processes side by side: minutes on two cores

LONG = {
    "training": {"seeds": 2, "device": "cpu"},
    "models": {"lstm": {"hidden_size": 16, "n_epochs": 5000, "early_stop": 5000}},
}
OWNER = """
import sys
from pathlib import Path
from pipelines.training.train import ensure_trained
from pipelines.training.worker_pool import Slot, WorkerPool
from tests.pipelines.conftest import make_market
from tests.pipelines.training.test_worker_pool import LONG

market = make_market(Path(sys.argv[1]), LONG)
pool = WorkerPool(market, [Slot("cpu", {})] * 2)

def on_epoch(unit, report):
    Path(sys.argv[2]).write_text(" ".join(str(process.pid) for process in pool._processes))

try:
    ensure_trained(
        market, market.models[0], "2020-04-01", log=print, on_epoch=on_epoch, executor=pool
    )
except KeyboardInterrupt:
    sys.exit(130)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(n, marks=pytest.mark.thorough) for n in (signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_the_end_of_the_owner_is_the_end_of_its_workers(finished, tmp_path, number):
    """The owner trains the networks of another configuration than the market's."""
    shutil.copytree(finished.paths.root, tmp_path / "tiny")
    told = tmp_path / "pids"
    owner = start_python(OWNER, tmp_path / "tiny", told)
    wait_until(owner, "two workers at work", lambda: len(pids(told)) == 2)
    workers = pids(told)
    assert all(is_alive(pid) for pid in workers)
    os.kill(owner.pid, number)
    owner.communicate(timeout=60)
    assert owner.returncode == {signal.SIGINT: 130}.get(number, -number)
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in workers)


def pids(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []
