"""Several datasets in one market: names, sharing, horizons, and what adding one leaves alone."""

from __future__ import annotations

import io
import shutil

import duckdb
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.automation.sensors import PARTITION, _is_before_the_first_evaluation
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.market.shown_tables import update_catalog
from pipelines.operations.refit import run_refit
from pipelines.staleness.causes import Cause
from pipelines.staleness.served import Served
from pipelines.staleness.status_report import status_report
from pipelines.training.processors import ProcessorState, load_state
from pipelines.training.registry import find_bundle
from rnn_core.evaluation import evaluate_session
from tests.pipelines.conftest import (
    TINY,
    materialize,
    merged,
    own_record,
    partition_bytes,
)
from tests.pipelines.finished_markets import backfill, part_of, put_on_record
from tests.pipelines.moving_markets import NO_BOUNDS

TINY_LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
WEEK = "Ref($close, -6)/Ref($close, -1) - 1"
RANGES = {"HL": "$high/$low", "OC": "$open/$close"}


def several(root, datasets, models, **changes):
    """The tiny market with its dataset under `datasets.day`, and others beside it."""
    config = merged(TINY, changes)
    day = config.pop("dataset")
    config["datasets"] = {"day": day, **{n: merged(day, own) for n, own in datasets.items()}}
    config["models"] = {
        name: {**TINY["models"][entry.get("family", name)], **entry}
        for name, entry in models.items()
    }
    return Market(parse_config(config), root=root)


def two_horizons(root, **changes):
    """The tiny market with a second label, five sessions long, learned by a model of its own."""
    return several(
        root,
        {"week": {"features": {"label": WEEK}, "step_len": 4}},
        {"gru": {"dataset": "day"}, "gru_week": {"family": "gru", "dataset": "week"}},
        **changes,
    )


def outdated(market, record):
    """Assets with partitions that are stored and not current."""
    report = status_report(market, stages(market), record)
    causes = {a.asset: {f.cause for f in a.findings} - {Cause.ABSENT} for a in report.assets}
    return {a for a, cause in causes.items() if cause and not a.endswith("_report")}


