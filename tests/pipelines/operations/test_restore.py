"""Restore. Oracle: the bytes and times of the files before everything was lost."""

from __future__ import annotations

import io
import json
import os
import shutil

import pandas as pd
import pytest
import yaml
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance.home import dagster_instance
from pipelines.operations.backup import run_backup
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from pipelines.warehouse.stores import open_store
from rnn_core.training.bundle_files import UNITS
from tests.pipelines.conftest import TINY, merged
from tests.pipelines.finished_markets import backfill
from tests.pipelines.saved_market import (
    SERVED,
    backup,
    bundle_of,
    history,
    kept,
    opened,
    restore,
)


@pytest.fixture
def copy(saved_copy):
    """A folder of its own with the market and its backup."""
    return saved_copy


def of_one_model(copy):
    """Let the market have had one model only, whose record and backup are to be made; its YAML."""
    config = {**TINY, "models": {"gru": TINY["models"]["gru"]}}
    (copy / "tiny.yaml").write_text(yaml.safe_dump(config))
    for kind in ("warehouse", "models"):
        for name in ("lstm", "krnn"):
            for folder in (copy / "data" / "tiny" / kind).glob(f"{name}*"):
                shutil.rmtree(folder)
    shutil.rmtree(copy / "data" / "dagster")
    shutil.rmtree(copy / "backup")
    return config


def test_everything_lost_restored_and_backfilled(copy):
    config = of_one_model(copy)
    market = opened(copy)
    before, sessions = history(market), market.sessions
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
        status = status_report(market, stages(market), instance)
    everything = {
        path.relative_to(market.paths.warehouse): path.read_bytes()
        for path in market.paths.warehouse.rglob("*.parquet")
    }
    assert backup(copy)[0]  # the manifest names the YAML at this place
    shutil.rmtree(copy / "data")
    (copy / "tiny.yaml").unlink()
    whole, said = restore(copy, config=None)
    assert whole, said
    assert yaml.safe_load((copy / "tiny.yaml").read_text()) == config
    market = opened(copy)
    assert {name: kept[0] for name, kept in history(market).items()} == {
        name: kept[0] for name, kept in before.items()
    }
    times = {name: kept[1] for name, kept in history(market).items()}
    assert times == pytest.approx({name: kept[1] for name, kept in before.items()}, abs=1e-3)
    backfill(market, start=sessions.first, end=market.last_closed())
    with dagster_instance(market) as instance:
        again = status_report(market, stages(market), instance)
    assert again.is_current
    assert again.predictions == status.predictions
    assert all(counts["served"] == SERVED for counts in again.predictions.values())
    assert {
        path.relative_to(market.paths.warehouse): path.read_bytes()
        for path in market.paths.warehouse.rglob("*.parquet")
    } == everything


def test_a_damaged_file_comes_back_and_an_intact_one_stays(copy):
    market = opened(copy)
    first, second, third = market.sessions.keys[-3:]
    root = market.paths.warehouse
    cut, other, gone = (
        root / "lstm_prediction" / f"date={key}" / PART for key in (first, second, third)
    )
    before = {path: path.read_bytes() for path in (cut, other, gone)}
    cut.write_bytes(before[cut][:100])
    made = market.warehouse.info("lstm_prediction", second).provenance
    table = next(s for s in stages(market) if s.name == "lstm_prediction").tables[0]
    market.warehouse.write(table, "lstm_prediction", second, table.empty(), made)
    newer = other.read_bytes()
    gone.unlink()
    weights = next((market.paths.models / "gru" / bundle_of(market)).glob("weights*"))
    before[weights] = weights.read_bytes()
    weights.write_bytes(before[weights][:-8] + bytes(8))
    whole, said = restore(copy)
    assert whole
    assert cut.read_bytes() == before[cut]
    assert gone.read_bytes() == before[gone]
    assert weights.read_bytes() == before[weights]
    assert other.read_bytes() == newer
    assert f"{other} is intact and another one than in the backup" in said
    _, said = restore(copy, replace=True)
    assert other.read_bytes() == before[other]
    assert "is intact" not in said


def test_replace_reaches_the_market_and_the_home_and_the_yaml_stays(copy):
    market = opened(copy)
    files = [market.paths.warehouse / "market.json", market.paths.dagster / "workspace.yaml"]
    files[1].write_text("load_from: []\n")
    assert backup(copy)[0]
    before = [path.read_bytes() for path in files]
    files[0].write_bytes(before[0] + b" ")
    files[1].write_text("load_from: [ ]\n")
    text = (copy / "tiny.yaml").read_text() + "# mine\n"
    (copy / "tiny.yaml").write_text(text)
    _, said = restore(copy)
    for path, content in zip(files, before, strict=True):
        assert path.read_bytes() != content
        assert f"{path} is intact and another one than in the backup" in said
    whole, said = restore(copy, replace=True)
    assert whole
    assert [path.read_bytes() for path in files] == before
    assert "is intact" not in said
    assert (copy / "tiny.yaml").read_text() == text
    assert f"{copy / 'tiny.yaml'} is another one than at the time of the backup, and stays" in said


