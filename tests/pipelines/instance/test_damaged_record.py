"""A damaged record is put aside file by file. Oracle: SQLite's own check, and records that open."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance.damaged_record import put_damaged_aside
from pipelines.instance.home import open_home, prepare_home
from pipelines.instance.ui_lock import claim_ui


@pytest.fixture
def home(market):
    """A home whose record is in SQLite, and whole."""
    home = prepare_home(market.paths.dagster)
    with open_home(home):
        pass
    return home


def two_revisions(path):
    with closing(sqlite3.connect(path)) as record, record:  # a commit, and no log left
        record.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")


DAMAGES = {
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "two revisions": two_revisions,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db"])
def test_what_is_damaged_is_named_and_put_aside_and_the_rest_stays(home, name, damage):
    path = home / name
    whole = {p: p.read_bytes() for p in home.rglob("*.db") if p != path}
    DAMAGES[damage](path)
    damaged = path.read_bytes()
    if damage != "empty":  # tables are made in it as in a new one
        with pytest.raises(WarehouseError, match=r"is damaged: .*sync"), open_home(home) as record:
            record.get_runs()
            record.all_asset_keys()
    else:
        with (
            pytest.raises(WarehouseError, match=r"is damaged: no such table.*sync"),
            open_home(home, writes=False) as record,
        ):
            record.get_runs()
            record.all_asset_keys()
    (line,) = put_damaged_aside(home)
    assert str(path) in line
    if damage == "empty":
        assert "empty" in line
        assert not (home / "damaged").exists()
    else:
        assert (home / "damaged" / "1" / name).read_bytes() == damaged
    assert not path.exists()
    assert {p: p.read_bytes() for p in whole} == whole
    with open_home(home) as record:
        assert record.get_runs() == []
        assert record.all_asset_keys() == []
    assert put_damaged_aside(home) == []


def test_tables_that_a_killed_process_had_begun_are_removed_in_silence(home):
    """As SQLite leaves them: some tables, none of their revision, no row; and a log beside."""
    path = home / "history/runs/index.db"
    path.unlink()
    with closing(sqlite3.connect(path)) as begun:
        begun.execute("CREATE TABLE event_logs (id INTEGER)")
    path.with_name("index.db-journal").write_bytes(b"")
    assert put_damaged_aside(home) == []
    assert not list(home.rglob("index.db*"))
    assert not (home / "damaged").exists()
    with closing(sqlite3.connect(path)) as begun, begun:
        begun.execute("CREATE TABLE event_logs (id INTEGER)")
        begun.execute("INSERT INTO event_logs VALUES (1)")
    (line,) = put_damaged_aside(home)
    assert "is kept as" in line


@pytest.mark.parametrize("is_new", [True, False])
def test_an_empty_database_with_a_journal_is_removed_if_it_was_new(home, tmp_path, is_new):
    """The journal of a change that a kill cut off, as SQLite writes it; of a cut one it is kept."""
    path, other = home / "schedules" / "schedules.db", tmp_path / "other.db"
    with closing(sqlite3.connect(other, isolation_level=None)) as writing:
        if not is_new:
            writing.execute("CREATE TABLE jobs (id INTEGER)")
        writing.execute("BEGIN")
        writing.execute("CREATE TABLE job_ticks (id INTEGER)")
        journal = other.with_name("other.db-journal").read_bytes()
    path.write_bytes(b"")
    path.with_name("schedules.db-journal").write_bytes(journal)
    lines = put_damaged_aside(home)
    assert not list(path.parent.glob("schedules.db*"))
    kept = list((home / "damaged").rglob("schedules.db*"))
    assert (lines, kept) == ([], []) if is_new else (len(lines), len(kept)) == (1, 2)


@pytest.mark.parametrize("content", ["empty", "begun"])
def test_the_log_of_a_run_that_begins_is_left_alone(home, content):
    path = home / "history/runs/0123.db"
    path.touch()
    if content == "begun":
        with closing(sqlite3.connect(path)) as begun:
            begun.execute("CREATE TABLE event_logs (id INTEGER)")
    before = path.read_bytes()
    assert put_damaged_aside(home) == []
    assert path.read_bytes() == before


def test_a_log_beside_an_empty_database_is_kept(home):
    path = home / "history/runs/index.db"
    log = path.with_name("index.db-wal")
    path.write_bytes(b"")
    log.write_bytes(b"rows")
    (line,) = put_damaged_aside(home)
    assert "is kept as" in line
    assert (home / "damaged/1/history/runs/index.db-wal").read_bytes() == b"rows"


def test_nothing_is_moved_while_a_ui_works_with_it(home):
    path = home / "history" / "runs.db"
    path.write_bytes(b"")
    claim = claim_ui(home, 3000)
    with ThreadPoolExecutor(1) as other:  # a thread does not wait for itself
        other.submit(claim.__enter__).result()
        with pytest.raises(PipelineError, match="end it first, its record"):
            put_damaged_aside(home)
        other.submit(claim.__exit__, None, None, None).result()
    assert path.exists()


def test_a_second_damage_keeps_the_first(home):
    path = home / "history" / "runs.db"
    for number in (1, 2):
        path.write_bytes(bytes(number))
        put_damaged_aside(home)
        assert (home / "damaged" / f"{number}" / "history" / "runs.db").read_bytes() == bytes(
            number
        )


def test_a_home_without_a_record_is_whole(tmp_path):
    assert put_damaged_aside(tmp_path / "none") == []


@pytest.mark.parametrize(
    "why", ["database or disk is full", "attempt to write a readonly database"]
)
def test_a_record_that_cannot_be_written_is_not_taken_for_damaged(home, why):
    error = OperationalError("INSERT", {}, sqlite3.OperationalError(why))
    words = f"cannot be written: {why}; check that the disk is not full"
    with pytest.raises(WarehouseError, match=words), open_home(home):
        raise error
