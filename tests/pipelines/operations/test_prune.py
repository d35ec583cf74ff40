"""`prune` removes what nothing needs, and leaves a market that is current.

Oracles: the files before, what `status` says before and after, and the scores and record of what
was served. The market trains two models at every session.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.config.retention import RetentionConfig
from pipelines.errors import ModelNotTrainedError, PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.instance.locks import unit_lock, writer_lock
from pipelines.operations import prune
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from pipelines.training import registry
from pipelines.training.registry import find_bundle, in_force, require_bundle
from pipelines.warehouse import revisions
from rnn_core.training.bundle_files import KEPT, MANIFEST, PRUNED, prunable_files
from tests.pipelines.built_once import copy_built_once
from tests.pipelines.conftest import (
    REPORTS,
    build_definitions,
    make_market,
    merged,
    own_record,
    run_assets,
    run_everything,
    shared_folder,
)
from tests.pipelines.finished_markets import backfill, made_on_the_evening

pytestmark = pytest.mark.thorough  # minutes in all

MODELS = ("linear", "lstm")
NETWORK = {"hidden_size": 2, "num_layers": 1, "n_epochs": 1, "batch_size": 512}
DAILY = {"training": {"retrain_every": 1}, "checks": {"model": {"varied": "off"}}}


def daily_market(root, retention=None, changes=None):
    """The tiny market with two models that train at every session."""
    market = make_market(root, merged(DAILY, changes or {}))
    config = market.config.model_copy(
        update={
            "models": {"linear": {}, "lstm": NETWORK},
            "retention": RetentionConfig(**(retention or {})),
        }
    )
    return market.opened_anew(config)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The market with its whole graph run; not to be written to."""

    def build(root):
        built = daily_market(root)
        with own_record() as record:
            run_everything(built, record)
            run_assets(build_definitions(built), record, REPORTS)

    root = tmp_path_factory.mktemp("trained") / "tiny"
    copy_built_once(shared_folder(tmp_path_factory) / "trained_daily", root, build)
    return daily_market(root)


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """Makes a copy on record whose predictions of some sessions were served."""
    monkeypatch.setenv("DAGSTER_HOME", "")

    def copy(retention=None, served=(), changes=None, name="data"):
        root = tmp_path / name / "tiny"
        shutil.copytree(trained.paths.root, root)
        market = daily_market(root, retention, changes)
        made_on_the_evening(market, MODELS, served)
        with dagster_instance(market) as record:
            sync_record(market, stages(market), record)
        return market

    return copy


def run(market, **options):
    console = Console(file=io.StringIO(), width=200)
    prune.run_prune(market, console, **options)
    registry._load.cache_clear()  # as a process that starts after it
    return console.file.getvalue()


def report(market):
    with dagster_instance(market) as record:
        return status_report(market, stages(market), record)


def state(market):
    """The bytes of every file of the state."""
    root = market.paths.root
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


@contextmanager
def held(lock):
    """Another thread holds a lock: one that a thread holds already is an error of the program."""
    holds, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            holds.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


def trained_at(market, model="lstm"):
    return [key for key in market.sessions.keys if market.plan_of(model).trains(key)]


def is_pruned(market, model, as_of):
    folder = market.bundles.below(model, as_of)
    assert folder.exists(MANIFEST)
    return not prunable_files(folder.sizes())


def pruned(market, model="lstm"):
    return {key for key in trained_at(market, model) if is_pruned(market, model, key)}


