"""Sessions before the first one of a stage. Oracle: Dagster's counts, and the calendar."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from pipelines.assets.partitions import partitions_definition
from pipelines.assets.stages import stages
from pipelines.automation.next_session import look
from pipelines.instance.materializations import first_made
from pipelines.operations.sync import sync_record
from pipelines.operations.warm_up import mark_warm_up
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import key_of, make_market, materialize, model_assets
from tests.pipelines.finished_markets import copy_of, put_on_record


@pytest.fixture
def marked(finished, tmp_path, instance):
    """A finished market on record, with its warm-up."""
    market = copy_of(finished, tmp_path / "copy")
    mark_warm_up(market, stages(market), instance)
    return put_on_record(market, instance)


def counted(market, instance, asset):
    """The partitions that the UI counts as materialized."""
    days = partitions_definition(market.sessions, closed=True)
    value = get_and_update_asset_status_cache_value(instance, key_of(asset), days)
    return len(value.deserialize_materialized_partition_subsets(days))


def test_no_session_is_missing_in_the_ui(marked, instance):
    for asset in ("ohlcv", *model_assets(marked)):
        assert counted(marked, instance, asset) == len(marked.sessions)
    newest = instance.get_latest_materialization_event(key_of("lstm_model"))
    assert newest.asset_materialization.partition == marked.sessions.keys[-1]
    key = marked.sessions.first
    (record,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key_of("lstm_model"), asset_partitions=[key]), limit=2
    ).records
    status = record.asset_materialization.metadata["status"].value
    assert status == f"warm-up: lstm_model begins with {marked.plan.first_trained}"


def test_it_is_marked_once_and_no_file_is_written(marked, instance):
    def events():
        key = key_of("gru_model")
        return len(instance.fetch_materializations(key, limit=1000).records)

    before = events()
    mark_warm_up(marked, stages(marked), instance)
    assert events() == before
    first = marked.plan.first_trained
    assert min(marked.warehouse.sessions("gru_model")) == first


def test_nobody_takes_the_warm_up_for_made(marked, instance):
    first = marked.plan.first_trained
    assert min(first_made(instance, key_of("gru_prediction"))) == first
    assert status_report(marked, stages(marked), instance).is_current
    synced = sync_record(marked, stages(marked), instance)
    assert (synced.recorded, synced.forgotten) == ({}, {})


@pytest.mark.thorough
def test_a_stage_that_begins_earlier_has_those_sessions_to_make(marked, instance):
    """The schedule asks for them, and the record does not call them done."""
    key = marked.sessions.back(marked.plan.first_trained, 2)
    changes = {"training": {"first_trained": key}}
    earlier = make_market(marked.paths.root, changes)
    night = dt.datetime(2020, 5, 16, 12, tzinfo=dt.UTC)
    assert key in look(earlier, stages(earlier), instance, "tiny_daily", night).missing
    report = status_report(earlier, stages(earlier), instance)
    assert {a.asset: a.current for a in report.assets}["gru_prediction"] < len(marked.sessions)
    mark_warm_up(earlier, stages(earlier), instance)
    recorded = instance.get_materialized_partitions(key_of("gru_prediction"))
    assert key not in recorded
    assert marked.sessions.first in recorded


@pytest.mark.thorough
def test_a_session_that_is_made_all_the_same_counts_as_made(marked, instance):
    """By a range of the UI that reaches back before the first one."""
    key = marked.sessions.back(marked.plan.first_trained, 1)
    materialize(marked, ["gru_prediction"], key, key, instance)
    assert key in first_made(instance, key_of("gru_prediction"))
    mark_warm_up(marked, stages(marked), instance)
    assert sync_record(marked, stages(marked), instance).recorded == {}
