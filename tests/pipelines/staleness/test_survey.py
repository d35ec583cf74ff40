"""What a command finds absent or stale. Oracle: each case changes one thing, by hand."""

from __future__ import annotations

import shutil

import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.errors import ConfigError, ConstantLabelError, NotFiniteError, ProcessorStateError
from pipelines.operations.runs import RunFailedError, run_assets
from pipelines.staleness.survey import pending
from pipelines.training.processors import load_state
from pipelines.training.windows import training_data
from tests.pipelines.conftest import (
    DATA_STAGE,
    ChangedBars,
    make_market,
    materialize,
    model_assets,
    partition_bytes,
)
from tests.pipelines.finished_markets import copy_of, put_on_record

STAGES = (DATA_STAGE, "models")


@pytest.fixture
def copy(finished, tmp_path, instance):
    """A copy of the finished market, recorded as materialized."""
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def left(market, instance, stage=DATA_STAGE):
    """(assets, first session) that are pending, or None."""
    keys = market.sessions.keys
    if stage == "models":
        stage, keys = model_assets(market), [k for k in keys if k >= market.plan.first_trained]
    work = pending(market, stages(market), instance, dict.fromkeys(stage, keys), keys)
    return None if work is None else (work.assets, work.first)


def changed(market, changes):
    return make_market(market.paths.root, changes)


def test_a_finished_market_has_nothing_left(copy, instance):
    assert left(copy, instance) is None
    assert left(copy, instance, "models") is None


def test_an_absent_partition_and_what_follows_it(copy, instance):
    key = copy.sessions.keys[60]
    shutil.rmtree(copy.paths.warehouse / "label" / f"date={key}")
    assert left(copy, instance) == (("label", "dataset_learn"), key)


def test_an_absent_partition_of_the_fit_window_reaches_the_processors(copy, instance):
    key = copy.datasets[0].fit_sessions()[-1]
    shutil.rmtree(copy.paths.warehouse / "label" / f"date={key}")
    stages = ("label", "processors", "dataset_infer", "dataset_learn")
    assert left(copy, instance) == (stages, copy.sessions.first)


def test_a_partition_that_dagster_does_not_know(finished, tmp_path, instance):
    market = make_market(tmp_path / "lost")
    shutil.copytree(finished.paths.root, market.paths.root)
    assets, first = left(market, instance)
    assert (assets[0], first) == ("ohlcv", market.sessions.first)


def test_another_vwap_rule_touches_features_and_what_follows(copy, instance):
    assets, first = left(changed(copy, {"market": {"vwap": "typical"}}), instance)
    assert assets == ("alpha158", "label", "processors", "dataset_infer", "dataset_learn")
    assert first == copy.sessions.first


def test_a_changed_label_reaches_datasets_and_models_also_after_an_interruption(copy, instance):
    """The label alone was made again, then the run was cut off: what follows is still found."""
    other = changed(copy, {"features": {"label": "Ref($close, -2)/$close - 1"}})
    keys = other.sessions.keys
    materialize(other, ["label"], keys[0], keys[-1], instance)
    assets, _ = left(other, instance)
    assert assets == ("processors", "dataset_infer", "dataset_learn")
    run_assets(build_definitions(other), instance, assets, (keys[0], keys[-1]))
    assert left(other, instance) is None
    assets, first = left(other, instance, "models")
    assert first == other.plan.first_trained
    assert {"lstm_model", "gru_prediction", "krnn_evaluation"} <= set(assets)


@pytest.mark.parametrize(
    "change",
    [
        {"fit_end": "2020-03-06"},
        {"learn_processors": ["DropnaLabel"]},
        {"infer_processors": [{"FilterCol": {"col_list": ["KMID", "STD5"]}}, "Fillna"]},
    ],
)
def test_processors_of_another_configuration_are_refused_and_refitted(copy, instance, change):
    other = changed(copy, {"dataset": change})
    with pytest.raises(ProcessorStateError, match="fitted for another fit window or other process"):
        load_state(other, other.datasets[0])
    named = make_market(copy.paths.root, {"dataset": change}, named="other.yaml")
    with pytest.raises(ProcessorStateError, match=r"`rnn-pipelines refit --config other\.yaml`"):
        load_state(named, named.datasets[0])
    assets, first = left(other, instance)
    assert (assets, first) == (
        ("processors", "dataset_infer", "dataset_learn"),
        copy.sessions.first,
    )
    key = other.sessions.keys[-1]
    with pytest.raises(RunFailedError, match="run `rnn-pipelines refit` or the job `refit`"):
        materialize(other, ["dataset_infer"], key, key, instance)