def test_old_bundles_lose_their_weights_and_nothing_else_changes(copied):
    market = copied({"bundles": 3})
    before, status = state(market), report(market)
    assert status.is_current
    said = run(market)
    keys = trained_at(market)
    for model in MODELS:
        assert pruned(market, model) == set(keys[:-3])
    after = state(market)
    gone = before.keys() - after.keys()
    assert {name.split("/")[-1] for name in gone if name.startswith("models/lstm/")} == {
        "weights.safetensors",
        "processors.json",
    }
    assert all(name.split("/")[-1] not in (*KEPT, MANIFEST, "identity.json") for name in gone)
    assert {name.split("/")[-1] for name in after.keys() - before.keys()} == {PRUNED}
    assert {name: before[name] for name in before.keys() - gone} == {
        name: data for name, data in after.items() if not name.endswith(PRUNED)
    }
    assert replace(report(market), bytes=None) == status
    assert f"{2 * (len(keys) - 3)}" in said
    for model in MODELS:  # the bytes a model and session that docs/storage.md states
        sizes = [sum(market.bundles.below(model, key).sizes().values()) for key in keys[:-3]]
        assert sum(sizes) / len(sizes) < 5000
    # Neither a backfill nor another prune finds anything to do.
    work, _ = backfill(market, start=keys[0], end=keys[-1])
    assert work is None
    assert state(market).keys() == after.keys()
    after = state(market)  # the catalog names the files of this copy by now
    run(market)
    assert state(market) == after


def test_served_in_force_and_pinned_models_stay(copied, trained):
    """Over random markets: what a served score, the newest pointer or a pin names keeps weights."""
    chance = random.Random(7)
    keys = trained_at(trained)
    for round_ in range(2):
        served = sorted(chance.sample(keys, chance.randint(0, 5)))
        pin = chance.choice(keys[:-2])
        changes = {"training": {"pin": {"from": keys[-1], "as_of": pin}}} if round_ % 2 else {}
        newest = chance.randint(1, 4)
        market = copied({"bundles": newest}, served, changes, name=f"market{round_}")
        if changes:  # the last session now serves the pinned model
            backfill(market, start=keys[-1], end=keys[-1])
        run(market)
        assert report(market).is_current
        for model in MODELS:
            stays = {*served, *keys[-newest:], *([pin] if changes else [])}
            assert {key for key in keys if not is_pruned(market, model, key)} == stays
            frames = market.warehouse.read(f"{model}_prediction", keys, needed_by="t").frame
            for key in served:
                (named,) = frames[frames["date"] == key]["fingerprint"].unique()
                assert require_bundle(market, model, key, "t").fingerprint == named
        newest_in_force = in_force(market, "lstm", keys[-1], "t")
        assert require_bundle(market, "lstm", newest_in_force.as_of, "t").members


def test_whoever_needs_pruned_weights_is_told_what_trains_them_again(copied):
    market = copied({"bundles": 1})
    key = trained_at(market)[2]
    fingerprint = find_bundle(market, "lstm", key).fingerprint
    run(market)
    pointer = in_force(market, "lstm", key, "the test")
    assert (pointer.as_of, pointer.bundle.fingerprint) == (key, fingerprint)
    command = f"backfill --start {key} --end {key} --select lstm_model --force"
    with pytest.raises(ModelNotTrainedError, match=rf"were pruned; `rnn-pipelines {command}`"):
        require_bundle(market, "lstm", key, "the test")
    # The command does what it says, and the same bits come out.
    backfill(market, start=key, end=key, select="lstm_model", force=True)
    assert require_bundle(market, "lstm", key, "the test").fingerprint == fingerprint
    assert not is_pruned(market, "lstm", key)
    assert not market.bundles.below("lstm", key).exists(PRUNED)
    assert report(market).is_current


def test_a_lost_pointer_is_made_again_without_a_training(copied, monkeypatch):
    market = copied({"bundles": 1})
    key = trained_at(market)[2]
    path = market.paths.warehouse / "lstm_model" / f"date={key}" / "part-0.parquet"
    data = path.read_bytes()
    run(market)
    path.unlink()
    monkeypatch.setattr("pipelines.training.train.anchor_data", None)  # whoever trains fails
    backfill(market, start=key, end=key)
    assert path.read_bytes() == data
    assert report(market).is_current


def test_a_bundle_that_has_a_session_to_score_stays(copied):
    market = copied({"bundles": 1})
    key = trained_at(market)[2]
    shutil.rmtree(market.paths.warehouse / "lstm_prediction" / f"date={key}")
    run(market)
    assert not is_pruned(market, "lstm", key)
    assert is_pruned(market, "linear", key)
    backfill(market, start=key, end=market.sessions.keys[-1])
    assert report(market).is_current


