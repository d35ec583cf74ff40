"""Backup and restore. Oracle: the bytes and times of the files before everything was lost."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.config.loader import load_config
from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.backup import run_backup
from pipelines.operations.restore import run_restore
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from pipelines.warehouse import revisions
from pipelines.warehouse.backup_files import Backups
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.portfolio_tables import ORDERS
from pipelines.warehouse.store import PART
from pipelines.warehouse.stores import open_store
from rnn_core.training.bundle_files import MANIFEST, UNITS, digest, json_bytes
from tests.pipelines.conftest import TINY, merged
from tests.pipelines.finished_markets import backfill, made_on_the_evening

SERVED = 4  # sessions at the end of the market
MODELS = ("lstm", "gru", "krnn")


@pytest.fixture(scope="module")
def saved(finished: Market, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder `data` with a market that served, its YAML, and `backup` with its backup."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    shutil.copytree(finished.paths.root, folder / "data" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNN_DATA_DIR", str(folder / "data"))
        market = opened(folder)
        keys = market.sessions.keys[-SERVED:]
        made_on_the_evening(market, MODELS, keys)
        revisions.keep(market.warehouse.store, "gru_prediction", keys[0])
        made = market.warehouse.info("gru_orders", keys[0]).provenance
        revisions.add(market.warehouse, ORDERS.named("my_orders"), keys[0], ORDERS.empty(), made)
        with dagster_instance(market) as instance:
            sync_record(market, stages(market), instance)
        assert backup(folder)[0]
    yield folder


def opened(folder: Path) -> Market:
    """The market of a folder."""
    path = str(folder / "tiny.yaml")
    return Market(load_config(path), named=path)


def backup(folder: Path) -> tuple[bool, str]:
    """The command: its result, and what it said."""
    console = Console(file=io.StringIO(), width=500)
    path = str(folder / "tiny.yaml")
    whole = run_backup(opened(folder), console, str(folder / "backup"), path)
    return whole, console.file.getvalue()


def restore(folder: Path, **kwargs) -> tuple[bool, str]:
    """The command, likewise."""
    console = Console(file=io.StringIO(), width=500)
    whole = run_restore(console, str(folder / "backup"), **kwargs)
    return whole, console.file.getvalue()


@pytest.fixture
def copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, with the same times."""
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    monkeypatch.setenv("RNN_DATA_DIR", str(folder / "data"))
    return folder


def history(market: Market) -> dict[str, tuple[bytes, float]]:
    """The bytes and times of what cannot be made again."""
    root = market.paths.root
    keys = market.sessions.keys[-SERVED:]
    kinds = ("model", "prediction", "portfolio", "book", "trades", "orders")
    found = [root / "warehouse" / "market.json", *root.glob("*/.revisions/**/*")]
    found += [
        root / "warehouse" / f"{model}_{kind}" / f"date={key}" / PART
        for model in MODELS
        for kind in kinds
        for key in keys
    ]
    found += root.glob("warehouse/ohlcv*/*/*")
    found += [path for m in MODELS for path in root.glob(f"models/{m}/{bundle_of(market)}/*")]
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime)
        for path in found
        if path.is_file()
    }


def bundle_of(market: Market) -> str:
    """The session whose models served."""
    anchor = market.plan.anchor(market.sessions.keys[-1])
    assert anchor is not None
    return anchor


def test_everything_lost_restored_and_backfilled(copy):
    market = opened(copy)
    before, sessions = history(market), market.sessions
    with dagster_instance(market) as instance:
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
    assert yaml.safe_load((copy / "tiny.yaml").read_text()) == TINY
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


def test_a_second_backup_holds_only_what_changed(copy):
    objects = set((copy / "backup" / "objects").rglob("*"))
    manifests = {path: path.read_bytes() for path in (copy / "backup" / "tiny").iterdir()}
    assert backup(copy)[0]
    assert set((copy / "backup" / "objects").rglob("*")) == objects
    assert {path: path.read_bytes() for path in manifests} == manifests
    assert len(list((copy / "backup" / "tiny").iterdir())) == 2


