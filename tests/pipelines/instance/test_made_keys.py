"""Sessions on record, kept between looks. Oracle: Dagster's own list of materialized partitions."""

from __future__ import annotations

import dagster as dg
import pytest

from pipelines.instance import made_keys as module
from pipelines.instance.made_keys import made_keys
from pipelines.instance.materializations import forget
from tests.pipelines.conftest import open_record
from tests.pipelines.records import on_both_records

pytestmark = on_both_records
ASSET = dg.AssetKey(["tiny", "label"])


@pytest.fixture
def instance(tmp_path):
    with open_record(tmp_path / "record") as record:
        yield record


def make(instance, *keys, asset=ASSET):
    for key in keys:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=asset, partition=key))


def test_they_are_those_of_the_record_whatever_happens_to_it(instance):
    """The last row's id is used again by SQLite once it is deleted."""

    def same():
        assert made_keys(instance, ASSET) == instance.get_materialized_partitions(ASSET)

    same()
    make(instance, "2020-01-02", "2020-01-03")
    same()
    make(instance, "2020-01-06")
    same()
    forget(instance, ASSET, ["2020-01-06"])
    make(instance, "2020-01-07")
    same()
    forget(instance, ASSET, ["2020-01-02"])
    same()
    make(instance, "2020-01-02", "2020-01-03")
    same()
    forget(instance, ASSET, ["2020-01-03"])
    make(instance, "2020-01-08", "2020-01-09")
    same()
    instance.wipe_assets([ASSET])
    same()
    make(instance, "2020-01-02")
    same()


def test_a_second_look_reads_what_is_new_and_no_more(instance, monkeypatch):
    make(instance, *(f"2020-01-{day:02}" for day in range(1, 29)))
    made_keys(instance, ASSET)
    counts = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda *a: counts.append(read(*a)) or counts[-1])
    make(instance, "2020-02-03")
    assert len(made_keys(instance, ASSET)) == 29
    assert [seen.count for seen in counts] == [1]
