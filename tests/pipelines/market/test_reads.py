"""The look-back in words. Oracle: the configuration's windows, counted on the calendar."""

from __future__ import annotations

import dagster as dg

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.market.reads import AskedVersions, look_back_sentence, read_words, reads_of
from pipelines.market.stage import Absent
from tests.pipelines.conftest import key_of, make_market, materialize
from tests.pipelines.finished_markets import copy_of, put_on_record


def figures_of(instance: dg.DagsterInstance, asset: str, key: str) -> dict[str, object]:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key_of(asset), asset_partitions=[key]), limit=1
    ).records
    return {k: v.value for k, v in records[0].asset_materialization.metadata.items()}


def expected(market) -> dict[str, str]:
    """The metadata of the last session names every input that the tiny market's YAML implies."""
    keys = market.sessions.keys
    last, decision = keys[-1], keys[-3]
    return {
        "alpha158": f"ohlcv {keys[-61]} … {last}, 61 sessions",
        "label": f"ohlcv {keys[-3]} … {last}, 3 sessions",
        "dataset_infer": f"alpha158 {last}; processors",
        "dataset_learn": f"label {last}; processors; dataset_infer {decision}",
        "gru_prediction": f"gru_model {last}; dataset_infer {keys[-5]} … {last}, 5 sessions",
        "gru_evaluation": f"label {last}; gru_prediction {decision}",
    }


def test_a_partition_says_what_it_was_made_from(finished, tmp_path, instance):
    """Both where a run makes it and where it is found in the warehouse."""
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    last = market.sessions.keys[-1]
    for asset, words in expected(market).items():
        assert figures_of(instance, asset, last)["reads"] == words
        materialize(market, [asset], last, last, instance)
        assert "recorded_by" not in figures_of(instance, asset, last)
        assert figures_of(instance, asset, last)["reads"] == words


def test_a_session_that_trains_says_what_it_learned_from(finished, tmp_path, instance):
    market = copy_of(finished, tmp_path / "copy")
    anchor = market.plan.first_trained
    materialize(market, ["gru_model"], anchor, anchor, instance)
    reads = figures_of(instance, "gru_model", anchor)["reads"]
    assert f"… {anchor}, 45 sessions" in reads  # training.window_sessions
    assert reads.startswith("dataset_infer ")


def test_what_is_not_stored_was_not_read(finished, tmp_path, instance):
    """The first evaluations have a label and no prediction."""
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    first = market.plan.first_trained
    assert figures_of(instance, "gru_evaluation", first)["reads"] == f"label {first}"


def test_the_pages_of_assets_say_it_in_words(tmp_path):
    market = make_market(tmp_path / "tiny")
    graph = build_definitions(market).resolve_asset_graph()

    def page(asset):
        return graph.get(key_of(asset)).description

    assert page("alpha158").endswith("A session is made from ohlcv of the 61 sessions up to it.")
    assert page("dataset_learn").endswith("made from dataset_infer of 2 sessions before it.")
    assert page("gru_prediction").endswith("dataset_infer of the 5 sessions up to it.")
    by_name = {stage.name: stage for stage in stages(market)}
    assert look_back_sentence(by_name["ohlcv"], market.sessions.keys) == ""
    assert look_back_sentence(by_name["signal_report"], market.sessions.keys) == ""


def test_versions_are_passed_on_as_they_are():
    versions = {"ohlcv": {"a": "1", "b": Absent("ohlcv")}, "bars of the source": {"a": "2"}}
    asked = AskedVersions(versions)
    assert asked["ohlcv"]["b"] == Absent("ohlcv")
    assert asked["ohlcv"].get("c") is None
    assert "c" not in asked["ohlcv"]
    assert asked["bars of the source"]["a"] == "2"
    assert asked.reads == {"ohlcv": ["b"]}
    assert set(asked["ohlcv"]) == {"a", "b"}
    assert read_words(reads_of(lambda v: [v["t"][key] for key in "cab"])) == "t a … c, 3 sessions"
