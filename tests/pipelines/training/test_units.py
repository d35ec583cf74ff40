"""Training units: their keys, their files, and the bundles that join them.

Oracle: the bundle of the same seeds that one process trained in a loop, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest

from pipelines.errors import MissingSessionsError
from pipelines.training import train_unit as train_unit_module
from pipelines.training.executor import Inline
from pipelines.training.train import ensure_trained, missing_units
from pipelines.training.train_unit import train_unit
from pipelines.training.unit_store import UnitStore
from pipelines.training.units import Unit, UnitFailedError, UnitRefusedError, units_of
from pipelines.training.worker_pool import Slot, WorkerPool
from tests.pipelines.conftest import make_market, own_record, run_data
from tests.rnn_core.test_own_parts import package  # noqa: F401 - a fixture

pytestmark = pytest.mark.cluster  # worker processes, which several hosts have

ANCHOR, LATER = "2020-04-01", "2020-04-20"
CHANGES = {
    "training": {"seeds": 2, "device": "cpu", "threads": 2},
    "models": {
        "lightgbm": {"num_leaves": 7, "min_data_in_leaf": 3, "num_boost_round": 5, "seeds": 2},
        "linear": {},
        "dropped": {"family": "lstm", "hidden_size": 4, "dropout": 0.2, "n_epochs": 2},
    },
}
TRAINED = ("lstm", "krnn", "lightgbm", "linear", "dropped")
PLACES = [Slot("cpu", {})] * 2


def silent(*args):
    """Listen to nothing."""


def spec_of(market, name):
    return next(spec for spec in market.models if spec.name == name)


def trained(market, name, as_of=ANCHOR, executor=None, on_epoch=silent):
    return ensure_trained(
        market, spec_of(market, name), as_of, log=silent, on_epoch=on_epoch, executor=executor
    )


def bundle_bytes(market):
    """SHA-256 of every file of every bundle, the keys of its units among them."""
    root = market.paths.models
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """A market whose bundles were trained one seed after the other in this process."""
    market = make_market(tmp_path_factory.mktemp("serial") / "tiny", CHANGES)
    with own_record() as record:
        run_data(market, record)
    for name in TRAINED:
        trained(market, name)
    return market


@pytest.fixture
def untrained(serial, tmp_path):
    """A copy of that market without its bundles."""
    leave_out = shutil.ignore_patterns("models")
    shutil.copytree(serial.paths.root, tmp_path / "tiny", ignore=leave_out)
    return make_market(tmp_path / "tiny", CHANGES)


@pytest.fixture
def pool(untrained):
    """Two workers of that market."""
    workers = WorkerPool(untrained, PLACES)
    yield workers
    workers.close()


def units(market, name="lstm", as_of=ANCHOR):
    """The units of a session, planned in the store."""
    spec = spec_of(market, name)
    data = train_unit_module.anchor_data(market, spec, as_of).fingerprint
    planned = units_of(market, spec, as_of, data)
    UnitStore(market.state).plan(planned)
    return planned


def train(market, unit, on_epoch=silent):
    spec = spec_of(market, unit.model)
    train_unit(
        market,
        unit,
        load_data=lambda: train_unit_module.anchor_data(market, spec, unit.as_of),
        on_epoch=on_epoch,
        log=silent,
    )


def test_a_bundle_quotes_its_units_and_its_fingerprint_does_not(serial):
    bundle = serial.paths.models / "lstm" / ANCHOR
    quoted = json.loads((bundle / "units.json").read_text())["units"]
    assert quoted == [unit.key for unit in units(serial)]
    assert "units" not in json.loads((bundle / "manifest.json").read_text())
    shutil.rmtree(serial.paths.units)


def test_units_are_scratch_that_the_join_removes(serial, untrained):
    stale = replace(units(untrained)[0], config="another configuration")
    UnitStore(untrained.state).plan([stale])
    trained(untrained, "lstm")
    assert list(untrained.paths.units.iterdir()) == []
    assert not list((untrained.paths.root.parent / ".locks").rglob("units/*"))
    # A process that was killed between the join and this: the next one that looks removes them.
    for unit in units(untrained):
        UnitStore(untrained.state).save(unit.key, {"history.parquet": b"joined"}, {})
    assert trained(untrained, "lstm").units == ()
    assert list(untrained.paths.units.iterdir()) == []


def test_workers_train_the_bytes_of_one_process(serial, untrained, pool):
    for name in TRAINED:
        pool.submit(missing_units(untrained, spec_of(untrained, name), [ANCHOR]))
    heard = []
    for name in TRAINED:
        trained(untrained, name, executor=pool, on_epoch=lambda unit, report: heard.append(unit))
    assert bundle_bytes(untrained) == bundle_bytes(serial)
    assert {(unit.model, unit.seed) for unit in heard} == {
        (name, seed) for name in ("lstm", "krnn", "dropped") for seed in (0, 1)
    }


def test_only_a_network_that_draws_random_numbers_depends_on_threads(serial):
    threads = {name: {unit.threads for unit in units(serial, name)} for name in TRAINED}
    assert threads == {name: {2 if name == "dropped" else None} for name in TRAINED}
    shutil.rmtree(serial.paths.units)


def test_a_killed_worker_loses_no_other_unit(serial, untrained, pool):
    """The unit goes on from its checkpoint in another worker."""
    killed, epochs = [], []

    def kill_once(unit, report):
        epochs.append((unit.seed, report.epoch))
        if not killed and unit.seed == 1:
            killed.append(True)
            for process in list(pool._processes):
                os.kill(process.pid, signal.SIGKILL)

    trained(untrained, "lstm", executor=pool, on_epoch=kill_once)
    assert killed
    assert len(epochs) == len(set(epochs))  # no epoch was trained twice
    assert {k: v for k, v in bundle_bytes(serial).items() if k.startswith("lstm")} == bundle_bytes(
        untrained
    )


def test_a_worker_that_always_dies_is_an_error(untrained, pool, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    words = r"lstm as of 2020-04-01 seed \d: 3 workers died with it, the last with status 1"
    with pytest.raises(UnitFailedError, match=words):
        trained(untrained, "lstm", executor=pool)


def test_the_error_of_a_worker_is_that_of_the_pipeline(untrained, pool):
    shutil.rmtree(untrained.paths.warehouse / "dataset_infer" / "date=2020-03-02")
    (unit, _) = units_of(untrained, spec_of(untrained, "lstm"), ANCHOR, "data of yesterday")
    with pytest.raises(MissingSessionsError, match="2020-03-02"):
        pool.finish([unit], load_data=lambda: None, on_epoch=silent, log=silent)


@pytest.mark.thorough
def test_the_warnings_of_a_worker_are_those_of_its_owner(untrained, pool, caplog):
    """A checkpoint that cannot be read is told, and the unit is trained from its beginning."""
    unit = units(untrained)[0]
    folder = UnitStore(untrained.state).checkpoint(unit.key)
    folder.write(b"nothing of the kind", "checkpoint.safetensors")
    with caplog.at_level(logging.WARNING):
        pool.finish([unit], load_data=lambda: None, on_epoch=silent, log=silent)
    assert "cannot be read" in caplog.text
    assert UnitStore(untrained.state).load(unit.key) is not None


@pytest.mark.thorough
@pytest.mark.usefixtures("package")
def test_a_worker_imports_the_parts_of_other_packages(untrained):
    """A network of another package, which the YAML names; oracle: the same in this process."""
    tiny = {"family": "mypkg.nets:Tiny", "width": 2, "n_epochs": 2, "batch_size": 64}
    market = make_market(untrained.paths.root, {**CHANGES, "models": {"tiny": tiny}})
    trained(market, "tiny")
    inline = bundle_bytes(market)
    shutil.rmtree(market.paths.models)
    workers = WorkerPool(market, PLACES)
    trained(market, "tiny", executor=workers)
    workers.close()
    assert bundle_bytes(market) == inline


def test_an_interrupted_training_goes_on_seed_by_seed(serial, untrained):
    """The first seed is finished and the second has a checkpoint: neither begins again."""

    def stop(unit, report):
        if unit.seed == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(untrained, "lstm", on_epoch=stop)
    epochs = []
    trained(
        untrained, "lstm", on_epoch=lambda unit, report: epochs.append((unit.seed, report.epoch))
    )
    assert epochs == [(1, 1)]
    assert bundle_bytes(untrained) == {
        k: v for k, v in bundle_bytes(serial).items() if k.startswith("lstm")
    }


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json", "history.parquet"])
def test_a_damaged_unit_is_trained_again(untrained, name, caplog):
    unit = units(untrained)[0]
    train(untrained, unit)
    path = untrained.paths.units / unit.key / name
    good = path.read_bytes()
    path.write_bytes(good[:-3] + b"   ")
    store = UnitStore(untrained.state)
    with caplog.at_level(logging.WARNING):
        assert store.load(unit.key) is None
    assert "is damaged" in caplog.text
    train(untrained, unit)
    assert path.read_bytes() == good or name == "manifest.json"  # which has the seconds
    assert store.load(unit.key) is not None


def test_a_unit_is_trained_once_by_those_who_plan_it(untrained):
    unit, epochs = units(untrained)[0], []
    for _ in range(2):
        train(untrained, unit, on_epoch=lambda unit, report: epochs.append(report.epoch))
    assert epochs == [0, 1]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"device": "cuda 9.0 NVIDIA H200"}, "device is cpu .*, planned was cuda 9.0 NVIDIA H200"),
        ({"precision": "bfloat16"}, "precision is float32, planned was bfloat16"),
        ({"config": "another"}, "config is .*, planned was another"),
        ({"versions": {"torch": "1.0"}}, "versions is .*planned was {'torch': '1.0'}"),
    ],
)
def test_a_process_of_another_kind_refuses_a_unit(untrained, facts, words):
    unit = replace(units(untrained)[0], **facts)
    with pytest.raises(UnitRefusedError, match=words):
        train(untrained, unit)
    assert not (untrained.paths.units / unit.key).exists()


def test_a_unit_of_other_data_is_refused(untrained):
    unit = replace(units(untrained)[0], data="partitions of yesterday")
    with pytest.raises(UnitRefusedError, match=r"planned on other data.*Plan it anew"):
        train(untrained, unit)


def test_a_unit_that_would_begin_with_other_weights_is_refused(untrained):
    unit = replace(units(untrained)[0], parent="a bundle of before")
    with pytest.raises(UnitRefusedError, match=r"begin with the weights.*begin with fresh ones"):
        train(untrained, unit)


def test_the_key_covers_every_fact_and_is_a_function_of_them(untrained):
    unit = units(untrained)[0]
    assert Unit.of(json.loads(json.dumps(unit.to_dict()))).key == unit.key
    others = {
        "model": "gru", "as_of": LATER, "seed": 7, "config": "c", "data": "d", "device": "cuda",
        "precision": "tf32", "threads": 3, "versions": {}, "parent": "p",
    }  # fmt: skip
    assert others.keys() == unit.to_dict().keys()
    keys = {replace(unit, **{name: value}).key for name, value in others.items()}
    assert len(keys | {unit.key}) == len(others) + 1


def test_one_more_seed_leaves_the_units_of_the_others(untrained):
    more = make_market(
        untrained.paths.root, {**CHANGES, "training": {**CHANGES["training"], "seeds": 3}}
    )
    assert [u.key for u in units(more)][:2] == [u.key for u in units(untrained)]


def test_the_plan_lists_what_is_missing_in_order(untrained):
    spec, keys = spec_of(untrained, "lstm"), untrained.sessions.keys
    planned = [(u.as_of, u.seed) for u in missing_units(untrained, spec, keys)]
    anchors = [key for key in keys if untrained.plan.trains(key)]
    assert planned == [(anchor, seed) for anchor in anchors for seed in (0, 1)]
    train(untrained, units(untrained)[1])
    trained(untrained, "lstm", as_of=LATER)
    left = [(u.as_of, u.seed) for u in missing_units(untrained, spec, keys)]
    assert left == [p for p in planned if p != (ANCHOR, 1) and p[0] != LATER]


def test_inline_is_the_executor_where_none_is_named(untrained):
    Inline(untrained).submit(units(untrained))
    assert [p.name for p in sorted(untrained.paths.units.rglob("*.safetensors"))] == []
