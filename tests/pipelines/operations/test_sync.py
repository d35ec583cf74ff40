"""Dagster's record, rebuilt. Oracle: the files of the warehouse."""

from __future__ import annotations

import shutil

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.instance.home import dagster_instance
from pipelines.operations.sync import sync_record
from tests.pipelines.conftest import DATA_ASSETS, key_of, model_assets
from tests.pipelines.finished_markets import copy_of, stamps
from tests.pipelines.records import lose_record, on_both_records

pytestmark = on_both_records


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    return copy_of(finished, tmp_path / "copy")


def test_a_lost_record_is_rebuilt_from_the_files(copy):
    before = stamps(copy)
    with dagster_instance(copy) as instance:
        first = sync_record(copy, stages(copy), instance)
    lose_record(copy.paths.dagster)
    with dagster_instance(copy) as instance:
        again = sync_record(copy, stages(copy), instance)
        assert again == first
        for asset in (*DATA_ASSETS, *model_assets(copy)):
            done = instance.get_materialized_partitions(key_of(asset))
            assert done == set(copy.warehouse.sessions(asset)), asset
        key = copy.sessions.keys[-1]
        (record,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key_of("gru_evaluation"), asset_partitions=[key]),
            limit=2,
        ).records
        info = copy.warehouse.info("gru_evaluation", key)
        metadata = record.asset_materialization.metadata
        assert metadata["digest"].value == info.digest[:16]
        assert metadata["dagster/row_count"].value == 1
        assert metadata["status"].value == "ok"
        path = copy.paths.warehouse / "gru_evaluation" / f"date={key}" / "part-0.parquet"
        assert record.timestamp == pytest.approx(path.stat().st_mtime, abs=1e-3)
        assert instance.get_latest_materialization_event(key_of("processors")) is not None
        assert sync_record(copy, stages(copy), instance).recorded == {}
    assert stamps(copy) == before


def test_what_is_gone_or_damaged_is_taken_off_the_record(copy):
    gone, hurt = copy.sessions.keys[-2], copy.sessions.keys[-1]
    with dagster_instance(copy) as instance:
        sync_record(copy, stages(copy), instance)
        shutil.rmtree(copy.paths.warehouse / "label" / f"date={gone}")
        path = copy.paths.warehouse / "label" / f"date={hurt}" / "part-0.parquet"
        path.write_bytes(path.read_bytes()[:-3])
        found = sync_record(copy, stages(copy), instance)
        assert found.forgotten == {"label": (gone, hurt)}
        assert found.damaged == {"label": (hurt,)}
        assert found.recorded == {}
        left = instance.get_materialized_partitions(key_of("label"))
        assert left == set(copy.sessions.keys[:-2])
        others = instance.get_materialized_partitions(key_of("alpha158"))
        assert others == set(copy.sessions.keys)
    with dagster_instance(copy) as instance:  # what the next process sees
        assert instance.get_materialized_partitions(key_of("label")) == left
        assert sync_record(copy, stages(copy), instance).forgotten == {}


def test_the_uis_count_of_partitions_follows(copy):
    """The UI counts from a cache of its own, which has to forget with the record."""
    from dagster._core.storage.partition_status_cache import (
        get_and_update_asset_status_cache_value,
    )

    from pipelines.assets.partitions import partitions_definition

    days, key = partitions_definition(copy.sessions, closed=True), key_of("label")

    def counted(instance):
        value = get_and_update_asset_status_cache_value(instance, key, days)
        return len(value.deserialize_materialized_partition_subsets(days))

    with dagster_instance(copy) as instance:
        sync_record(copy, stages(copy), instance)
        assert counted(instance) == len(copy.sessions)
        shutil.rmtree(copy.paths.warehouse / "label" / f"date={copy.sessions.keys[5]}")
        sync_record(copy, stages(copy), instance)
        assert counted(instance) == len(copy.sessions) - 1
