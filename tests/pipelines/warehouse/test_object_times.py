"""Times of files in an object store, which knows those of puts alone. Oracle: times given."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipelines.warehouse.fetched import fetched_once
from pipelines.warehouse.store import Store
from pipelines.warehouse.stores import open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"memory://{tmp_path.name}/state", {})


@pytest.mark.parametrize("once", [False, True])
def test_a_time_is_that_of_the_content_it_was_given_for(store, once):
    began = time.time() - 60
    with fetched_once() if once else nullcontext():
        store.write_at(b"served", 100.0, "t", "file")
        assert store.written("t", "file") == 100.0
        store.write(b"anew", "t", "file")
        assert store.written("t", "file") > began
        store.write_at(b"restored", 200.0, "t", "file")
        store.rewrite(b"restored and signed", "t", "file")
        assert (store.read("t", "file"), store.written("t", "file")) == (
            b"restored and signed",
            200.0,
        )
        store.append(b"!", "t", "file")
        assert store.written("t", "file") > began
        store.write_as_of(b"copy", ("t", "file"), "t", "other")
        store.remove("t", "other")
        assert store.create(b"new", "t", "other")
        assert store.written("t", "other") > began


def test_what_holds_a_time_is_no_file_of_the_store(store):
    """A backup, a survey and a page would take it for one."""
    store.write_at(b"one", 100.0, "t", "file")
    store.write_at(b"two", 100.0, "file")
    assert store.files() == ["file", "t/file"]
    assert store.sizes() == {"file": 3, "t/file": 3}
    assert (store.names(), store.below("t").names()) == ({"file", "t"}, {"file"})
    store.remove("file")
    store.below("t").remove_all()
    assert not store._fs.find(store.root), "nothing is left behind"  # type: ignore[attr-defined]


def test_a_time_that_an_earlier_release_noted_counts(store):
    """It wrote the seconds alone; of a file that was put long after it says nothing."""
    store.write(b"100.0", "t", "file.written")
    store.write(b"served", "t", "file")
    assert store.written("t", "file") == 100.0
    store.rewrite(b"signed", "t", "file")
    assert store.written("t", "file") == 100.0
    listed = {"file": 5000.0, "file.written": 10.0}
    store.write(b"100.0", "t", "file.written")
    assert store._noted(listed, "t", "file") is None  # type: ignore[attr-defined]


def test_a_file_without_a_note_is_removed_by_one_request(store, monkeypatch):
    removed, remove = [], store._fs.rm_file  # type: ignore[attr-defined]
    monkeypatch.setattr(store._fs, "rm_file", lambda p: (removed.append(p), remove(p)))
    for name in ("a", "b"):
        store.write(b"x", "t", name)
        store.remove("t", name)
    assert removed == [store.path("t", "a"), store.path("t", "b")]
