"""Locks between processes, in files and in Postgres.

The oracle is the kernel: every holder here is a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import yaml

from pipelines.build import build_definitions
from pipelines.errors import WarehouseError
from pipelines.instance import file_lock, locks, record_lock
from pipelines.instance.locks import training_lock, writer_lock
from pipelines.operations.runs import run_assets
from tests.pipelines.conftest import key_of, make_market
from tests.pipelines.processes import Forked, wait_until
from tests.pipelines.records import POSTGRES, on_both_records, postgres_storage

pytestmark = on_both_records

PREAMBLE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from pipelines.instance import file_lock, locks, record_lock
record_lock.POLL_SECONDS = 0.01
market = SimpleNamespace(paths=SimpleNamespace(root=Path(sys.argv[1])))
file_lock.POLL_SECONDS = 0.005
locks.accelerator_id = lambda device: "GPU-0"
def say(text): print(text, flush=True)
"""
HOLD_WRITER = """
with locks.writer_lock(market, sys.argv[2], run_id="0123456789"):
    say("held"); time.sleep(60)
"""
HOLD_GPU = """
with locks.writer_lock(market, "lstm_model", run_id="abcdefghij"):
    with locks.training_lock(market, "cuda"):
        say("held"); time.sleep(60)
"""
HOLD_AND_FORK = """
import os
with locks.writer_lock(market, sys.argv[2]):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    say(f"held {child}"); time.sleep(60)
"""
COUNT = """
# Reads, waits and writes back: without the lock, steps of the other processes are lost.
counter = Path(sys.argv[2])
for _ in range(25):
    with locks.writer_lock(market, "ohlcv"):
        value = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(value + 1))
"""


@pytest.fixture(autouse=True)
def settings(tmp_path, record_kind):
    """Those of the data root: they say in which kind of record its locks are."""
    if record_kind == POSTGRES:
        (tmp_path / "dagster").mkdir()
        storage = yaml.safe_dump({"storage": postgres_storage(tmp_path)})
        (tmp_path / "dagster" / "dagster.yaml").write_text(storage)