def test_a_damaged_file_is_named_and_its_earlier_content_kept(copy):
    market = opened(copy)
    last = market.sessions.keys[-1]
    path = market.paths.warehouse / "krnn_prediction" / f"date={last}" / PART
    before = path.read_bytes()
    path.write_bytes(before[:-1] + b"x")
    whole, said = backup(copy)
    assert not whole
    assert f"damaged: {path}: " in said
    assert "its last backup is kept" in said
    whole, _ = restore(copy)
    assert whole
    assert path.read_bytes() == before


def test_a_lost_file_is_named_and_its_earlier_content_kept(copy):
    """As of a disk that was not mounted: the newest backup is no poorer than the last."""
    market = opened(copy)
    last = market.sessions.keys[-1]
    path = market.paths.warehouse / "krnn_prediction" / f"date={last}" / PART
    weights = market.paths.models / "krnn" / bundle_of(market) / "weights.safetensors"
    before = path.read_bytes(), weights.read_bytes()
    path.unlink()
    weights.unlink()
    whole, said = backup(copy)
    assert not whole
    assert f"damaged: {path}: it is not there any more; its last backup is kept" in said
    assert f"damaged: {weights.parent}: " in said
    assert "no readable weights.safetensors" in said
    whole, _ = restore(copy)
    assert whole
    assert (path.read_bytes(), weights.read_bytes()) == before


def published_anew(folder: Path) -> dict[str, bytes]:
    """Put another bundle with right digests into the place of one, and return its files."""
    held = LocalStore(folder)
    contents = {name: held.read(name) for name in held.files()}
    contents["config.yaml"] += b"# again\n"
    record = json.loads(contents[MANIFEST])
    record["files"]["config.yaml"] = digest(contents["config.yaml"])
    del record["fingerprint"]
    record["fingerprint"] = digest(json_bytes(record))
    contents[MANIFEST] = json_bytes(record)
    held.publish(contents, MANIFEST)
    return contents


def kept(folder: Path) -> dict[str, bytes]:
    """The contents of the newest backup, by the place and the path of each file."""
    backups = Backups(LocalStore(folder / "backup"))
    manifest = backups.read("tiny", backups.times("tiny")[-1])
    return {f"{entry.place}/{entry.path}": backups.content(entry) for entry in manifest.files}


@pytest.mark.parametrize("every_time", [False, True])
def test_a_bundle_that_is_published_between_two_reads_is_not_mixed(copy, monkeypatch, every_time):
    """Once: the newer one is read as a whole. Every time: it is named, the last backup is kept."""
    bundle = opened(copy).paths.models / "krnn" / bundle_of(opened(copy))
    place = f"models/krnn/{bundle.name}/"
    versions = [{p.name: p.read_bytes() for p in bundle.iterdir()}]
    read, path = LocalStore.read, str(bundle / MANIFEST)

    def interrupted(self: LocalStore, *parts: str) -> bytes:
        content = read(self, *parts)
        is_read = self.path(*parts) == path and self.root.endswith("models")
        if is_read and (every_time or len(versions) == 1):
            with monkeypatch.context() as patch:
                patch.setattr(LocalStore, "read", read)
                versions.append(published_anew(bundle))
        return content

    monkeypatch.setattr(LocalStore, "read", interrupted)
    whole, said = backup(copy)
    monkeypatch.undo()
    monkeypatch.setenv("RNN_DATA_DIR", str(copy / "data"))
    assert whole is not every_time
    assert (f"damaged: {bundle}: " in said) is every_time
    assert len(versions) == (4 if every_time else 2)
    files = {n.removeprefix(place): c for n, c in kept(copy).items() if n.startswith(place)}
    assert files == versions[0 if every_time else -1]


def test_what_is_not_of_one_run_is_kept_and_named(copy):
    market = opened(copy)
    key = market.sessions.keys[-1]
    table = next(
        t
        for s in stages(market)
        for t in s.tables
        if s.name == "lstm_portfolio" and "trades" in t.name
    )
    made = replace(market.warehouse.info(table.name, key).provenance, config="another")
    market.warehouse.write(table, table.name, key, table.empty(), made)
    path = market.paths.warehouse / table.name / f"date={key}" / PART
    whole, said = backup(copy)
    assert not whole
    assert "it is not of the same run as" in said
    assert kept(copy)[f"tables/{table.name}/date={key}/{PART}"] == path.read_bytes()


