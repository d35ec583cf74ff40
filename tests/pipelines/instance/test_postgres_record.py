"""The record in Postgres keeps what Dagster's own keeps, in few commits.

Oracle: the numbers that the server gives to transactions.
"""

from __future__ import annotations

import os
import signal
import time

import dagster as dg
import pytest
import sqlalchemy as db
import yaml

from pipelines.errors import ConfigError
from pipelines.instance.held_events import HOLD_SECONDS
from pipelines.instance.home import complete_home, open_home, prepare_home
from pipelines.instance.postgres_record import PostgresEventLog, with_driver
from pipelines.instance.run_history import RANGE_END, RANGE_START
from tests.pipelines.conftest import (
    DATA_ASSETS,
    DATA_STAGE,
    make_market,
    materialize,
    model_assets,
)
from tests.pipelines.finished_markets import copy_of, put_on_record
from tests.pipelines.instance.test_event_log import ASSET_ROWS, DAYS, TAGS, filled, table
from tests.pipelines.records import POSTGRES, open_record, postgres_server

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("record_kind"),
    pytest.mark.parametrize("record_kind", [POSTGRES], indirect=True),
]
SESSIONS = DAYS.get_partition_keys()
OURS = {"module": "pipelines.instance.postgres_record"}
VARIABLE = {"env": "RNN_RECORD_URL"}


def run(instance: dg.DagsterInstance) -> str:
    tags = {RANGE_START: SESSIONS[0], RANGE_END: SESSIONS[-1]}
    result = dg.materialize([table, filled], instance=instance, tags=tags)
    assert result.success
    return result.run_id


def as_dagster_ships_it(folder) -> dg.DagsterInstance:
    url = with_driver(postgres_server().database(folder))
    return dg.DagsterInstance.local_temp(
        str(folder), overrides={"storage": {"postgres": {"postgres_url": url}}}
    )


def rows(instance: dg.DagsterInstance) -> list[object]:
    with instance.event_log_storage.index_connection() as connection:
        kept = connection.exec_driver_sql(ASSET_ROWS).all()
        return kept + connection.exec_driver_sql(TAGS).all()


def commits(folder) -> int:
    """The number that Postgres gives to the next transaction that changes something.

    One that only reads has none, and so has this question.
    """
    engine = db.create_engine(with_driver(postgres_server().database(folder)))
    with engine.connect() as connection:
        number = connection.exec_driver_sql("SELECT txid_snapshot_xmax(txid_current_snapshot())")
        return int(number.scalar_one())


def test_it_keeps_what_dagsters_own_keeps(tmp_path, monkeypatch):
    """Oracle: Dagster's storing of the same run in Postgres, one event at a time."""
    (tmp_path / "plain").mkdir()
    with open_record(tmp_path / "ours") as ours:
        run_id = run(ours)
        (newest,) = ours.fetch_materializations(dg.AssetKey("table"), limit=1).records
        entry = ours.event_log_storage.get_asset_records([dg.AssetKey("table")])[0].asset_entry
        assert (entry.last_materialization_record, entry.last_run_id) == (newest, run_id)
        kept = rows(ours)
        logged = [e.dagster_event_type for e in ours.all_logs(run_id)]
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    with as_dagster_ships_it(tmp_path / "plain") as plain:
        theirs = run(plain)
        assert kept == rows(plain)
        assert logged == [e.dagster_event_type for e in plain.all_logs(theirs)]


def test_a_partition_of_a_range_takes_less_than_a_commit_and_a_check_one_row(tmp_path):
    """Dagster's own takes six as shipped; all of the run counts: plan, steps, checks."""
    market = make_market(tmp_path / "tiny")
    first, last = market.sessions.first, market.sessions.keys[39]
    with open_record(tmp_path / "record") as record:
        before = commits(tmp_path / "record")
        materialize(market, DATA_ASSETS[:3], first, last, record)
        per_partition = (commits(tmp_path / "record") - before) / (3 * 40)
        with record.event_log_storage.index_connection() as connection:
            planned = connection.exec_driver_sql(
                "SELECT count(*) FROM asset_check_executions WHERE execution_status = 'PLANNED'"
            ).scalar_one()
    assert planned == 0
    assert per_partition < 1


def test_a_run_of_one_session_takes_six_commits_an_asset_at_most(finished, tmp_path):
    """Dagster's own takes more than twenty; all of the run counts, however long a step takes."""
    market = copy_of(finished, tmp_path / "tiny")
    last, assets = market.sessions.keys[-1], [*DATA_STAGE, *model_assets(market)]
    with open_record(tmp_path / "record") as record:
        put_on_record(market, record)
        before = commits(tmp_path / "record")
        materialize(market, assets, last, last, record)
        per_partition = (commits(tmp_path / "record") - before) / len(assets)
    assert per_partition <= 6


