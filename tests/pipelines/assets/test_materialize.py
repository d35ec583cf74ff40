"""What a run makes of its sessions. Oracle: the files' bytes, times and inodes before and after."""

from __future__ import annotations

import shutil

import pytest

from pipelines.assets.materialize import CURRENT_TAG, KEEP
from pipelines.build import build_definitions
from pipelines.instance.run_history import RANGE_END, RANGE_START
from pipelines.operations.runs import run_assets
from tests.pipelines.conftest import DATA_ASSETS, key_of, make_market, model_assets, partition_bytes
from tests.pipelines.finished_markets import copy_of, put_on_record, stamps


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def launch(market, instance, assets, first, last, **tags):
    """A range run as the UI launches it: no tag of a command."""
    job = build_definitions(market).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[key_of(name) for name in assets],
        tags={RANGE_START: first, RANGE_END: last, **tags},
    )


def written(market, before):
    """Tables and sessions whose file is another one than before."""
    after = stamps(market)
    return {tuple(path.split("/")[:2]) for path in after if before.get(path) != after[path]}


def test_a_run_of_the_ui_writes_only_what_is_not_current(copy, instance, finished):
    """Two holes in one table: the range is made, of the other tables only bars are written."""
    keys = copy.sessions.keys[-12:]
    holes = (keys[2], keys[7])
    for key in holes:
        shutil.rmtree(copy.paths.warehouse / "dataset_learn" / f"date={key}")
    before = stamps(copy)
    assets = (*DATA_ASSETS, *model_assets(copy))
    assert launch(copy, instance, assets, keys[0], keys[-1]).success
    touched = written(copy, before)
    asked = {(t, f"date={key}") for t in ("ohlcv", "ohlcv_quarantine") for key in keys}
    assert touched == asked | {("dataset_learn", f"date={key}") for key in holes}
    assert partition_bytes(copy) == partition_bytes(finished)


def test_stored_bars_are_trusted_where_the_run_says_so(copy, instance):
    keys = copy.sessions.keys[-4:]
    before = stamps(copy)
    launch(copy, instance, ["ohlcv", "label"], keys[0], keys[-1], **{CURRENT_TAG: KEEP})
    assert written(copy, before) == set()


def test_what_is_kept_stays_on_record_with_its_figures(copy, instance):
    """A kept partition loses nothing that the UI showed of it."""
    keys, asset = copy.sessions.keys[-3:], key_of("gru_evaluation")
    run_assets(build_definitions(copy), instance, ["gru_evaluation"], (keys[0], keys[-1]))

    def newest():
        records = instance.fetch_materializations(asset, limit=3).records
        return {r.partition_key: r.asset_materialization.metadata for r in records}

    first = newest()
    launch(copy, instance, ["gru_evaluation"], keys[0], keys[-1])
    again = newest()
    assert set(again) == set(keys)
    for key in keys:
        assert again[key]["kept"].value is True
        for name in ("ic", "rank_ic", "digest", "dagster/row_count"):
            assert again[key][name] == first[key][name]


def test_a_flipped_byte_is_found_and_made_again(copy, instance, finished):
    key = copy.sessions.keys[-5]
    path = copy.paths.warehouse / "alpha158" / f"date={key}" / "part-0.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    before = stamps(copy)
    launch(copy, instance, ["alpha158"], copy.sessions.keys[-9], copy.sessions.keys[-1])
    assert written(copy, before) == {("alpha158", f"date={key}")}
    assert partition_bytes(copy) == partition_bytes(finished)


def test_another_configuration_makes_everything_again(copy, instance):
    other = make_market(copy.paths.root, {"market": {"vwap": "typical"}})
    keys = other.sessions.keys[-3:]
    before = stamps(other)
    launch(other, instance, ["alpha158", "label"], keys[0], keys[-1])
    assert written(other, before) == {(t, f"date={k}") for t in ("alpha158", "label") for k in keys}


def test_sessions_are_cut_into_consecutive_blocks(market):
    keys = market.sessions.keys
    assert market.sessions.consecutive([keys[0], keys[1], keys[4], keys[6], keys[7]]) == [
        keys[0:2],
        keys[4:5],
        keys[6:8],
    ]
    assert market.sessions.consecutive([]) == []
