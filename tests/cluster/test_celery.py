"""Units on Celery: two workers on a Redis, one of them killed in the middle of its training.

Oracle: the bundle of the same seeds that one process trained, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from pipelines.config.executor import ENV_EXECUTOR
from pipelines.config.loader import load_config
from pipelines.instance.home import dagster_instance
from pipelines.instance.market_list import keep_config
from pipelines.instance.names import TRAIN_UNITS
from pipelines.market.market import Market
from pipelines.training.train import ensure_trained
from tests.pipelines.conftest import TINY, make_market, merged, own_record, run_data
from tests.pipelines.processes import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]
pytest.importorskip("dagster_celery", reason="needs the extra celery")

ROOT = Path(__file__).parents[2]
EPOCHS = 150  # some seconds
WORKER = """\
broker_url, result_backend = "{url}/0", "{url}/1"
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
broker_transport_options = {{"visibility_timeout": 20, "unacked_restore_limit": None}}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis of this test."""
    port = free_port()
    words = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_until(server, "redis", answers)
    yield f"redis://127.0.0.1:{port}"
    server.kill()
    server.communicate()


@pytest.fixture
def market(tmp_path: Path, redis: str, monkeypatch: pytest.MonkeyPatch) -> Market:
    """A market whose units are trained by Celery, with its data and without a model."""
    config = {"broker": f"{redis}/0", "backend": f"{redis}/1"}
    executor = {"kind": "dagster", "run_with": "dagster_celery:celery_executor", "config": config}
    lstm = {"hidden_size": 16, "n_epochs": EPOCHS, "early_stop": EPOCHS}
    changes = {
        "training": {"seeds": 3, "device": "cpu", "executor": executor},
        "models": {"lstm": lstm},
    }
    monkeypatch.delenv(ENV_EXECUTOR, raising=False)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(merged(TINY, changes)))
    for name, value in (
        ("RNN_DATA_DIR", str(tmp_path / "data")),
        ("RNN_CONFIG", str(path)),
        ("DAGSTER_HOME", str(tmp_path / "data" / "dagster")),
    ):
        monkeypatch.setenv(name, value)
    market = make_market(tmp_path / "data" / "tiny", {**changes, "training": {"seeds": 3}})
    with own_record() as record:
        run_data(market, record)
    keep_config(market.paths, path)
    return Market(load_config(path), named=str(path))


@pytest.fixture
def workers(market: Market, redis: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two Celery workers of a unit each at a time, in process groups of their own."""
    (tmp_path / "dagster_celery_config.py").write_text(WORKER.format(url=redis))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    words = ["-m", "celery", "-A", "dagster_celery.app", "worker", "--concurrency=1"]
    started = [
        subprocess.Popen(
            [sys.executable, *words, "-Q", "dagster", "-n", name, "--loglevel=ERROR"],
            env=environment,
            cwd=tmp_path,
            start_new_session=True,
        )
        for name in ("one", "two")
    ]
    yield started
    for worker in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def at_work(market: Market) -> Mapping[int, str]:
    """The processes that train a unit which has a checkpoint, with the unit's key."""
    found = {}
    for path in (market.paths.root.parent / ".locks" / "tiny" / "units").glob("*.lock"):
        key = path.stem
        if any((market.paths.units / key / "checkpoint").glob("*.safetensors")):
            with contextlib.suppress(ValueError):
                found[int(json.loads(path.read_bytes())["pid"])] = key
    return found


def bundle_bytes(market: Market) -> Mapping[str, bytes]:
    folder = market.paths.models / "lstm"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_unit_of_a_killed_worker_is_trained_by_the_other(
    market: Market, workers: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    anchor = market.plan.first_trained
    script = "import sys; from pipelines.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["backfill", "--start", anchor, "--end", anchor, "--select", "lstm_model"]
    log = tmp_path / "backfill.log"
    with log.open("wb") as out:
        command = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.PIPE,
        )
    groups = {worker.pid: worker for worker in workers}
    victims: list[int] = []

    def trains() -> bool:
        for pid in at_work(market):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) in groups:
                    victims.append(os.getpgid(pid))
                    return True
        return False

    wait_until(command, "a unit at work", trains)
    os.killpg(victims[0], signal.SIGKILL)  # as a host that loses its power
    _, errors = command.communicate(timeout=240)
    assert command.returncode == 0, errors.decode() + log.read_text()
    with dagster_instance(market) as record:
        runs = [run for run in record.get_runs() if run.job_name == f"tiny_{TRAIN_UNITS}"]
        assert [run.is_success for run in runs] == [True]
        epochs = [
            entry.user_message
            for entry in record.all_logs(runs[0].run_id)
            if " epoch " in entry.user_message
        ]
    # No epoch was trained twice: the unit went on from its checkpoint, the others were left alone.
    # (The epoch that it was killed after may have its checkpoint and no line in the log.)
    assert len(epochs) == len(set(epochs)) >= 3 * EPOCHS - 1
    joined = bundle_bytes(market)
    shutil.rmtree(market.paths.models)
    (lstm,) = [spec for spec in market.models if spec.name == "lstm"]
    ensure_trained(market, lstm, anchor, log=print, on_epoch=lambda *_: None)
    assert bundle_bytes(market) == joined