@pytest.mark.thorough
@pytest.mark.parametrize("made_again", ["dataset_infer", "dataset_learn"])
def test_training_refuses_rows_of_different_processor_states(copy, instance, made_again):
    """Only one of the two datasets was made again after a refit."""
    other = changed(copy, {"dataset": {"fit_end": "2020-03-06"}})
    run_assets(build_definitions(other), instance, ["processors"])
    keys, anchor = other.sessions.keys, other.plan.first_trained
    if made_again == "dataset_learn":
        with pytest.raises(RunFailedError, match=r"dataset_learn: .* of dataset_infer"):
            materialize(other, [made_again], keys[0], keys[-1], instance)
        return
    materialize(other, [made_again], keys[0], keys[-1], instance)
    with pytest.raises(RunFailedError, match=r"sessions of dataset_learn, .* another processor"):
        materialize(other, ["lstm_model"], anchor, anchor, instance)


def test_a_session_between_anchors_serves_no_model_of_another_configuration(copy, instance):
    other = changed(copy, {"models": {"lstm": {"hidden_size": 8}}})
    anchor = other.plan.first_trained
    key = other.sessions.keys[other.sessions.position(anchor) + 3]
    with pytest.raises(RunFailedError, match=rf"{anchor}, which was trained with another config"):
        materialize(other, ["lstm_model"], key, key, instance)
    assets, first = left(other, instance, "models")
    kinds = ("model", "prediction", "evaluation", "portfolio")
    assert (assets, first) == (tuple(f"lstm_{kind}" for kind in kinds), anchor)


def test_predictions_made_after_their_evaluation_are_evaluated_again(copy, instance):
    key = copy.sessions.keys[-1]
    decision = copy.datasets[0].decision_of(key)
    kept = copy.paths.warehouse / "gru_prediction" / f"date={decision}"
    shutil.move(kept, kept.with_name("aside"))
    materialize(copy, ["gru_evaluation"], key, key, instance)
    assert copy.warehouse.info("gru_evaluation", key).rows == 0
    shutil.move(kept.with_name("aside"), kept)
    assert left(copy, instance, "models") == (("gru_evaluation",), key)


def test_a_damaged_bundle_is_trained_again(copy, instance, finished):
    anchor = copy.plan.first_trained
    weights = copy.paths.models / "lstm" / anchor / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    (weights.parent / "manifest.json").touch()
    key = copy.sessions.keys[copy.sessions.position(anchor) + 1]
    with pytest.raises(RunFailedError, match=f"materialize lstm_model of {anchor} to train it"):
        materialize(copy, ["lstm_prediction"], key, key, instance)
    assert left(copy, instance, "models")[0][0] == "lstm_model"
    materialize(copy, ["lstm_model"], anchor, anchor, instance)
    assert partition_bytes(copy) == partition_bytes(finished)


@pytest.mark.thorough
def test_restated_bars_that_change_later_factors_are_refused(copy, instance):
    """A corrected split on one session alone would put a false return into the next."""
    key, last = copy.sessions.keys[40], copy.sessions.keys[-1]

    def corrected(bars):
        first = bars["date"] == key
        bars.loc[first & (bars["instrument"] == "S0003"), "adj_ratio"] = 2.0
        return bars

    other = make_market(copy.paths.root, source=ChangedBars(copy.source, corrected))
    before = partition_bytes(copy)
    with pytest.raises(RunFailedError, match=rf"factors of S0003 change.*{key} to {last} instead"):
        materialize(other, ["ohlcv"], key, key, instance)
    assert partition_bytes(copy) == before
    materialize(other, ["ohlcv"], key, last, instance)
    factors = other.warehouse.read("ohlcv", copy.sessions.keys[39:42], needed_by="test").frame
    of_name = factors[factors["instrument"] == "S0003"]["adj_factor"].tolist()
    assert of_name[1:] == [of_name[0] * 2.0] * 2


def test_a_session_whose_bars_all_break_a_rule_is_an_error(tmp_path, instance):
    plain = make_market(tmp_path / "plain")
    key = plain.sessions.keys[2]

    def spoiled(bars):
        bars.loc[bars["date"] == key, "volume"] = 0.0
        return bars

    market = make_market(tmp_path / "m", source=ChangedBars(plain.source, spoiled))
    with pytest.raises(
        RunFailedError, match=rf"every bar of {key} breaks a rule .*[56] × zero_volume"
    ):
        materialize(market, ["ohlcv"], market.sessions.first, market.sessions.keys[4], instance)
    assert market.warehouse.sessions("ohlcv") == list(market.sessions.keys[:2])