def test_a_backup_of_another_market_of_that_name_replaces_nothing(copy):
    """The YAML begins later than at the time of the backup."""
    path = opened(copy).paths.warehouse / "market.json"
    changed = copy / "later.yaml"
    changed.write_text(yaml.safe_dump(merged(TINY, {"market": {"start": "2020-01-09"}})))
    record = {**json.loads(path.read_bytes()), "start": "2020-01-09"}
    path.write_text(json.dumps(record))
    before = path.read_bytes()
    with pytest.raises(PipelineError, match=r"nothing was replaced.*--config NEW\.yaml"):
        restore(copy, replace=True, config=str(changed))
    assert path.read_bytes() == before


def test_a_stray_file_among_bundles_is_in_nobodys_way(copy):
    market = opened(copy)
    for name in ("README.txt", "krnn/notes.txt"):
        (market.paths.models / name).write_text("mine")
    assert backup(copy)[0]
    shutil.rmtree(market.paths.models)
    whole, _ = restore(copy)
    assert whole
    assert (market.paths.models / "krnn" / bundle_of(market) / "weights.safetensors").is_file()


def test_a_backup_that_is_damaged_itself_says_so(copy):
    market = opened(copy)
    last = market.sessions.keys[-1]
    path = market.paths.warehouse / "krnn_prediction" / f"date={last}" / PART
    (manifest,) = (copy / "backup" / "tiny").iterdir()
    record = json.loads(manifest.read_bytes())
    (entry,) = [
        e for e in record["files"] if e["path"].endswith(f"krnn_prediction/date={last}/{PART}")
    ]
    object_ = copy / "backup" / "objects" / entry["sha256"][:2] / entry["sha256"]
    os.truncate(object_, 10)
    path.unlink()
    whole, said = restore(copy)
    assert not whole
    assert "the backup has lost its content" in said
    assert not path.exists()
    entry["path"] = "../../outside"
    manifest.write_text(json.dumps(record))
    with pytest.raises(WarehouseError, match="is not as it was written"):
        restore(copy)
    manifest.write_text("")
    with pytest.raises(WarehouseError, match="it cannot be read"):
        restore(copy)


def test_what_is_not_there_is_refused_by_name(copy):
    with pytest.raises(PipelineError, match="no backup of another; one of: tiny"):
        restore(copy, market="another")
    with pytest.raises(PipelineError, match="has no tiny of 'yesterday', it has 20"):
        restore(copy, at="yesterday")


@pytest.mark.thorough
def test_a_market_in_an_object_store_comes_back(finished, tmp_path, monkeypatch):
    """A bundle whose files lie below `.VERSION/`, and a time that lies beside its file."""
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    place = f"memory://{tmp_path.name}"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(merged(TINY, {"state": place})))
    store = open_store(f"{place}/tiny", {})
    for name in LocalStore(finished.paths.root).files():
        if name.startswith(("warehouse/", "models/")):
            store.write((finished.paths.root / name).read_bytes(), name)
    market = opened(tmp_path)
    last = market.sessions.keys[-1]
    score = ("warehouse", "gru_prediction", f"date={last}", PART)
    when = pd.Timestamp(f"{last} 22:00", tz="UTC").timestamp()
    store.write_at(store.read(*score), when, *score)
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
    assert backup(tmp_path)[0]
    assert not [name for name in kept(tmp_path) if name.endswith(".written")]
    bundle = store.below("models", "gru", bundle_of(market))
    before = {name: bundle.read(name) for name in bundle.files()}
    bundle.remove_all()
    store.write(b"", *score)
    assert restore(tmp_path)[0]
    assert {name.rpartition("/")[2]: bundle.read(name) for name in bundle.files()} == before
    assert (store.written(*score), store.read(*score) != b"") == (when, True)
    whole, said = backup(tmp_path)
    assert whole, said
    with pytest.raises(WarehouseError, match="which is backed up"):
        run_backup(opened(tmp_path), Console(file=io.StringIO()), f"{place}/tiny/b", None)


def test_the_units_of_an_intact_bundle_come_back(copy):
    market = opened(copy)
    path = market.paths.models / "gru" / bundle_of(market) / UNITS
    path.write_bytes(b"{}")
    assert backup(copy)[0]
    path.unlink()
    assert restore(copy)[0]
    assert path.read_bytes() == b"{}"


def test_a_restore_that_is_refused_names_what_came_back_before(copy, monkeypatch):
    path = opened(copy).paths.warehouse / "market.json"
    path.unlink()
    monkeypatch.setattr(
        "pipelines.operations.restore.work_in_progress", lambda *_: "somebody works"
    )
    with pytest.raises(PipelineError, match=r"somebody works .*; only .*market\.json was restored"):
        restore(copy)
    with pytest.raises(PipelineError, match="nothing was restored"):
        restore(copy)
