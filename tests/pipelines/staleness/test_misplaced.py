"""Files and bundles in another's place are damage, named and made again.

Oracle: the bytes of the market before a file was copied over another.
"""

from __future__ import annotations

import json
import shutil

import pytest

from pipelines.assets.stages import stages
from pipelines.errors import ModelNotTrainedError, ProcessorStateError
from pipelines.instance.home import dagster_instance
from pipelines.staleness.causes import Cause
from pipelines.staleness.served import served_sessions
from pipelines.staleness.status_report import status_report
from pipelines.training.processors import load_state
from pipelines.training.registry import require_bundle
from pipelines.warehouse import revisions
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import make_market, partition_bytes
from tests.pipelines.finished_markets import (
    backfill,
    copy_of,
    made_on_the_evening,
    put_on_record,
    recorded_copy_of,
)
from tests.pipelines.unsigned_file import without_identity


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of a finished market, on record in its own home."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return recorded_copy_of(finished, tmp_path / "copy")


def copied(market, *moves):
    """Copy partitions over others; each is a table and a session."""
    for move in moves:
        shutil.copy(*(market.paths.warehouse / t / f"date={key}" / PART for t, key in move))
    return make_market(market.paths.root)


@pytest.mark.thorough  # the faults swap files of every table
def test_status_names_them_and_a_backfill_heals_them(copy, finished):
    keys = copy.sessions.keys
    moves = [
        (("ohlcv", keys[70]), ("ohlcv", keys[73])),
        (("ohlcv", keys[71]), ("ohlcv_quarantine", keys[71])),
        (("alpha158", keys[70]), ("alpha158", keys[72])),
        (("gru_prediction", keys[85]), ("lstm_prediction", keys[85])),
        (("gru_evaluation", keys[86]), ("lstm_evaluation", keys[86])),
    ]
    market = copied(copy, *moves)
    with dagster_instance(market) as instance:
        report = status_report(market, stages(market), instance)
    damaged = {
        (asset.asset, key)
        for asset in report.assets
        for finding in asset.findings
        if finding.cause is Cause.DAMAGED
        for key in finding.keys
    }
    assert damaged == {(table.removesuffix("_quarantine"), key) for _, (table, key) in moves}
    work, _ = backfill(market, start=keys[68], end=keys[-1])
    assert work is not None
    assert {asset for asset, _ in damaged} <= set(work.assets)
    assert partition_bytes(market) == partition_bytes(finished)
    assert backfill(make_market(market.paths.root), start=keys[0], end=keys[-1])[0] is None


def test_the_cause_names_the_place_it_comes_from(finished, tmp_path, instance):
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    keys = market.sessions.keys
    market = copied(market, (("label", keys[70]), ("label", keys[73])))
    found = {a.asset: a.findings for a in status_report(market, stages(market), instance).assets}
    (finding,) = found["label"]
    assert (finding.cause, finding.keys) == (Cause.DAMAGED, (keys[73],))
    assert finding.detail == f"it is label of {keys[70]} of the market tiny"


def anchors(market):
    return sorted(path.name for path in (market.paths.models / "lstm").glob("2*"))


@pytest.mark.thorough
def test_bundles_in_others_places_are_not_served(copy, finished):
    """Each is named, and a backfill trains all of them again, with the bytes that they had."""
    first, second, *_ = anchors(copy)
    models = copy.paths.models
    shutil.rmtree(models / "lstm" / second)
    shutil.copytree(models / "lstm" / first, models / "lstm" / second)
    shutil.rmtree(models / "gru" / second)
    shutil.copytree(models / "krnn" / second, models / "gru" / second)
    identity = models / "krnn" / second / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"market": "other"}))
    (models / "gru" / first / "identity.json").unlink()
    words = {
        ("lstm", second): f"it says that it is a lstm bundle of {first} of the market tiny",
        ("gru", second): f"it says that it is a krnn bundle of {second} of the market tiny",
        ("krnn", second): f"it says that it is a krnn bundle of {second} of the market other",
        ("gru", first): f"it does not say that it is a gru bundle of {first} of the market tiny",
    }
    for (model, anchor), said in words.items():
        remedy = f"materialize {model}_model of {anchor}"
        with pytest.raises(ModelNotTrainedError, match=f"{said}.*{remedy}"):
            require_bundle(copy, model, anchor, f"{model}_prediction")
    keys = copy.sessions.keys
    work, _ = backfill(make_market(copy.paths.root), start=keys[0], end=keys[-1])
    assert work is not None
    for model, anchor in words:
        for name in ("identity.json", "manifest.json", "weights.safetensors"):
            path = models / model / anchor / name
            assert path.read_bytes() == (finished.paths.models / model / anchor / name).read_bytes()
    assert partition_bytes(copy) == partition_bytes(finished)


@pytest.mark.parametrize("of", ["other", None])
def test_the_state_of_another_market_is_not_used(copy, of):
    path = copy.paths.warehouse / "processors.json"
    state = json.loads(path.read_text())
    identity = state.pop("identity")
    if of is not None:
        state["identity"] = identity | {"market": of}
    path.write_text(json.dumps(state))
    words = "processors of the market other" if of else "does not say that it is processors of the"
    with pytest.raises(ProcessorStateError, match=f"none of this place: it .*{words}.*job `refit`"):
        load_state(copy, copy.datasets[0])


@pytest.mark.thorough
def test_a_served_file_without_identity_is_kept_when_its_place_is_made_again(
    finished, tmp_path, monkeypatch
):
    """It may be the one that was traded on: it becomes a revision, and the session stays served."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = copy_of(finished, tmp_path / "copy")
    keys = market.sessions.keys
    made_on_the_evening(market, ["lstm"], keys[-8:])
    parts = ("lstm_prediction", f"date={keys[-4]}", PART)
    plain, _ = without_identity(market.warehouse.store.read(*parts))
    with dagster_instance(market) as instance:
        put_on_record(market, instance)
        market.warehouse.store.rewrite(plain, *parts)
        put_on_record(make_market(market.paths.root), instance)
    backfill(make_market(market.paths.root), start=keys[0], end=keys[-1])
    assert partition_bytes(market) == partition_bytes(finished)
    revision = revisions.part("lstm_prediction", keys[-4], 1)
    assert market.warehouse.store.read(*revision) == plain
    with dagster_instance(market) as instance:
        assert keys[-4] in served_sessions(market, instance, "lstm_prediction")