def test_a_bundle_that_was_damaged_is_no_pruned_one(copied):
    """A note excuses the files of its own manifest only; a bundle without note stays damaged."""
    market = copied({"bundles": 1})
    first, second = trained_at(market)[:2]
    run(market)
    folder = market.paths.models / "lstm"
    shutil.copy(folder / second / PRUNED, folder / first / PRUNED)
    assert not report(market).is_current


@pytest.mark.parametrize("removals", [1, 6])
def test_a_prune_that_is_killed_leaves_a_current_market_and_the_next_completes_it(
    copied, monkeypatch, removals
):
    market = copied({"bundles": 2})
    cls, left = type(market.bundles), [removals]
    remove = cls.remove

    def killed(self, *parts):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        remove(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run(market)
    assert report(market).is_current
    run(market)
    assert pruned(market) == set(trained_at(market)[:-2])
    assert report(market).is_current


@pytest.mark.parametrize(
    ("retention", "options"),
    [
        ({}, {}),
        ({"bundles": 1}, {"dry_run": True}),
        ({}, {"trial": RetentionConfig(bundles=1, unit_days=1, record_days=1)}),
    ],
)
def test_nothing_goes_unless_it_is_asked_for(copied, retention, options):
    market = copied(retention)
    before = state(market)
    said = run(market, **options)
    assert state(market) == before
    assert "nothing was removed" in said
    n_bundles = 2 * (len(trained_at(market)) - 1)
    assert (f" {n_bundles} " in said) == bool(retention or options)


def test_an_age_counts_from_the_newest_session(copied):
    market = copied({"bundle_days": 7, "bundles": 2})
    run(market)
    assert {key for key in trained_at(market) if key not in pruned(market)} == {
        key for key in trained_at(market) if key >= "2020-05-08"
    }


def test_units_checkpoints_and_leftovers_go_by_age(copied):
    market = copied({"unit_days": 10})
    units, checkpoints = market.paths.units, market.paths.models / ".checkpoints"
    garbage = market.paths.warehouse / f".x.{2**22 + 1}.0a1b2c3d.tmp"
    garbage.write_bytes(b"half")
    for path in (units / "old/plan.json", units / "new/plan.json", checkpoints / "lstm/k/state.pt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        if "new" not in path.parts:
            os.utime(path, (1e9, 1e9))
    with held(unit_lock(market, "old")), pytest.raises(PipelineError, match="is at work"):
        run(market)
    run(market)
    assert [path.name for path in units.iterdir()] == ["new"]
    assert not (checkpoints / "lstm/k/state.pt").exists()
    assert not garbage.exists()


def test_revisions_that_were_served_stay(copied):
    """The first version of a partition is the one that was served; orders are never looked at."""
    market = copied({"revision_days": 10}, served=[])
    key = trained_at(market)[3]
    store = market.warehouse.store
    data = store.read("lstm_prediction", f"date={key}", "part-0.parquet")
    evening = 1586300000.0
    for table in ("lstm_prediction", "orders_of_a_book"):
        for number in (1, 2, 3):
            store.write(data, *revisions.part(table, key, number))
    for number, when in ((1, evening), (2, 1.6e9), (3, None)):
        for table in ("lstm_prediction", "orders_of_a_book"):
            if when is not None:
                path = store.path(*revisions.part(table, key, number))
                os.utime(path, (when, when))
    kept = market.bundles.below(revisions.FOLDER, "lstm", key)
    named = find_bundle(market, "lstm", key).fingerprint
    for fingerprint in (named, "f" * 64):
        kept.write(json.dumps({"fingerprint": fingerprint}).encode(), fingerprint[:16], MANIFEST)
        os.utime(kept.path(fingerprint[:16], MANIFEST), (1e9, 1e9))
    run(market)
    assert revisions.numbers(store, "lstm_prediction", key) == [1, 3]
    assert revisions.numbers(store, "orders_of_a_book", key) == [1, 2, 3]
    assert kept.names() == {named[:16]}


def test_who_works_on_the_market_is_waited_for(copied):
    market = copied({"bundles": 1})
    before = state(market)
    at_work = pytest.raises(PipelineError, match="at work on tiny: wait for its end")
    with held(writer_lock(market, "lstm_prediction", run_id="1a2b3c")), at_work:
        run(market)
    assert state(market) == before
