"""Assets of the owner's downstream of a market. Oracles: Dagster's own graph, pandas by hand."""

from __future__ import annotations

import dagster as dg
import pandas as pd
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from pipelines.build import build_definitions
from pipelines.instance.home import open_home, prepare_home, prepare_workspace
from pipelines.instance.market_list import keep_config
from pipelines.instance.names import asset_key
from pipelines.market.paths import Paths
from tests.pipelines.conftest import TINY, make_market
from tests.pipelines.finished_markets import copy_of

WEEKLY = dg.AssetKey(["own", "tiny_lstm_weekly"])
GOOD_FRIDAY = ["2020-04-06", "2020-04-07", "2020-04-08", "2020-04-09"]


def weekly(market):
    from own_parts.weekly import weekly_definitions

    return weekly_definitions(market, "lstm")


def make_week(market, instance, week: str, **kwargs):
    assets = weekly(market).assets
    return dg.materialize(assets, instance=instance, partition_key=week, **kwargs)


def test_a_week_is_mapped_to_its_sessions(own_parts, tmp_path):
    """As the UI and the daemon see it: one graph over two code locations' definitions."""
    market = make_market(tmp_path / "tiny")
    graph = dg.Definitions.merge(weekly(market), build_definitions(market)).resolve_asset_graph()
    upstream = asset_key(market, "lstm_prediction")
    assert graph.get(WEEKLY).parent_keys == {upstream}
    weeks, days = graph.get(WEEKLY).partitions_def, graph.get(upstream).partitions_def
    mapped = graph.get_partition_mapping(
        WEEKLY, upstream
    ).get_upstream_mapped_partitions_result_for_partitions(
        weeks.subset_with_partition_keys(["2020-04-06"]), weeks, days
    )
    assert sorted(mapped.partitions_subset.get_partition_keys()) == GOOD_FRIDAY


def test_a_weekly_report_reads_what_the_market_has_published(
    own_parts, finished, tmp_path, instance
):
    from own_parts.weekly import read_report

    market = copy_of(finished, tmp_path / "tiny")
    result = make_week(market, instance, "2020-04-06")
    (made,) = result.asset_materializations_for_node("own__tiny_lstm_weekly")
    table = market.paths.warehouse / "lstm_prediction"
    files = [pd.read_parquet(table / f"date={key}" / "part-0.parquet") for key in GOOD_FRIDAY]
    expected = pd.concat(
        [file.set_index("instrument")["score"].rank(pct=True) for file in files], axis=1
    ).mean(axis=1)
    found = read_report(market, "2020-04-06")
    assert found.to_dict() == pytest.approx(expected.to_dict())
    assert found.is_monotonic_decreasing
    assert made.metadata["sessions"].value == 4
    assert expected[made.metadata["best"].value] == pytest.approx(expected.max())


def test_a_session_that_was_not_made_is_named(own_parts, tmp_path, instance):
    result = make_week(make_market(tmp_path / "tiny"), instance, "2020-04-06", raise_on_error=False)
    (event,) = result.get_step_failure_events()
    assert "lstm_prediction" in event.event_specific_data.error.to_string()
    assert "2020-04-06" in event.event_specific_data.error.to_string()


def test_the_ui_shows_the_owners_location_beside_the_markets(own_parts, tmp_path, monkeypatch):
    """Both are loaded as the webserver loads them, and the report hangs on the prediction."""
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("OWN_MARKET", str(tmp_path / "tiny.yaml"))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    keep_config(Paths(tmp_path / "data" / "tiny"), tmp_path / "tiny.yaml")
    home = prepare_home(tmp_path / "data" / "dagster")
    own = "load_from:\n- python_module: {module_name: own_parts.definitions, location_name: own}\n"
    (home / "workspace.yaml").write_text(own)
    files = [str(path) for path in prepare_workspace(home, ["tiny"])]
    with (
        open_home(home) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget(files)) as process,
    ):
        context = process.create_request_context()
        entries = context.get_code_location_entries()
        assert {name: entry.load_error for name, entry in entries.items()} == {
            "tiny": None, "own": None
        }  # fmt: skip
        graph = context.asset_graph
        assert graph.get(WEEKLY).parent_keys == {dg.AssetKey(["tiny", "lstm_prediction"])}
        assert WEEKLY in graph.get(dg.AssetKey(["tiny", "lstm_prediction"])).child_keys
    assert (home / "workspace.yaml").read_text() == own
