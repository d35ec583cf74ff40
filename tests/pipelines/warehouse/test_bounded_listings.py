"""Listings of some sessions of a table. Oracle: the one of all, and the files themselves."""

from __future__ import annotations

import pytest

from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART, Store

KEYS = [f"2020-01-{day:02}" for day in (2, 3, 6, 7, 8, 9)]


@pytest.fixture
def store(tmp_path):
    """A table of six sessions, and of one whose file is lost, beside what is no session."""
    store = LocalStore(tmp_path / "warehouse")
    for key in KEYS:
        store.write(b"x" * 10, "label", f"date={key}", PART)
    (tmp_path / "warehouse/label/date=2020-01-10").mkdir()
    store.write(b"1234567", "market.json")
    store.write(b"older", ".revisions", "label", "date=2020-01-02", "rev-1.parquet")
    store.write(b"a copy", "label", "date=2020-01-09.bak", PART)
    (tmp_path / "warehouse/label/.hidden").mkdir()
    return store


def test_bounds_are_included(store):
    assert store.partitions("label") == KEYS
    assert store.partitions("label", "2020-01-03", "2020-01-07") == KEYS[1:4]
    assert store.partitions("label", first="2020-01-04") == KEYS[2:]
    assert store.partitions("label", last="2020-01-06") == KEYS[:3]
    assert store.partitions("none", "2020-01-03", "2020-01-07") == []


@pytest.mark.parametrize("count", [0, 1, 3, 99])
@pytest.mark.parametrize("last", ["2020-01-01", "2020-01-06", "2020-01-10"])
def test_the_newest_are_the_end_of_all(store, last, count):
    expected = [key for key in KEYS if key <= last]
    expected = expected[-count:] if count else []
    assert (
        store.newest("label", last, count) == Store.newest(store, "label", last, count) == expected
    )


def test_a_table_without_a_file_has_no_partitions(store):
    (LocalStore(store.root).below("empty")).write(b"", "date=2020-01-02", ".part.tmp")
    (LocalStore(store.root).below("empty")).write(b"", "date=2020-01-02.bak", PART)
    assert [store.has_partitions(name) for name in ("label", "empty", "none")] == [
        True,
        False,
        False,
    ]


def test_a_table_that_had_a_file_is_looked_at_again(store):
    assert store.has_partitions("label")
    for key in KEYS:
        assert store.has_partitions("label")
        store.remove("label", f"date={key}", PART)
    assert not store.has_partitions("label")
    store.write(b"x", "label", f"date={KEYS[3]}", PART)
    assert store.has_partitions("label")


def test_the_bytes_of_tables_are_those_of_partitions_copies_and_the_root(store):
    assert store.table_bytes() == Store.table_bytes(store) == 6 * 10 + 7 + 6
