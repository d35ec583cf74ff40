"""Files that outlive a machine without power. Oracle: a disk that keeps only what was synced to it.

`Disk` records the calls that change files and judges by POSIX alone: content counts once the file
was synced after its last write, a name once its folder was synced after the name was given, and
both once the same holds of every folder above that was made meanwhile.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.market.calendar_ledger import write_ledger
from pipelines.warehouse import revisions
from pipelines.warehouse import warehouse as warehouse_module
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.portfolio_tables import ORDERS
from pipelines.warehouse.schemas import (
    LABEL,
    MODEL,
    OHLCV,
    OHLCV_QUARANTINE,
    PREDICTION,
    Table,
    extra_bars_table,
    feature_table,
)
from pipelines.warehouse.store import PART
from pipelines.warehouse.warehouse import LONGEST_CLOSE_DAYS, Warehouse
from rnn_core.training import atomic_dirs
from rnn_core.training.bundle_files import MANIFEST, digest, json_bytes
from tests.pipelines.conftest import materialize
from tests.pipelines.finished_markets import copy_of, put_on_record
from tests.pipelines.records import own_record

MADE = Provenance("any", "1", "c0ffee")
TODAY = str(dt.datetime.now(dt.UTC).date())
LONG_AGO = str(dt.datetime.now(dt.UTC).date() - dt.timedelta(days=LONGEST_CLOSE_DAYS + 2))


class Disk:
    """The calls below a folder, in order; what was there before is on the disk."""

    def __init__(self) -> None:
        self.made: list[tuple[int, Path]] = []
        self.named: list[tuple[int, Path, Path]] = []
        self.synced: list[tuple[int, Path, int]] = []
        self._clock = 0

    def _now(self) -> int:
        self._clock += 1
        return self._clock

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Record from now on."""
        fsync, mkdir, exchange = os.fsync, os.mkdir, atomic_dirs._exchange

        def naming(name):
            call = getattr(os, name)

            def named(source, target, *args, **kwargs):
                call(source, target, *args, **kwargs)
                self.named.append((self._now(), Path(source), Path(target)))

            return named

        def synced(descriptor):
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.synced.append((self._now(), path, os.fstat(descriptor).st_size))

        def made(path, *args, **kwargs):
            mkdir(path, *args, **kwargs)
            self.made.append((self._now(), Path(path)))

        def exchanged(one, other):
            done = exchange(one, other)
            if done:
                self.named.append((self._now(), one, other))
            return done

        for name in ("replace", "rename", "link"):
            patch.setattr(os, name, naming(name))
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "mkdir", made)
        patch.setattr(atomic_dirs, "_exchange", exchanged)

    def keeps(self, path: Path) -> bool:
        """True if a machine that stops now has the file, whole and by its name."""
        at, source, target = [n for n in self.named if path.is_relative_to(n[2])][-1]
        before = source / path.relative_to(target)  # its name while it was written
        content = any(
            size == path.stat().st_size and (synced == path or (when < at and synced == before))
            for when, synced, size in self.synced
        )
        inside = [folder for folder in path.parents if folder.is_relative_to(target)]
        folders = all(self._is_synced(folder, at) for folder in inside)
        return content and folders and self._has_name(target, at)

    def _has_name(self, path: Path, since: int) -> bool:
        """True if the name of a file or folder is on the disk, with those above it."""
        parent = path.parent
        made = [when for when, folder in self.made if folder == parent]
        is_there = not made or self._has_name(parent, max(made))
        return self._is_synced(parent, since) and is_there

    def _is_synced(self, folder: Path, since: int) -> bool:
        return any(since < when and path == folder for when, path, _ in self.synced)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Disk]:
    """A disk that has the folder of the test, which is made before it is watched."""
    watched = Disk()
    watched.watch(monkeypatch)
    yield watched


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "new" / "warehouse", {"name": "x"})


def _write(warehouse: Warehouse, table: Table, key: str) -> Path:
    warehouse.write(table, table.name, key, table.empty(), MADE)
    return Path(warehouse.store.path(table.name, f"date={key}", PART))


KEPT = (OHLCV, OHLCV_QUARANTINE, PREDICTION, extra_bars_table({}))
MADE_AGAIN = (LABEL, MODEL, feature_table("alpha158", "", {"A": "a"}), ORDERS)


@pytest.mark.parametrize("table", KEPT, ids=lambda table: table.name)
def test_what_belongs_to_this_evening_is_on_the_disk(disk, warehouse, table):
    assert disk.keeps(_write(warehouse, table, TODAY))
    assert disk.keeps(Path(warehouse.store.path("market.json")))


@pytest.mark.parametrize("table", MADE_AGAIN, ids=lambda table: table.name)
def test_what_can_be_made_again_costs_no_sync(disk, warehouse, table):
    warehouse.record.claim()
    synced = len(disk.synced)
    path = _write(warehouse, table, TODAY)
    assert path.is_file()
    assert len(disk.synced) == synced


def test_a_backfill_of_the_past_costs_no_sync(disk, warehouse):
    warehouse.record.claim()
    synced = len(disk.synced)
    for table in KEPT:
        _write(warehouse, table, LONG_AGO)
    assert len(disk.synced) == synced


def test_a_table_that_a_backfill_made_is_on_the_disk_with_its_first_served_file(disk, warehouse):
    _write(warehouse, PREDICTION, LONG_AGO)
    assert disk.keeps(_write(warehouse, PREDICTION, TODAY))


