"""Backup. Oracle: the bytes of the market's files, and what a restore brings back."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.errors import PipelineError, WarehouseError
from pipelines.operations.backup import run_backup
from pipelines.warehouse import revisions
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from rnn_core.training.bundle_files import MANIFEST, digest, json_bytes
from tests.pipelines.saved_market import (
    SERVED,
    backup,
    bundle_of,
    kept,
    opened,
    restore,
)


@pytest.fixture
def copy(saved_copy):
    """A folder of its own with the market and its backup."""
    return saved_copy


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