def late(market):
    """The stages that begin with the first trained session, upstream first."""
    return [stage.name for stage in stages(market) if stage.tables and stage.first is not None]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The market of two horizons, run over its whole span."""
    market = two_horizons(tmp_path_factory.mktemp("datasets") / "tiny")
    with own_record() as record:
        last = market.sessions.keys[-1]
        data = [s.name for s in stages(market) if s.tables and s.first is None]
        materialize(
            market, [*data, "processors", "week_processors"], market.sessions.first, last, record
        )
        materialize(market, late(market), market.plan.first_trained, last, record)
    return market


def test_names_have_a_prefix_but_for_the_default_dataset(made):
    names = [stage.name for stage in stages(made)]
    assert names[:9] == [
        "ohlcv",
        "alpha158",
        "label",
        "processors",
        "dataset_infer",
        "dataset_learn",
        "week_label",
        "week_processors",
        "week_dataset_infer",
    ]
    by_name = {stage.name: stage for stage in stages(made)}
    # The features are equal, so that one asset serves both.
    assert by_name["week_processors"].deps == ("alpha158", "week_label")
    assert by_name["gru_week_model"].deps == ("week_dataset_infer", "week_dataset_learn")
    assert by_name["gru_week_evaluation"].deps == ("gru_week_prediction", "week_label")
    assert by_name["gru_week_evaluation_common"].deps == ("gru_week_prediction", "label")
    assert by_name["gru_evaluation"].deps == ("gru_prediction", "label")


@pytest.mark.parametrize(
    ("own", "features", "label"),
    [
        ({}, "alpha158", "label"),
        ({"features": {"label": WEEK}}, "alpha158", "other_label"),
        ({"features": {"set": {"features": RANGES}}}, "other_features", "label"),
        ({"features": {"semantics": "qlib"}}, "other_features", "label"),
        ({"step_len": 3}, "alpha158", "label"),
    ],
)
def test_equal_features_and_labels_are_one_asset(tmp_path, own, features, label):
    if "set" in own.get("features", {}):
        own = {**own, "infer_processors": ["RobustZScoreNorm", "Fillna"]}
    market = several(tmp_path / "tiny", {"other": own}, {"gru": {"dataset": "other"}})
    other = market.dataset_of("gru")
    assert (other.features, other.label) == (features, label)
    assert [s.name for s in stages(market)].count("alpha158") == 1


def test_a_dataset_that_is_added_leaves_the_first_current(made, finished, tmp_path, instance):
    """The first dataset of a market, written in either form, has the same partitions."""
    before = partition_bytes(part_of(finished, tmp_path / "tiny", "gru"))
    both = two_horizons(tmp_path / "tiny")
    put_on_record(both, instance)
    assert outdated(both, instance) == set()
    assert {n: d for n, d in partition_bytes(made).items() if n in before} == before


def test_the_default_dataset_may_stand_anywhere(tmp_path):
    config = {"week": {"features": {"label": WEEK}, "default": True}}
    market = several(tmp_path / "tiny", config, {"gru": {}})
    assert [dataset.name for dataset in market.datasets] == ["week", "day"]
    assert market.dataset_of("gru").label == "label"
    assert market.datasets[0].label_lag == 6
    assert market.datasets[1].label == "day_label"


def test_each_model_learns_its_own_label(made):
    anchor = made.plan.first_trained
    day, week = (find_bundle(made, name, anchor).manifest for name in ("gru", "gru_week"))
    assert (day["label"], week["label"]) == (TINY_LABEL, WEEK)
    # Later maturity: the newest decision to learn from lies four sessions further back.
    sessions = made.sessions
    assert sessions.position(day["valid"][1]) - sessions.position(week["valid"][1]) == 4
    assert week["processors"] == load_state(made, made.datasets[1]).hash
    assert (made.paths.warehouse / "week_processors.json").is_file()


def test_every_model_is_measured_on_the_common_label_too(made):
    """Oracle: scores and raw labels joined by hand."""
    keys = made.sessions.keys
    position = made.sessions.position(made.plan.first_trained) + 10
    key = keys[position]
    read = made.warehouse.read
    for table, label, lag in (
        ("gru_week_evaluation", "week_label", 6),
        ("gru_week_evaluation_common", "label", 2),
    ):
        row = read(table, [key], needed_by="the test").frame.iloc[0]
        decision = keys[position - lag]
        assert f"{row['decision_date']:%Y-%m-%d}" == decision
        scores = read("gru_week_prediction", [decision], needed_by="the test").frame
        labels = read(label, [key], needed_by="the test").frame
        expected = evaluate_session(
            scores.set_index("instrument")["score"], labels.set_index("instrument")["label"]
        )
        assert row["ic"] == expected["ic"] and row["n"] == expected["n"]
    assert not (made.paths.warehouse / "gru_evaluation_common").exists()


@pytest.mark.thorough
def test_the_report_stands_on_the_common_label(made, tmp_path):
    shutil.copytree(made.paths.root, tmp_path / "tiny")
    market = two_horizons(tmp_path / "tiny")
    last = market.sessions.keys[-1]
    backfill(market, start=last, end=last)
    table = pd.read_csv(market.paths.reports / "signal.csv", index_col=0)
    rows = market.warehouse.read(
        "gru_week_evaluation_common",
        market.warehouse.sessions("gru_week_evaluation_common"),
        needed_by="the test",
    ).frame
    assert table.loc["gru_week", "ic"] == pytest.approx(rows["ic"].mean())
    own = market.warehouse.read(
        "gru_week_evaluation",
        market.warehouse.sessions("gru_week_evaluation"),
        needed_by="the test",
    ).frame
    assert table.loc["gru_week", "own_label_ic"] == pytest.approx(own["ic"].mean())
    assert table.loc["gru", "own_label_ic"] == pytest.approx(table.loc["gru", "ic"])


@pytest.mark.thorough
def test_nothing_depends_on_a_later_session(made, tmp_path, instance):
    """Truncation: every file up to D is the same whatever follows."""
    keys = made.sessions.keys
    last = keys[made.sessions.position(made.plan.first_trained) + 8]
    cut = two_horizons(tmp_path / "tiny")
    data = [s.name for s in stages(cut) if s.tables and s.first is None]
    materialize(cut, [*data, "processors", "week_processors"], keys[0], last, instance)
    materialize(cut, late(cut), cut.plan.first_trained, last, instance)
    whole, part = partition_bytes(made), partition_bytes(cut)
    assert any(name.startswith("gru_week_evaluation_common") for name in part)
    assert part == {name: whole[name] for name in part}


@pytest.mark.thorough
def test_a_moving_and_a_fixed_window_stand_side_by_side(tmp_path, instance):
    """Each dataset has its own kind of window; `refit` fits both."""
    moving = {"fit": {"rolling": {"window_sessions": 30}}, **NO_BOUNDS}
    market = several(
        tmp_path / "tiny",
        {"roll": moving},
        {"gru": {}, "gru_roll": {"family": "gru", "dataset": "roll"}},
    )
    first = market.plan.first_trained
    last = market.sessions.keys[market.sessions.position(first) + 2]
    early = [s.name for s in stages(market) if s.tables and s.first is None]
    materialize(market, [*early, "processors"], market.sessions.first, last, instance)
    materialize(market, late(market), first, last, instance)
    assert outdated(market, instance) == set()
    states = {
        name: ProcessorState.from_json(find_bundle(market, name, first).processors_json).hash
        for name in ("gru", "gru_roll")
    }
    assert states["gru"] == load_state(market, market.datasets[0]).hash != states["gru_roll"]
    before = partition_bytes(market)
    out = io.StringIO()
    run_refit(market, Console(file=out, width=300))
    assert partition_bytes(market) == before
    assert "processors: fitted on 2020-01-10" in out.getvalue()
    assert f"roll_processors: fitted for {first}" in out.getvalue()


def test_models_of_several_datasets_score_their_own_columns(made):
    """Scores of the two models differ, and each has its own window length."""
    key = made.sessions.keys[-1]
    scores = [
        made.warehouse.read(f"{name}_prediction", [key], needed_by="the test").frame["score"]
        for name in ("gru", "gru_week")
    ]
    assert len(scores[0]) == len(scores[1]) and not np.allclose(*scores)
    by_name = {stage.name: stage for stage in stages(made)}
    assert by_name["gru_prediction"].config == {"step_len": 5}
    assert by_name["gru_week_prediction"].config == {"step_len": 4}


def test_the_common_evaluation_is_history_with_its_own_decision(made):
    """The two evaluations of a session are of two decisions: each is served or not by its own."""
    key = made.sessions.keys[made.sessions.position(made.plan.first_trained) + 10]
    by_name = {stage.name: stage for stage in stages(made)}
    decisions = {
        name: made.decision_of(by_name[name].dataset, key)
        for name in ("gru_week_evaluation", "gru_week_evaluation_common")
    }

    class OnlyOwn(Served):
        def includes(self, model, key):
            return (model, key) == ("gru_week", decisions["gru_week_evaluation"])

    with own_record() as record:
        served = OnlyOwn(made, stages(made), record)
        assert served.holds(by_name["gru_week_evaluation"], key)
        assert not served.holds(by_name["gru_week_evaluation_common"], key)


def test_the_catalog_compares_on_the_common_label(made, tmp_path):
    shutil.copytree(made.paths.root, tmp_path / "tiny")
    market = two_horizons(tmp_path / "tiny")
    update_catalog(market, stages(market))
    with duckdb.connect(str(market.paths.catalog), read_only=True) as connection:
        rows = connection.execute("SELECT date, model, decision_date FROM evaluations").df()
    lags = {
        (model, market.sessions.position(f"{day:%Y-%m-%d}")
         - market.sessions.position(f"{decision:%Y-%m-%d}"))
        for day, model, decision in rows.itertuples(index=False)
    }  # fmt: skip
    assert lags == {("gru", 2), ("gru_week", 2)}


def test_the_reports_wait_for_the_default_label(tmp_path):
    """It may mature later than the label of the only model."""
    market = several(
        tmp_path / "tiny",
        {"week": {"features": {"label": WEEK}, "default": True}},
        {"gru": {"dataset": "day"}},
    )
    keys = market.sessions.keys
    first = market.sessions.position(market.plan.first_trained)

    class Made:
        def __init__(self, key):
            self.tags = {PARTITION: key}

    waits = [_is_before_the_first_evaluation(market, Made(keys[first + n])) for n in (3, 5, 6)]
    assert waits == [True, True, False]


def test_the_ensemble_averages_models_of_one_label(tmp_path):
    market = two_horizons(tmp_path / "tiny")
    assert market.comparable_models == ("gru",)


def test_a_label_is_the_same_however_it_is_written(tmp_path):
    other = "Ref($close,-2) / Ref($close,-1) - 1"
    market = several(tmp_path / "tiny", {"b": {"features": {"label": other}}}, {"gru": {}})
    assert [dataset.label for dataset in market.datasets] == ["label", "label"]


def test_the_owner_of_a_shared_asset_is_the_first_that_has_it(tmp_path):
    """So that one that is added at the end changes no name."""
    week = {"features": {"label": WEEK}}
    models = {"gru": {}}
    two = several(tmp_path / "a", {"week": week}, models)
    three = several(tmp_path / "b", {"week": week, "fast": {**week, "step_len": 2}}, models)
    assert [d.label for d in two.datasets] == ["label", "week_label"]
    assert [d.label for d in three.datasets] == ["label", "week_label", "week_label"]
