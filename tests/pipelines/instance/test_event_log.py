"""The event log with open connections: the same record as Dagster's, also after reopening."""

import shutil

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

from pipelines.instance.event_log import _OPEN_DATABASES, LocalEventLogStorage
from pipelines.instance.home import prepare_home
from pipelines.instance.run_history import RANGE_END, RANGE_START
from tests.pipelines.conftest import make_market

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def table(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"rows": int(key[-2:])}, partition_key=key)


@dg.asset_check(asset=table)
def filled() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def home(market, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")  # restored afterwards
    return prepare_home(market.paths.dagster)


def run(instance: dg.DagsterInstance) -> None:
    keys = DAYS.get_partition_keys()
    tags = {RANGE_START: keys[0], RANGE_END: keys[-1]}
    assert dg.materialize([table, filled], instance=instance, tags=tags).success


def test_the_home_uses_it_and_keeps_the_record(home):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.event_log_storage, LocalEventLogStorage)
        assert not instance.telemetry_enabled
        run(instance)
    with dg.DagsterInstance.from_config(str(home)) as again:
        done = again.get_materialized_partitions(dg.AssetKey("table"))
        assert done == set(DAYS.get_partition_keys())
        records = again.fetch_materializations(dg.AssetKey("table"), limit=100).records
        rows = {r.partition_key: r.asset_materialization.metadata["rows"].value for r in records}
        assert rows == {key: int(key[-2:]) for key in done}


RUN_ROWS = "SELECT dagster_event_type, step_key, asset_key, partition FROM event_logs ORDER BY id"
ASSET_ROWS = RUN_ROWS.replace("ORDER", "WHERE asset_key IS NOT NULL ORDER")
TAGS = (
    "SELECT partition, asset_event_tags.asset_key, key FROM asset_event_tags "
    "JOIN event_logs ON event_logs.id = event_id ORDER BY asset_event_tags.id"
)


def stored(home, monkeypatch, batch_size):
    """What the two databases keep of a run, but for ids, times and random data versions."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(batch_size))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run(instance)
        storage, key = instance.event_log_storage, dg.AssetKey("table")
        (run_id,) = instance.get_run_ids()
        with storage.run_connection(run_id) as connection:
            rows = connection.exec_driver_sql(RUN_ROWS).all()
        with storage.index_connection() as connection:
            rows += connection.exec_driver_sql(ASSET_ROWS).all()
            rows += connection.exec_driver_sql(TAGS).all()
        (newest,) = instance.fetch_materializations(key, limit=1).records
        entry = storage.get_asset_records([key])[0].asset_entry
        assert entry.last_materialization_record == newest
        assert entry.last_run_id == run_id
        return rows


def test_a_batch_keeps_what_single_events_keep(home, tmp_path, monkeypatch):
    """Oracle: Dagster's own storing of the same run, one event at a time."""
    batched = stored(home, monkeypatch, 1000)
    shutil.rmtree(home)
    prepare_home(make_market(tmp_path / "tiny").paths.dagster)
    assert batched == stored(home, monkeypatch, 0)
    assert batched.count(("ASSET_MATERIALIZATION", "table", '["table"]', "2024-01-10")) == 2


def test_the_plan_of_an_asset_with_checks_is_a_batch_too(home, monkeypatch):
    """Its partitions come in one batch with its checks, which alone are stored one by one."""
    singly = []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.event_log_storage
        store = storage.store_event
        monkeypatch.setattr(storage, "store_event", lambda e: (singly.append(e), store(e)))
        run(instance)
    kinds = [event.dagster_event_type for event in singly]
    assert kinds.count(dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED) == 1
    assert dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED not in kinds


def test_a_batch_that_fails_is_in_neither_database(home, monkeypatch, capfd):
    """Dagster then stores its events one by one: none may be there twice."""

    def fail(*_args):
        raise RuntimeError("cut off")

    monkeypatch.setattr(LocalEventLogStorage, "_store_asset_event_tags", fail)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.event_log_storage
        monkeypatch.setattr(storage, "store_event", lambda event: None)
        keys = DAYS.get_partition_keys()
        tags = {RANGE_START: keys[0], RANGE_END: keys[-1]}
        dg.materialize([table, filled], instance=instance, tags=tags)
        (run_id,) = instance.get_run_ids()
        for connect in (lambda: storage.run_connection(run_id), storage.index_connection):
            with connect() as connection:
                assert connection.exec_driver_sql("SELECT * FROM event_logs").all() == []
    assert "Exception while storing event batch: cut off" in capfd.readouterr().err


@pytest.mark.parametrize("fails", ["run", "index"])
def test_a_commit_that_fails(home, monkeypatch, capfd, fails):
    """The run's database commits first: the index, which counts, never has what the run has not."""
    real = LocalEventLogStorage.store_event_batch

    def fail(_connection):
        raise RuntimeError("disk full")

    def batch(storage, events):
        engine = storage._engine(events[0].run_id if fails == "run" else INDEX_SHARD_NAME)
        db.event.listen(engine, "commit", fail)
        try:
            real(storage, events)
        finally:
            db.event.remove(engine, "commit", fail)

    monkeypatch.setattr(LocalEventLogStorage, "store_event_batch", batch)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.event_log_storage
        monkeypatch.setattr(storage, "store_event", lambda event: None)
        run(instance)
        (run_id,) = instance.get_run_ids()
        with storage.index_connection() as connection:
            assert connection.exec_driver_sql("SELECT * FROM event_logs").all() == []
        with storage.run_connection(run_id) as connection:
            rows = connection.exec_driver_sql("SELECT * FROM event_logs").all()
        assert bool(rows) == (fails == "index")
    assert "Exception while storing event batch: disk full" in capfd.readouterr().err


def test_two_processes_see_one_record(home):
    """A second instance over the same home, open at the same time, sees what the first writes."""
    with (
        dg.DagsterInstance.from_config(str(home)) as writer,
        dg.DagsterInstance.from_config(str(home)) as reader,
    ):
        assert reader.get_materialized_partitions(dg.AssetKey("table")) == set()
        run(writer)
        assert len(reader.get_materialized_partitions(dg.AssetKey("table"))) == 10


def test_connections_are_reused_without_fsync_and_bounded(tmp_path):
    storage = LocalEventLogStorage(str(tmp_path))
    with storage.index_connection() as connection:
        first = connection.connection.dbapi_connection
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 0
    with storage.index_connection() as connection:
        assert connection.connection.dbapi_connection is first
    for number in range(_OPEN_DATABASES + 5):
        with storage.run_connection(f"run{number}"):
            pass
    assert len(storage._engines) == _OPEN_DATABASES
    storage.dispose()
    assert not storage._engines


def test_pools_are_limited(home):
    """The shipped settings give the pool of the trainings one slot."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.event_log_storage.supports_global_concurrency_limits
        settings = instance.get_concurrency_config().pool_config
        assert settings.default_pool_limit == 1