def test_a_pool_may_lose_its_limit_while_a_step_has_its_slot(tmp_path):
    """Another host has no limit for it; to begin with there is none, then the slot is given up."""
    with open_record(tmp_path / "record") as record:
        log = record.event_log_storage
        assert log.get_pool_limits() == []
        log.set_concurrency_slots("training", 1)
        assert log.claim_concurrency_slot("training", "run", "step").is_claimed
        log.delete_concurrency_limit("training")
        assert log.get_pool_limits() == []
        log.free_concurrency_slots_for_run("run")
        log.set_concurrency_slots("training", 2)
        assert [(pool.name, pool.limit) for pool in log.get_pool_limits()] == [("training", 2)]


@dg.asset
def made(context) -> None:
    context.log.info("made soon")


@dg.asset(deps=[made])
def endless(context) -> None:
    context.log.info("at work")
    time.sleep(300)


def test_others_see_a_run_at_work_and_all_that_it_made_before_it_was_killed(tmp_path):
    """Another process sees held events within a second or two."""
    with open_record(tmp_path / "record") as record:
        child = os.fork()
        if child == 0:
            dg.materialize([made, endless], instance=record)
        until = time.monotonic() + 60
        said: list[str] = []
        while "at work" not in said and time.monotonic() < until:
            said = [e.user_message for id_ in record.get_run_ids() for e in record.all_logs(id_)]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        entries = record.all_logs(record.get_run_ids()[0])
        assert said == [entry.user_message for entry in entries]
        delay = time.time() - next(e.timestamp for e in entries if e.user_message == "at work")
        assert record.get_latest_materialization_event(dg.AssetKey("made")) is not None
    kinds = [entry.dagster_event_type for entry in entries]
    assert kinds.index(dg.DagsterEventType.RUN_START) < said.index("made soon")
    assert said.index("made soon") < kinds.index(dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert delay < HOLD_SECONDS + 4


def test_a_connection_that_the_server_closed_is_opened_again(tmp_path):
    with open_record(tmp_path / "record") as record:
        run(record)
        postgres_server().close_connections(tmp_path / "record")
        run(record)
        assert len(record.get_run_ids()) == 2


def test_a_forked_child_has_connections_of_its_own(tmp_path):
    """The parent's keeps its answers in order."""
    with open_record(tmp_path / "record") as record:
        run(record)
        child = os.fork()
        if child == 0:
            os._exit(0 if len(record.get_run_ids()) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(record.get_run_ids()) == 1


def test_the_owner_need_not_know_the_driver():
    """SQLAlchemy's own for such a URL is another one, which is not installed."""
    ours = "postgresql+psycopg2://me:pw@db:5432/x?sslmode=require"
    assert with_driver("postgresql://me:pw@db:5432/x?sslmode=require") == ours
    assert with_driver("postgres://me:pw@db:5432/x?sslmode=require") == ours
    assert with_driver(ours) == ours


def test_the_event_log_alone_may_be_named(tmp_path, monkeypatch):
    """As Dagster's Helm chart does, whose runs and schedules are in storages of their own."""
    config = {"postgres_url": {"env": "RNN_TEST_URL"}}
    monkeypatch.setenv("RNN_TEST_URL", postgres_server().database(tmp_path / "record"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    home = tmp_path / "home"
    home.mkdir()
    settings = {"event_log_storage": {**OURS, "class": "PostgresEventLog", "config": config}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with open_home(prepare_home(home)) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLog)
        run(instance)


def test_an_owner_chooses_it_by_an_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_RECORD_URL", postgres_server().database(tmp_path / "record"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    home = tmp_path / "home"
    home.mkdir()
    storage = {**OURS, "class": "PostgresRecord", "config": {"postgres_url": VARIABLE}}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": storage}}))
    for line in complete_home(home):
        assert "event_log_storage" not in line  # Dagster refuses both
    with dg.DagsterInstance.from_config(str(home)) as instance:  # as webserver and daemon open it
        assert isinstance(instance.event_log_storage, PostgresEventLog)
        run(instance)
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    monkeypatch.delenv("RNN_RECORD_URL")
    with pytest.raises(ConfigError, match="RNN_RECORD_URL"), open_home(home):
        pytest.fail("there is no URL")