def test_an_amount_that_is_never_there_is_an_error(tmp_path, instance):
    plain = make_market(tmp_path / "plain")
    source = ChangedBars(plain.source, lambda bars: bars.assign(amount=float("nan")))
    market = make_market(tmp_path / "m", source=source)
    first, last = market.sessions.first, market.sessions.keys[4]
    with pytest.raises(RunFailedError, match=r"has an amount, and market\.vwap is `amount`"):
        materialize(market, ["ohlcv", "alpha158"], first, last, instance)
    assert market.warehouse.sessions("alpha158") == []


def test_sessions_that_are_not_over_are_refused(tmp_path, instance):
    market = make_market(tmp_path / "live", {"market": {"end": None}})
    future = market.sessions.keys[-1]
    assert future > market.last_closed()
    with pytest.raises(RunFailedError, match=rf"{future} not over yet: the newest closed session"):
        materialize(market, ["ohlcv"], future, future, instance)
    assert market.warehouse.sessions("ohlcv") == []


def test_a_live_market_before_its_first_model_shows_so(tmp_path, monkeypatch):
    """The demo runs the data that is there and says when the first model comes."""
    import io

    from rich.console import Console

    from pipelines.operations.demo import run_demo

    monkeypatch.setenv("DAGSTER_HOME", "")
    market = make_market(tmp_path / "young")
    monkeypatch.setattr(type(market), "last_closed", lambda self: self.sessions.keys[55])
    console = Console(file=io.StringIO(), width=120)
    run_demo(market, console)
    assert "no model yet: the first session that trains is 2020-04-01" in console.file.getvalue()
    assert len(market.warehouse.sessions("dataset_learn")) == 56


@pytest.mark.parametrize(
    ("first_trained", "as_of"), [("2020-04-13", "2020-03-27"), ("2020-04-11", "2020-04-12")]
)
def test_a_pin_that_leads_nowhere_is_refused(tmp_path, first_trained, as_of):
    """The 11th and 12th were a weekend: the pin snaps back, the first trained session forward."""
    training = {"first_trained": first_trained, "pin": {"from": "2020-04-20", "as_of": as_of}}
    with pytest.raises(ConfigError, match=rf"pin.*as_of {as_of}"):
        make_market(tmp_path, {"training": training})


def test_the_warehouse_can_lie_elsewhere(tmp_path, instance):
    """Any filesystem of fsspec, here one in memory."""
    import fsspec

    market = make_market(tmp_path / "m", {"warehouse": f"memory://{tmp_path.name}/warehouse"})
    keys = market.sessions.keys[:5]
    materialize(market, ["ohlcv", "alpha158", "label"], keys[0], keys[-1], instance)
    assert market.warehouse.sessions("alpha158") == list(keys)
    assert not (tmp_path / "m" / "warehouse").exists()
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.thorough
def test_features_that_are_not_finite_are_refused_by_name(copy, instance):
    """Without Fillna a suspension leaves ROC60 missing for the names it touched."""
    bare = [{"FilterCol": {"col_list": ["KMID", "ROC60"]}}]
    other = changed(copy, {"dataset": {"infer_processors": bare}})
    keys = other.sessions.keys
    assets = ("processors", "dataset_infer", "dataset_learn")
    run_assets(build_definitions(other), instance, assets, (keys[0], keys[-1]))
    with pytest.raises(NotFiniteError, match=r"lstm_model needs finite .*ROC60.*use Fillna"):
        training_data(other, other.datasets[0], other.plan.first_trained, "lstm_model")


@pytest.mark.thorough
def test_a_label_without_variation_is_refused_by_name(copy, instance):
    """A label that is the same for every name and session, as a formula of time alone is."""
    other = changed(copy, {"features": {"label": "Ref($close, -2)/Ref($close, -2)"}})
    keys = other.sessions.keys
    assets = ("label", "processors", "dataset_infer", "dataset_learn")
    run_assets(build_definitions(other), instance, assets, (keys[0], keys[-1]))
    with pytest.raises(ConstantLabelError, match=r"lstm_model of .*: in every session .* the same"):
        training_data(other, other.datasets[0], other.plan.first_trained, "lstm_model")
