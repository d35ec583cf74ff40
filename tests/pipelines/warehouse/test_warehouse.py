"""The warehouse and its files: atomic, idempotent, verified."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines.errors import MissingSessionsError, NewerStateError, WarehouseError
from pipelines.warehouse.identity import DamagedFileError, Identity
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.partition_file import (
    Provenance,
    encode,
    fingerprint,
    read_info,
    sha256,
    verify,
)
from pipelines.warehouse.schemas import LABEL, feature_table
from pipelines.warehouse.store import remove_leftovers
from pipelines.warehouse.verified_reads import LocalReads
from pipelines.warehouse.warehouse import _IN_FLIGHT, Warehouse

TABLE = feature_table("features", "", {"A": "a", "B": "b"})
MADE = Provenance("features", "1", "c0ffee", {"ohlcv": "abc"})
PLACE = Identity("x", "table", "features", "2024-01-02")
KEYS = ["2024-01-02", "2024-01-03", "2024-01-04"]


def rows(seed: int = 0, n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "instrument": [f"S{i:03d}" for i in rng.permutation(n)],
            "member": rng.random(n) < 0.5,
            "A": rng.normal(size=n).astype("float32"),
            "B": np.where(rng.random(n) < 0.2, np.nan, 1.0).astype("float32"),
        }
    )


@pytest.fixture(params=["local", "memory"])
def warehouse(request, tmp_path):
    """One on disk and one on another filesystem of fsspec."""
    if request.param == "local":
        yield Warehouse(tmp_path / "warehouse", {"name": "x"})
    else:
        import fsspec

        url = f"memory://{tmp_path.name}"
        yield Warehouse(url, {"name": "x"})
        files = fsspec.filesystem("memory")
        if files.exists(f"/{tmp_path.name}"):
            files.rm(f"/{tmp_path.name}", recursive=True)


def test_what_is_written_is_read(warehouse):
    frames = {key: rows(i) for i, key in enumerate(KEYS)}
    warehouse.write_many(TABLE, "features", ((k, f, MADE) for k, f in frames.items()))
    parts = warehouse.read("features", KEYS[:2], needed_by="test")
    assert list(parts.frame.columns) == ["date", "instrument", "member", "A", "B"]
    expected = pd.concat([frames[k].sort_values("instrument") for k in KEYS[:2]])
    np.testing.assert_array_equal(parts.frame["A"], expected["A"])
    np.testing.assert_array_equal(parts.frame["B"], expected["B"])
    assert parts.frame["date"].dt.strftime("%Y-%m-%d").tolist() == sorted(KEYS[:2] * 40)
    only = warehouse.read("features", KEYS, needed_by="test", columns=["B"])
    assert list(only.frame.columns) == ["date", "B"]
    assert warehouse.sessions("features") == KEYS


def test_writing_twice_gives_the_same_bytes(warehouse):
    first = warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    path = ("features", f"date={KEYS[0]}", "part-0.parquet")
    before = warehouse.store.read(*path)
    shuffled = rows().sample(frac=1, random_state=1)[["B", "A", "member", "instrument"]]
    second = warehouse.write(TABLE, "features", KEYS[0], shuffled, MADE)
    assert warehouse.store.read(*path) == before
    assert first == second


def test_partitions_are_written_in_parallel_and_given_in_order(tmp_path):
    """Each is in place when it is given, and no more than a bound is made ahead."""
    warehouse, made = Warehouse(tmp_path, {}), []
    keys = [f"2024-{m:02d}-{d:02d}" for m in range(1, 5) for d in range(1, 21)]

    def parts():
        for key in keys:
            made.append(key)
            yield key, rows(len(made)), MADE

    given = []
    for key, info in warehouse.write_each(TABLE, "features", parts()):
        assert warehouse.info("features", key) == info
        given.append(key)
        assert len(made) - len(given) < _IN_FLIGHT
    assert given == keys == warehouse.sessions("features")


@pytest.mark.parametrize("where", ["made", "written"])
def test_an_error_among_many_ends_the_writing_and_leaves_nothing_partial(tmp_path, where):
    """Whether a partition cannot be made or not be written: what is there is whole."""
    warehouse, keys = Warehouse(tmp_path, {}), [f"{y}-01-02" for y in range(1900, 2000)]

    def parts():
        for at, key in enumerate(keys):
            if at == 20 and where == "made":
                raise ZeroDivisionError
            bad = at == 20 and where == "written"
            yield key, rows(at).assign(instrument=None) if bad else rows(at), MADE

    given = []
    error = ZeroDivisionError if where == "made" else WarehouseError
    with pytest.raises(error):
        given.extend(key for key, _ in warehouse.write_each(TABLE, "features", parts()))
    there = warehouse.sessions("features")
    assert given == (keys[:20] if where == "made" else keys[: len(given)])
    assert set(given) <= set(there) <= set(keys[: 20 + _IN_FLIGHT]) - {keys[20]}
    warehouse.digests("features", there, needed_by="test")
    assert not list(tmp_path.rglob("*.tmp"))


def test_provenance_travels_with_the_rows(warehouse):
    written = warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    found = warehouse.info("features", KEYS[0])
    assert found == written
    assert found.provenance.inputs == {"ohlcv": "abc"}
    assert warehouse.info("features", KEYS[1]) is None


def test_other_provenance_is_another_fingerprint(warehouse):
    one = warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    other = Provenance("features", "1", "c0ffee", {"ohlcv": "abd"})
    assert warehouse.write(TABLE, "features", KEYS[0], rows(), other).digest != one.digest


def test_absent_sessions_are_named(warehouse):
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    with pytest.raises(
        MissingSessionsError,
        match=r"test reads features of 3 sessions.*2024-01-03, 2024-01-04; materialize features",
    ):
        warehouse.read("features", KEYS, needed_by="test")


def test_another_market_is_refused(tmp_path):
    Warehouse(tmp_path, {"name": "x", "start": "2020-01-02"}).write(
        TABLE, "features", KEYS[0], rows(), MADE
    )
    other = Warehouse(tmp_path, {"name": "x", "start": "2019-01-02"})
    with pytest.raises(WarehouseError, match=r"another market .*start: '2020-01-02' there"):
        other.write(TABLE, "features", KEYS[0], rows(), MADE)


def test_a_damaged_partition_is_refused_and_named(tmp_path):
    warehouse = Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    path = tmp_path / "features" / f"date={KEYS[0]}" / "part-0.parquet"
    raw = bytearray(path.read_bytes())
    raw[60] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WarehouseError, match=r"2024-01-02 of features is damaged.*materialize"):
        Warehouse(tmp_path, {}).read("features", KEYS[:1], needed_by="test")


def test_damage_done_after_a_read_is_seen_by_the_next(tmp_path):
    """The digest that a process remembers is for the file it saw, not for its path."""
    warehouse = Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    warehouse.read("features", KEYS[:1], needed_by="test")
    path = tmp_path / "features" / f"date={KEYS[0]}" / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WarehouseError, match="damaged"):
        warehouse.read("features", KEYS[:1], needed_by="test")


def test_every_single_flipped_byte_is_noticed():
    """DuckDB and pyarrow read many of these without a word; `verify` refuses all."""
    raw, digest = encode(LABEL.schema.empty_table(), MADE, PLACE)
    assert verify(raw, PLACE) == digest
    for at in range(len(raw)):
        broken = raw[:at] + bytes([raw[at] ^ 0x40]) + raw[at + 1 :]
        with pytest.raises((DamagedFileError, NewerStateError)):  # the format is a byte, too
            verify(broken, PLACE)
        with pytest.raises((DamagedFileError, NewerStateError)):
            verify(broken, PLACE, unsigned=True)
    for length in (0, 10, len(raw) // 2, len(raw) - 1):
        with pytest.raises(DamagedFileError):
            verify(raw[:length], PLACE)


def test_a_partition_is_an_ordinary_parquet_file(tmp_path):
    warehouse = Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    path = tmp_path / "features" / f"date={KEYS[0]}" / "part-0.parquet"
    frame = pq.ParquetFile(path).read().to_pandas()
    assert frame["instrument"].is_monotonic_increasing
    assert read_info(path).rows == len(frame) == 40


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns="A"), r"columns \['A'\] are missing"),
        (lambda f: f.assign(C=1), r"columns \['C'\]"),
        (lambda f: f.assign(instrument=None), "40 of 40 values of instrument are missing"),
        (lambda f: f.assign(A="text"), "features of 2024-01-02: "),
    ],
)
def test_rows_that_do_not_fit_are_refused(warehouse, spoil, message):
    with pytest.raises(WarehouseError, match=message):
        warehouse.write(TABLE, "features", KEYS[0], spoil(rows()), MADE)
    assert warehouse.sessions("features") == []


def test_a_write_that_is_cut_off_leaves_the_old_partition(tmp_path, monkeypatch):
    """A failing rename leaves the partition as it was and no temporary file."""
    warehouse = Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(0), MADE)
    path = tmp_path / "features" / f"date={KEYS[0]}" / "part-0.parquet"
    before = path.read_bytes()

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(WarehouseError, match=r"cannot write features of 2024-01-02 .*No space"):
        warehouse.write(TABLE, "features", KEYS[0], rows(1), MADE)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["part-0.parquet"]


def test_what_killed_writers_left_is_removed(tmp_path):
    """Files and folders of processes that are gone; not those of one at work, nor other names."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = tmp_path / "models" / "lstm" / f".2024-01-02.{gone.pid}.0a1b2c3d.tmp"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"half")
    file = tmp_path / f".signal.csv.{gone.pid}.0a1b2c3d.tmp"
    kept = [tmp_path / f".signal.csv.{os.getpid()}.0a1b2c3d.tmp", tmp_path / ".mine.tmp"]
    for path in (file, *kept):
        path.write_bytes(b"")
    assert remove_leftovers(tmp_path) == 2
    assert not folder.exists()
    assert not file.exists()
    assert all(path.exists() for path in kept)