@pytest.fixture
def holding(tmp_path, monkeypatch):
    """Starts a process and comes back once it holds its lock; what lives on is killed."""
    for room in (file_lock, record_lock):
        monkeypatch.setattr(room, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(locks, "accelerator_id", lambda device: "GPU-0")
    started: list[Forked] = []

    def start(script: str, *arguments: str | Path) -> Forked:
        started.append(Forked(PREAMBLE + script, tmp_path / "tiny", *arguments))
        wait_until(started[-1], "its lock", lambda: started[-1].said().endswith("\n"))
        assert started[-1].said().startswith("held"), started[-1].said()
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def is_free(lock) -> bool:
    """Whether a lock can be taken at once."""

    class Waited(Exception):
        pass

    def give_up(text: str) -> None:
        raise Waited(text)

    try:
        with lock(give_up):
            return True
    except Waited:
        return False


def test_an_asset_has_one_writer_at_a_time(holding, market):
    holder = holding(HOLD_WRITER, "ohlcv")
    assert not is_free(lambda told: writer_lock(market, "ohlcv", on_wait=told))
    assert is_free(lambda told: writer_lock(market, "label", on_wait=told))
    other = make_market(market.paths.root.parent / "other")
    assert is_free(lambda told: writer_lock(other, "ohlcv", on_wait=told))
    holder.kill()
    holder.wait()
    assert is_free(lambda told: writer_lock(market, "ohlcv", on_wait=told))


def test_a_device_has_one_training_at_a_time_across_markets(holding, market, monkeypatch):
    holder = holding(HOLD_GPU)
    other = make_market(market.paths.root.parent / "other")
    for of in (market, other):
        assert not is_free(lambda told, of=of: training_lock(of, "cuda", on_wait=told))
    monkeypatch.setattr(locks, "accelerator_id", lambda device: "GPU-1")
    assert is_free(lambda told: training_lock(market, "cuda:1", on_wait=told))
    monkeypatch.setattr(locks, "accelerator_id", lambda device: "GPU-0")
    holder.kill()
    holder.wait()
    assert is_free(lambda told: training_lock(market, "cuda", on_wait=told))


def test_trainings_on_the_cpu_may_overlap(market):
    with training_lock(market, "cpu"), training_lock(market, "cpu"):
        assert not (market.paths.root.parent / locks.FOLDER).exists()


def test_who_waits_is_told_for_whom(holding, market, monkeypatch):
    holder = holding(HOLD_GPU)
    told: list[str] = []
    noted: list[tuple[str, str]] = []

    class Sink:
        def note(self, asset, text):
            noted.append((asset, text))

    def release(text):
        told.append(text)
        holder.kill()

    monkeypatch.setattr(locks, "progress", Sink)
    with writer_lock(market, "gru_model", run_id="run2"), training_lock(
        market, "cuda", on_wait=release
    ):  # fmt: skip
        mine = json.loads((market.paths.root.parent / ".locks" / "gpu-GPU-0.lock").read_text())
    text = (
        f"waiting for the accelerator cuda: process {holder.pid} (run abcdefgh, lstm_model) is at "
        f"work on it"
    )
    assert told == [text]
    assert noted == [("gru_model", text)]
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    assert mine == {**me, "run_id": "run2", "asset": "gru_model"}


def test_waiting_can_be_interrupted(holding, market):
    """Ctrl-C comes while the process sleeps between two looks."""
    holder = holding(HOLD_WRITER, "ohlcv")

    def interrupt(text):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup
    try:
        with pytest.raises(KeyboardInterrupt), writer_lock(market, "ohlcv", on_wait=interrupt):
            pytest.fail("the lock is held by another process")
    finally:
        signal.signal(signal.SIGINT, before)
    holder.kill()
    holder.wait()
    assert is_free(lambda told: writer_lock(market, "ohlcv", on_wait=told))


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(holding, market):
    holder = holding(HOLD_AND_FORK, "ohlcv")
    child = int(holder.said().split()[1])
    assert not is_free(lambda told: writer_lock(market, "ohlcv", on_wait=told))
    holder.kill()
    holder.wait()
    os.kill(child, 0)  # the child lives on
    try:
        # It lets go of the descriptor as soon as it is given a processor.
        tries = (
            is_free(lambda told: writer_lock(market, "ohlcv", on_wait=told)) for _ in range(50)
        )
        assert any(free or time.sleep(0.1) for free in tries)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.thorough  # the faults have five runs of one range
def test_nothing_is_lost_between_processes_that_write(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    several = [Forked(PREAMBLE + COUNT, tmp_path / "tiny", counter) for _ in range(3)]
    assert [one.wait() for one in several] == [0, 0, 0]
    assert counter.read_text() == "75"


def test_a_run_waits_for_the_writer_of_its_asset(holding, market, instance, monkeypatch):
    """A second run of the same asset writes nothing until the first lets go."""
    holder = holding(HOLD_WRITER, "ohlcv")
    key = market.sessions.first
    seen: list[bool] = []

    class Sink(type(locks.progress())):
        def note(self, asset, text):
            seen.append((market.paths.warehouse / "ohlcv").exists())
            threading.Timer(0.3, holder.kill).start()

    monkeypatch.setattr(locks, "progress", Sink)
    run_id = run_assets(build_definitions(market), instance, ["ohlcv"], (key, key))
    assert seen and not any(seen)
    logged = [entry.user_message for entry in instance.all_logs(run_id)]
    assert any(f"process {holder.pid} (run 01234567, ohlcv)" in text for text in logged)
    assert instance.get_materialized_partitions(key_of("ohlcv")) == {key}


def test_a_folder_that_cannot_hold_locks_is_named(market, record_kind):
    if record_kind == POSTGRES:
        (market.paths.dagster / "dagster.yaml").unlink()
    (market.paths.root.parent / locks.FOLDER).write_text("a file in the way")
    message = r"cannot make the lock .*ohlcv\.lock.*RNN_DATA_DIR"
    with pytest.raises(WarehouseError, match=message), writer_lock(market, "ohlcv"):
        pytest.fail("there is no lock to hold")


def test_an_accelerator_is_told_by_its_uuid(monkeypatch):
    """`cuda:0` of one process may be `cuda:1` of another."""
    import torch

    class Properties:
        uuid = "GPU-5d1c"

    assert locks.accelerator_id("cpu") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert locks.accelerator_id("cuda:1") == locks.accelerator_id("auto") == "GPU-5d1c"
    with pytest.raises(ValueError, match="'cuda:7' was asked for and 2 CUDA devices are visible"):
        locks.accelerator_id("cuda:7")


def test_the_lock_of_a_process_that_ends_is_taken_at_the_next_look(holding, market, monkeypatch):
    holder = holding(HOLD_WRITER, "ohlcv")
    for room in (file_lock, record_lock):
        monkeypatch.setattr(room, "POLL_SECONDS", 1.0)  # far beyond what a busy machine dawdles
    ended: list[float] = []

    def release(text: str) -> None:
        holder.kill()
        holder.wait()
        ended.append(time.monotonic())

    with writer_lock(market, "ohlcv", on_wait=release):
        assert 1.0 <= time.monotonic() - ended[0] < 2.0  # one look, not two


def test_a_lock_that_the_same_thread_holds_is_an_error_and_no_wait_for_ever(market):
    with (
        writer_lock(market, "ohlcv"),
        pytest.raises(RuntimeError, match="Deadlock"),
        writer_lock(market, "ohlcv"),
    ):
        pytest.fail("the lock is held")
