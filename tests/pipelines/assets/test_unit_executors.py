"""The executors of units behind the model assets.

Oracle: the finished market, whose bundles one process trained one after the other.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.assets import unit_executors
from pipelines.assets.stages import stages
from pipelines.assets.train_units import UnitRuns
from pipelines.config.executor import ENV_EXECUTOR, MULTIPROCESS, executor_config
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.instance.home import dagster_instance
from pipelines.instance.market_list import keep_config
from pipelines.instance.names import TRAIN_UNITS
from pipelines.market.market import Market
from pipelines.staleness.status_report import status_report
from pipelines.training.executor import Inline
from pipelines.training.train import ensure_trained
from pipelines.training.worker_pool import Slot, WorkerPool
from tests.pipelines.conftest import TINY, materialize, merged, partition_bytes
from tests.pipelines.finished_markets import copy_of, put_on_record

pytestmark = pytest.mark.cluster  # processes side by side: minutes on two cores

MODELS = ("lstm_model", "gru_model", "krnn_model")
LAST = "2020-05-15"


@pytest.fixture(autouse=True)
def _no_executor_of_the_host(monkeypatch):
    monkeypatch.delenv(ENV_EXECUTOR, raising=False)


def bundles_of(market: Market) -> dict[str, bytes]:
    root = market.paths.models
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def without_models(finished: Market, root: Path, changes=None) -> Market:
    """A copy of the finished market whose models are not trained yet."""
    market = copy_of(finished, root, changes=changes)
    shutil.rmtree(market.paths.models)
    for name in MODELS:
        shutil.rmtree(market.paths.warehouse / name)
    return market


def train_models(market: Market, instance) -> None:
    materialize(market, MODELS, market.plan.first_trained, LAST, instance)


@pytest.mark.slow
def test_a_run_with_processes_makes_what_one_process_makes(
    finished, tmp_path, instance, monkeypatch
):
    """Three models over three anchors, in two workers; the loggers are told every epoch."""
    monkeypatch.setattr(unit_executors, "pool_of", lambda market, workers: pool)
    noted = tmp_path / "noted.jsonl"
    loggers = {"tests.pipelines.training.loggers:Noting": {"path": str(noted)}}
    changes = {"training": {"executor": "processes"}, "tracking": loggers}
    market = without_models(finished, tmp_path / "tiny", changes)
    pool = WorkerPool(market, [Slot("cpu", {})] * 2)
    submitted = []
    monkeypatch.setattr(pool, "submit", lambda units: (submitted.append(units), add(units)))
    add = WorkerPool.submit.__get__(pool)
    put_on_record(market, instance)
    train_models(market, instance)
    pool.close()
    assert bundles_of(market) == bundles_of(finished)
    assert partition_bytes(market) == partition_bytes(finished)
    # The first stage has planned for all: seeds, sessions and models are trained side by side.
    anchors = [key for key in market.sessions.keys if market.plan.trains(key)]
    assert {(u.model, u.as_of) for u in submitted[0]} == {
        (name.removesuffix("_model"), anchor) for name in MODELS for anchor in anchors
    }
    told = [json.loads(line) for line in noted.read_text().splitlines()]
    for event, count in (("start", 9), ("epoch", 18), ("end", 9)):
        assert sum(name == event for name, _ in told) == count
    session = ""
    for event, facts in told:  # one training at a time
        session = facts["session"] if event == "start" else session
        assert event != "end" or facts["bundle"].endswith(session)


def test_the_executor_is_part_of_no_fingerprint(finished, tmp_path, instance):
    """Everything that was made before the key was there stays current under any value of it."""
    for number, executor in enumerate(
        ["inline", {"kind": "processes", "workers": 3}, {"kind": "dagster", "config": {}}]
    ):
        changes = {"training": {"executor": executor}}
        market = copy_of(finished, tmp_path / str(number) / "tiny", changes=changes)
        put_on_record(market, instance)
        assert status_report(market, stages(market), instance).is_current


@pytest.mark.parametrize(
    ("wanted", "slots", "is_inline"),
    [
        ("auto", 2, True),
        ("auto", 3, False),
        ("inline", 16, True),
        ("processes", 1, False),
    ],
)
def test_the_executor_suits_the_machine(finished, tmp_path, monkeypatch, wanted, slots, is_inline):
    market = without_models(finished, tmp_path / "tiny", {"training": {"executor": wanted}})
    monkeypatch.setattr(unit_executors, "network_slots", lambda _: [Slot("cpu", {})] * slots)
    pool = Recorder()
    monkeypatch.setattr(unit_executors, "pool_of", lambda *_: pool)
    anchor = market.plan.first_trained
    later = next(key for key in market.sessions.keys if key > anchor and market.plan.trains(key))
    executor = unit_executors.executor_of(Asked(market, (anchor, later)), market.models[0])
    assert isinstance(executor, Inline) == is_inline
    assert [unit.as_of for unit in pool.units] == ([] if is_inline else [anchor, later])
    if wanted == "auto":  # one unit alone has all cores in this process
        alone = unit_executors.executor_of(Asked(market, (anchor,)), market.models[0])
        assert isinstance(alone, Inline)
    # A daily run that trains nothing stays in one process, whatever is configured.
    between = next(key for key in market.sessions.keys if key > anchor)
    quiet = unit_executors.executor_of(Asked(market, (between,)), market.models[0])
    assert isinstance(quiet, Inline)


class Recorder:
    def __init__(self):
        self.units = []

    def submit(self, units):
        self.units += units


class Asked:
    """The facts of a run that the choice depends on."""

    beside: frozenset[str] = frozenset({"lstm_model"})
    retrains, history = False, frozenset[str]()

    def __init__(self, market, keys):
        self.market, self.keys = market, keys


def test_models_of_the_same_run_and_dataset_are_planned_together(finished, tmp_path):
    market = without_models(finished, tmp_path / "tiny")
    run = Asked(market, (market.plan.first_trained,))
    run.beside = frozenset({"lstm_model", "krnn_model"})
    assert [u.model for u in unit_executors.run_units(run, market.models[0])] == ["lstm", "krnn"]
    run.beside = frozenset({"gru_model"})
    assert [u.model for u in unit_executors.run_units(run, market.models[1])] == ["gru"]


def test_the_host_goes_before_the_yaml(monkeypatch):
    configured = parse_config(merged(TINY, {"training": {"executor": "inline"}})).training.executor
    assert executor_config(configured).kind == "inline"
    monkeypatch.setenv(ENV_EXECUTOR, "{kind: processes, workers: 4}")
    assert executor_config(configured).workers == 4
    monkeypatch.setenv(ENV_EXECUTOR, "dagster")
    assert executor_config(configured).run_with == MULTIPROCESS
    monkeypatch.setenv(ENV_EXECUTOR, "threads")
    with pytest.raises(ConfigError, match="RNN_TRAINING_EXECUTOR is 'threads', expected inline"):
        executor_config(configured)


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        ("threads", "training.executor"),
        ({"kind": "inline", "workers": 2}, "workers is a setting of kind: processes"),
        ({"kind": "processes", "config": {"a": 1}}, "config is a setting of kind: dagster"),
        ({"kind": "dagster", "run_with": "nothing"}, "run_with"),
    ],
)
def test_a_wrong_executor_is_named(executor, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(merged(TINY, {"training": {"executor": executor}}))


@pytest.fixture
def named(finished, tmp_path, monkeypatch):
    """A market in a data folder that processes of Dagster find by its name."""
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "data" / "dagster"))
    executor = {"kind": "dagster", "config": {"max_concurrent": 2}}
    changes = {"training": {"executor": executor, "seeds": 2}}
    market = without_models(finished, tmp_path / "data" / "tiny", changes)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(merged(TINY, changes)))
    keep_config(market.paths, tmp_path / "tiny.yaml")
    return market


@pytest.mark.slow
def test_units_are_steps_of_a_run_of_their_own(named):
    """The multiprocess executor of Dagster; oracle: the same two seeds inline."""
    anchor = named.plan.first_trained
    with dagster_instance(named) as record:
        put_on_record(named, record)
        materialize(named, ["lstm_model"], anchor, anchor, record)
        runs = [run for run in record.get_runs() if run.job_name == f"tiny_{TRAIN_UNITS}"]
        assert [run.is_success for run in runs] == [True]
        steps = {stats.step_key for stats in record.get_run_step_stats(runs[0].run_id)}
    assert sum(step.startswith("unit[lstm_2020_04_01_") for step in steps) == 2
    joined = bundles_of(named)
    shutil.rmtree(named.paths.models)
    ensure_trained(named, named.models[0], anchor, log=print, on_epoch=print)
    assert bundles_of(named) == joined


def test_dagster_finds_only_markets_of_the_data_folder(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match=f"set RNN_DATA_DIR to {tmp_path}"):
        UnitRuns(copy_of(finished, tmp_path / "tiny"))
