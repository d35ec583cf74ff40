"""Groups of a backup that cannot be read, and backups of strangers. Oracle: faults made here."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from pipelines.errors import WarehouseError
from pipelines.operations import backup_groups
from pipelines.operations.backup_groups import Group, read_group
from pipelines.operations.restore import _require_own_files
from pipelines.warehouse.backup_files import Backups, Entry, Manifest
from pipelines.warehouse.fetched import fetched_once
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.stores import open_store

GOOD, BAD = b"good", b"bad"


def group(*names: str) -> Group:
    """Files of which one with the content `BAD` is damaged."""
    return Group(
        "tables", "any", lambda: names, lambda c: {p: "bad" for p, b in c.items() if b == BAD}, "a"
    )


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited."""
    waited: list[float] = []
    monkeypatch.setattr(backup_groups.time, "sleep", waited.append)
    return waited


class Failing(LocalStore):
    """A disk that cannot give one file back; `reads` are the files that were asked for."""

    error: OSError = OSError(errno.EIO, "input/output error")

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def read(self, *parts: str) -> bytes:
        self.reads.append(parts[-1])
        if parts[-1] == "lost":
            raise self.error
        return super().read(*parts)


def test_a_file_that_the_disk_cannot_give_is_damage_of_that_file(tmp_path, waits):
    store = Failing(tmp_path)
    store.write(GOOD, "whole")
    read = read_group(store, group("lost", "whole"))
    assert read.contents == {"whole": GOOD}
    assert "input/output error" in read.damaged["lost"]
    store.error = ConnectionError("no answer")
    with pytest.raises(ConnectionError, match="no answer"):
        read_group(store, group("lost", "whole"))


def test_damage_is_read_twice_and_not_waited_for(tmp_path, waits):
    store = Failing(tmp_path)
    store.write(BAD, "file")
    assert read_group(store, group("file")).damaged == {"file": "bad"}
    assert (store.reads, waits) == (["file"] * 2, [])


def test_a_file_of_an_object_store_is_fetched_again(tmp_path, waits):
    """Another machine has put a whole one meanwhile."""
    store = open_store(f"memory://{tmp_path.name}/state", {})
    store.write(BAD, "file")
    with fetched_once():
        assert store.read("file") == BAD
        store._fs.pipe_file(store.path("file"), GOOD)
        read = read_group(store, group("file"))
    assert (read.contents, read.damaged) == ({"file": GOOD}, {})


def test_links_lead_out_of_a_store_at_its_first_level_alone(tmp_path):
    disk, store = tmp_path / "disk", LocalStore(tmp_path / "store")
    store.write(b"1", "table", "date=a", "file")
    (disk / "session").mkdir(parents=True)
    (disk / "session" / "file").write_bytes(b"22")
    root = Path(store.root)
    (root / "moved").symlink_to(disk)
    (root / "again").symlink_to(root / "table")
    (root / "around").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "table" / "back").symlink_to(root / "table")
    (root / "table" / "date=b").symlink_to(disk / "session")
    (root / "table" / "loop").symlink_to("loop")
    assert store.sizes() == {"table/date=a/file": 1, "moved/session/file": 2}
    assert store.files("moved") == ["session/file"]


@pytest.mark.parametrize(
    ("place", "path", "config"),
    [
        ("home", "logs/x", "sample"), ("home", "authorized_keys", "sample"),
        ("machine", "market.json", "sample"), ("models", "calendar.json", "sample"),
        ("tables", "market.json", "/home/me/.bashrc"), ("tables", "market.json", "strange"),
    ],
)  # fmt: skip
def test_a_backup_that_no_command_made_restores_nothing(place, path, config):
    manifest = Manifest("tiny", "now", config, (Entry(place, path, "0", 0, 0.0, "any"),))
    with pytest.raises(WarehouseError, match="nothing was restored"):
        _require_own_files(manifest)


@pytest.mark.parametrize("config", ["sample", "/home/me/mine.yaml", "/home/me/mine.yml"])
def test_a_backup_of_a_command_passes(config):
    entries = [("home", "dagster.yaml"), ("home", "workspace.yaml"), ("machine", "downloads/a")]
    files = tuple(Entry(place, path, "0", 0, 0.0, "any") for place, path in entries)
    _require_own_files(Manifest("tiny", "now", config, files))


def test_an_unknown_place_is_refused(tmp_path):
    backups = Backups(LocalStore(tmp_path))
    digest, _ = backups.keep(GOOD)
    made = "2020-01-01T000000.000000Z"
    entry = Entry("elsewhere", "x", digest, 4, 0.0, "any")
    place = Path(backups.write(Manifest("tiny", made, "sample", (entry,))))
    assert json.loads(place.read_bytes())["files"]
    with pytest.raises(WarehouseError, match="the place 'elsewhere', none of yaml, tables"):
        backups.read("tiny", made)
