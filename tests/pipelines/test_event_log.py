"""The event log with open connections: the same record as Dagster's, also after reopening."""

import dagster as dg
import pytest

from pipelines.event_log import _OPEN_DATABASES, LocalEventLogStorage
from pipelines.home import prepare_home

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def table(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"rows": int(key[-2:])}, partition_key=key)


@pytest.fixture
def home(market, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")  # restored afterwards
    return prepare_home(market)


def run(instance: dg.DagsterInstance) -> None:
    keys = DAYS.get_partition_keys()
    tags = {
        "dagster/asset_partition_range_start": keys[0],
        "dagster/asset_partition_range_end": keys[-1],
    }
    assert dg.materialize([table], instance=instance, tags=tags).success


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