def test_a_content_of_the_backup_that_changed_is_written_again(copy):
    """Its size is as it was; so a restore that replaces is refused before anything is changed."""
    market = opened(copy)
    path = next((market.paths.models / "gru" / bundle_of(market)).glob("weights*"))
    content = path.read_bytes()
    name = hashlib.sha256(content).hexdigest()
    held = copy / "backup" / "objects" / name[:2] / name
    held.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    path.write_bytes(content[:-1])
    other = market.paths.warehouse / "market.json"
    other.write_bytes(other.read_bytes() + b" ")
    with pytest.raises(PipelineError, match="has lost 1 contents of tiny"):
        restore(copy, replace=True)
    assert other.read_bytes().endswith(b" ")
    path.write_bytes(content)
    whole, said = backup(copy)
    assert not whole
    assert f"damaged: {held} of the backup itself, and it was written again" in said
    assert held.read_bytes() == content
    assert backup(copy)[0]


def test_bundles_of_a_disk_that_is_not_mounted_are_named_and_kept(copy):
    market = opened(copy)
    shutil.rmtree(market.paths.models)
    whole, said = backup(copy)
    assert not whole
    bundle = market.paths.models / "krnn" / bundle_of(market)
    assert f"damaged: {bundle}: it is not there any more; its last backup is kept" in said
    assert f"models/krnn/{bundle.name}/{MANIFEST}" in kept(copy)


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


def test_a_folder_inside_of_what_is_backed_up_is_refused(copy):
    """By its name, by a URL, by a link to it, and beside a table that was moved by a link."""
    table = copy / "data/tiny/warehouse/ohlcv"
    table.rename(copy / "moved")
    table.symlink_to(copy / "moved")
    (copy / "link").symlink_to(copy / "data/tiny/models")
    inside = ("data/b", "data/dagster/b", "data/tiny/warehouse/b", "link/b", "moved/b")
    for folder in [*(str(copy / name) for name in inside), f"file://{copy}/data/b"]:
        with pytest.raises(WarehouseError, match="which is backed up: name a folder on another"):
            run_backup(opened(copy), Console(file=io.StringIO()), folder, None)
    assert not list(copy.rglob("b"))
    before = kept(copy)
    assert backup(copy)[0]
    assert kept(copy) == before  # the moved table is a part of the market


def test_a_file_that_the_disk_cannot_give_ends_no_backup(copy, monkeypatch):
    """The rest is kept as it is now, and of that one the content of the last backup."""
    market = opened(copy)
    path = market.paths.warehouse / "krnn_prediction" / f"date={market.sessions.keys[-1]}" / PART
    before, read = kept(copy), LocalStore.read

    def failing(self: LocalStore, *parts: str) -> bytes:
        if self.path(*parts) == str(path):
            raise OSError(errno.EIO, "input/output error")
        return read(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "read", failing)
        whole, said = backup(copy)
    assert not whole
    assert f"damaged: {path}: it cannot be read: [Errno 5] input/output error; its last" in said
    assert before.items() <= kept(copy).items()  # all bundles of that model besides


def test_the_command_that_it_prints_names_the_market_where_there_are_two(copy):
    (copy / "data" / "link").symlink_to(copy / "backup")  # which no backup holds
    _, said = backup(copy)
    assert "--market" not in said
    shutil.copytree(copy / "backup" / "tiny", copy / "backup" / "other")
    _, said = backup(copy)
    assert f"restore {copy / 'backup'} --market tiny" in said


def test_a_revision_that_retention_has_removed_is_no_damage(copy):
    """One that nobody was served, unlike the first."""
    market = opened(copy)
    key = market.sessions.keys[-SERVED]
    first = market.paths.warehouse / revisions.FOLDER / "gru_prediction" / f"date={key}"
    second = first / "rev-2.parquet"
    shutil.copyfile(first / "rev-1.parquet", second)
    assert backup(copy)[0]
    second.unlink()
    whole, said = backup(copy)
    assert whole, said
    (first / "rev-1.parquet").unlink()
    whole, said = backup(copy)
    assert not whole
    assert "rev-1.parquet: it is not there any more; its last backup is kept" in said


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