def test_revisions_are_on_the_disk_with_their_time(disk, warehouse):
    path = _write(warehouse, PREDICTION, LONG_AGO)
    os.utime(path, (1e9, 1e9))
    number = revisions.keep(warehouse.store, "prediction", LONG_AGO)
    kept = Path(warehouse.store.path(*revisions.part("prediction", LONG_AGO, number)))
    assert disk.keeps(kept)
    assert kept.stat().st_mtime == 1e9
    _write(warehouse, PREDICTION, LONG_AGO)  # the same bytes, at another time
    assert revisions.drop_unchanged(warehouse.store, "prediction", [LONG_AGO]) == [LONG_AGO]
    assert disk.keeps(path)
    assert path.stat().st_mtime == 1e9


def test_a_folder_of_revisions_goes_with_its_last_one(disk, warehouse):
    store = warehouse.store
    folder = Path(store.path(*revisions.part("prediction", LONG_AGO, 1))).parent
    partition = ("prediction", f"date={LONG_AGO}", PART)
    for content in (b"one", b"another"):
        store.write(content, *partition)
        revisions.keep(store, "prediction", LONG_AGO)
    assert revisions.drop_unchanged(store, "prediction", [LONG_AGO]) == [LONG_AGO]
    assert [path.name for path in folder.iterdir()] == ["rev-1.parquet"]  # was served once
    assert revisions.drop_unchanged(store, "prediction", [LONG_AGO]) == []
    store.write(b"one", *partition)
    assert revisions.drop_unchanged(store, "prediction", [LONG_AGO]) == [LONG_AGO]
    assert not folder.exists()
    assert revisions.tables(store) == []


def test_order_lists_are_on_the_disk(disk, warehouse):
    number = revisions.add(warehouse, ORDERS, LONG_AGO, ORDERS.empty(), MADE)
    assert disk.keeps(Path(warehouse.store.path(*revisions.part(ORDERS.name, LONG_AGO, number))))


def test_bundles_that_serve_and_copies_of_bundles_are_on_the_disk(disk, tmp_path):
    models = LocalStore(tmp_path / "models")
    folder = models.below("gru", "2024-01-02")
    for content in (b"one", b"another"):  # the second takes the place of the first
        files = {"config.yaml": content, "state/0/model.json": content}
        record = {"files": {name: digest(data) for name, data in files.items()}}
        manifest = json_bytes({**record, "fingerprint": digest(content)})
        folder.publish({**files, MANIFEST: manifest}, MANIFEST)
        root = Path(folder.root)
        assert not any(disk.keeps(root / name) for name in (*files, MANIFEST))
        folder.settle()
        assert all(disk.keeps(root / name) for name in (*files, MANIFEST))
        revisions.keep_bundle(models, "gru", "2024-01-02")
        copy = tmp_path / "models" / ".revisions" / "gru" / "2024-01-02" / digest(content)[:16]
        assert all(disk.keeps(copy / name) for name in (*files, MANIFEST))


def test_a_served_prediction_is_on_the_disk_after_its_bundle(finished, tmp_path, monkeypatch):
    market = copy_of(finished, tmp_path / "tiny")
    last, model = market.sessions.keys[-1], "gru"
    path = Path(market.tables.path("gru_prediction", f"date={last}", PART))
    as_of = market.plan.anchor(last)
    bundle = [p for p in Path(market.bundles.path(model, as_of)).rglob("*") if p.is_file()]
    before = path.read_bytes()
    path.unlink()
    watched = Disk()
    with own_record() as record:
        put_on_record(market, record)
        watched.watch(monkeypatch)
        materialize(market, ["gru_prediction"], last, last, record)
        assert not watched.synced  # of 2020: nobody can trade on it any more
        path.unlink()
        monkeypatch.setattr(warehouse_module, "LONGEST_CLOSE_DAYS", 36_500)
        materialize(market, ["gru_prediction"], last, last, record)
    assert path.read_bytes() == before
    assert watched.keeps(path)
    moments = {synced: when for when, synced, _ in watched.synced}
    named = max(when for when, _, target in watched.named if target == path)
    assert bundle
    assert all(moments[file] < named for file in [*bundle, bundle[0].parent, bundle[0].parents[1]])


def test_a_derived_calendar_is_on_the_disk(disk, tmp_path):
    ledger = LocalStore(tmp_path / "x").file("calendar.json")
    write_ledger(ledger, {"fingerprint": "f", "sessions": ["2024-01-02"]})
    assert disk.keeps(tmp_path / "x" / "calendar.json")


def test_the_model_of_the_disk_loses_what_was_not_synced(disk, tmp_path):
    store = LocalStore(tmp_path / "x")
    store.write(b"one", "file")
    assert not disk.keeps(tmp_path / "x" / "file")
    store.write(b"two", "file", durable=True)
    assert not disk.keeps(tmp_path / "x" / "file")  # `x` itself was made by the write before
    store.settle()
    assert disk.keeps(tmp_path / "x" / "file")


def test_lines_that_a_full_disk_cuts_off_are_an_error(tmp_path):
    """The system takes a part of them and says so by its number of bytes alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        with pytest.raises(OSError):
            LocalStore(tmp_path).append(bytes(100), "log")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