def test_files_of_different_columns_are_an_error(tmp_path):
    warehouse = Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    wider = feature_table("features", "", {"A": "a", "B": "b", "C": "c"})
    warehouse.write(wider, "features", KEYS[1], rows().assign(C=np.float32(1)), MADE)
    with pytest.raises(WarehouseError, match=r"2024-01-03 has other columns .*materialize"):
        warehouse.read("features", KEYS[:2], needed_by="test")
    with pytest.raises(WarehouseError, match="asks for other columns now"):
        warehouse.read("features", KEYS[:1], needed_by="test", columns=["C"])


def test_a_file_that_was_verified_is_not_read_again_before_it_changes(tmp_path, monkeypatch):
    """Oracle: the number of times that the store is asked for the file."""
    asked = []
    read = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, *p: asked.extend(p[:1]) or read(self, *p))
    warehouse = Warehouse(tmp_path, {"name": "x"})
    warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)
    asked.clear()
    raw = warehouse.content("features", KEYS[0])
    assert warehouse.read("features", KEYS[:1], needed_by="test").digests == {
        KEYS[0]: verify(raw, warehouse.identity("features", KEYS[0]))
    }
    assert asked == ["features"]
    warehouse.afresh().read("features", KEYS[:1], needed_by="test")
    assert asked == ["features"] * 2, "what one object has verified the other one has not"
    other = feature_table("features", "", {"C": "c"})
    renamed = rows(1, n=30).rename(columns={"A": "C"}).drop(columns="B")
    Warehouse(tmp_path, {"name": "x"}).write(other, "features", KEYS[0], renamed, MADE)
    warehouse.content("features", KEYS[0])
    parts = warehouse.read("features", KEYS[:1], needed_by="test")
    assert list(parts.frame.columns) == ["date", "instrument", "member", "C"]
    assert asked.count("features") == 3
    with pytest.raises(FileNotFoundError):
        warehouse.content("features", KEYS[1])


def test_a_file_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    """Rows are those of the digest that is returned, also if another process writes meanwhile."""
    warehouse, other = Warehouse(tmp_path, {}), Warehouse(tmp_path, {})
    warehouse.write(TABLE, "features", KEYS[0], rows(0), MADE)
    original, writes = LocalReads._rows, []

    def interfering(self, *args):
        if not writes:
            writes.append(other.write(TABLE, "features", KEYS[0], rows(1), MADE))
        return original(self, *args)

    monkeypatch.setattr(LocalReads, "_rows", interfering)
    parts = warehouse.read("features", KEYS[:1], needed_by="test")
    assert parts.digests[KEYS[0]] == writes[0].digest
    np.testing.assert_array_equal(parts.frame["A"], rows(1).sort_values("instrument")["A"])


def test_fingerprints_tell_lists_apart():
    assert sha256("ab", "c") != sha256("a", "bc")
    assert fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
