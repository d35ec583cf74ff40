"""Dagster's record read without Dagster. Oracle: Dagster's own answers over the same record."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.errors import WarehouseError
from pipelines.instance.home import dagster_instance, reading_instance
from pipelines.instance.materializations import first_made
from pipelines.instance.record_reads import RecordAtRest, at_work, reading_record, recorded_sessions
from pipelines.instance.resting_record import resting_record
from pipelines.instance.waiting import waiting_since
from pipelines.instance.warm_up_records import warm_up_keys
from pipelines.market.market import Market
from pipelines.operations.warm_up import mark_warm_up
from pipelines.staleness.state_bytes import state_bytes
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import key_of, make_market
from tests.pipelines.finished_markets import recorded_copy_of

SESSIONS = ("2020-05-13", "2020-05-14", "2020-05-15")


@pytest.fixture(scope="module")
def recorded(finished, tmp_path_factory):
    """A finished market on record, with its warm-up and a session that waits; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        market = recorded_copy_of(finished, tmp_path_factory.mktemp("resting") / "data" / "tiny")
        with dagster_instance(market) as instance:
            mark_warm_up(market, stages(market), instance)
            for key in SESSIONS[:2]:
                instance.report_runless_asset_event(
                    dg.AssetObservation(key_of("ohlcv"), partition=key)
                )
            instance.report_runless_asset_event(
                dg.AssetMaterialization(key_of("ohlcv"), partition=SESSIONS[0])
            )
        return market


@pytest.fixture
def copy(recorded, tmp_path, monkeypatch):
    """A copy of it, to be written to."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    shutil.copytree(recorded.paths.root.parent, tmp_path / "data")
    return make_market(tmp_path / "data" / "tiny")


def is_at_rest(market: Market) -> bool:
    return resting_record(market) is not None


def history(market: Market) -> Path:
    return market.paths.dagster / "history"


def test_every_answer_is_dagsters(recorded):
    names = [stage.name for stage in stages(recorded) if stage.tables]
    record = resting_record(recorded)
    assert record is not None
    with reading_instance(recorded) as instance:
        for name in names:
            asset = key_of(name)
            assert record.sessions(name) == instance.get_materialized_partitions(asset)
            assert record.warm_up(name) == warm_up_keys(instance, asset)
            for bounds in (("", "9999-12-31"), ("2020-05-01", SESSIONS[1])):
                assert record.first_made(name, *bounds) == first_made(instance, asset, *bounds)
        assert record.warm_up("lstm_prediction")
        assert record.sessions("lstm_prediction") > set(SESSIONS)
        for keys in (SESSIONS, SESSIONS[::2], SESSIONS[:1], ()):
            waiting = waiting_since(instance, key_of("ohlcv"), keys)
            assert min(record.waiting("ohlcv") & set(keys), default=None) == waiting
        assert record.waiting("ohlcv") == {SESSIONS[1]}


def test_a_status_is_that_of_dagsters_record(recorded):
    table = stages(recorded)
    with reading_record(recorded) as record, reading_instance(recorded) as instance:
        assert isinstance(record, RecordAtRest)
        both = [status_report(recorded, table, each) for each in (record, instance)]
        assert both[0] == both[1]
        assert state_bytes(recorded, record) == state_bytes(recorded, instance)


def test_a_record_that_was_never_made_is_empty(tmp_path):
    market = make_market(tmp_path / "tiny")
    record = resting_record(market)
    assert record is not None
    assert record.sessions("ohlcv") == set()
    assert not market.paths.dagster.exists()


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("runs.db", "INSERT INTO runs (run_id, status) VALUES ('a', 'STARTED')"),
        ("runs.db", "INSERT INTO runs (run_id, status) VALUES ('a', 'QUEUED')"),
        (
            "runs.db",
            "INSERT INTO bulk_actions (key, status, timestamp) VALUES ('a', 'REQUESTED', 0)",
        ),
        ("runs.db", "INSERT INTO alembic_version VALUES ('two')"),
        ("runs/index.db", "INSERT INTO alembic_version VALUES ('two')"),
        ("runs/index.db", "UPDATE asset_keys SET asset_details = '{}'"),
        ("runs/index.db", "DROP TABLE alembic_version"),
    ],
)
def test_dagster_is_asked_where_something_works_or_is_odd(copy, file, statement):
    assert is_at_rest(copy)
    with closing(sqlite3.connect(history(copy) / file)) as database:
        database.execute(statement)
        database.commit()
    assert not is_at_rest(copy)


def test_a_run_that_ended_leaves_the_record_at_rest(copy):
    with closing(sqlite3.connect(history(copy) / "runs.db")) as database:
        database.execute("INSERT INTO runs (run_id, status) VALUES ('a', 'FAILURE')")
        database.commit()
    assert is_at_rest(copy)


def test_dagster_is_asked_while_another_process_has_the_record_open(copy):
    with dagster_instance(copy) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(key_of("ohlcv"), partition=SESSIONS[0])
        )
        assert not is_at_rest(copy)
    assert is_at_rest(copy)


def test_what_is_written_while_a_command_reads_is_seen(copy):
    """The record was at rest as the command began; then another one writes to it."""
    with reading_record(copy) as record:
        assert SESSIONS[2] in recorded_sessions(record, copy, "ohlcv")
        with closing(sqlite3.connect(history(copy) / "runs/index.db")) as database:
            database.execute("DELETE FROM event_logs WHERE partition = ?", (SESSIONS[2],))
            database.commit()
        assert record.resting.sessions("ohlcv") is None
        assert SESSIONS[2] not in recorded_sessions(record, copy, "ohlcv")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipelines.instance.run_history.work_in_progress", lambda *_: "a run")
            assert at_work(record, copy) == "a run"


def test_damage_between_the_tables_is_dagsters_to_name(copy):
    """The first pages are whole, so that the damage shows only where events are read."""
    path = history(copy) / "runs/index.db"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 5] + bytes(len(raw) * 3 // 5) + raw[len(raw) * 4 // 5 :])
    with (
        pytest.raises(WarehouseError, match=r"is damaged: .*sync"),
        reading_record(copy) as record,
    ):
        for stage in stages(copy):
            recorded_sessions(record, copy, stage.name)


@pytest.mark.parametrize("file", ["runs.db", "runs/index.db"])
def test_dagster_says_what_is_wrong_with_a_damaged_record(copy, file):
    (history(copy) / file).write_bytes(b"no database" * 999)
    assert not is_at_rest(copy)
    (history(copy) / file).unlink()
    assert not is_at_rest(copy)


def test_the_owners_settings_are_dagsters_to_read(copy):
    settings = copy.paths.dagster / "dagster.yaml"
    settings.write_text(settings.read_text() + "\n# mine\n")
    assert not is_at_rest(copy)


def test_a_record_in_a_home_of_its_own_is_named(copy):
    copy.paths.earlier_dagster.mkdir()
    assert not is_at_rest(copy)
