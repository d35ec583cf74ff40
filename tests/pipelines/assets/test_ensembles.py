"""Ensembles of seeds, and models that are not put in force."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.config.checks import ModelChecks
from pipelines.market.market import Market
from pipelines.reports.signal_report import SIGNAL_TABLE, seed_figures, signal_report
from pipelines.training.promotion import Verdict, model_verdict
from pipelines.training.registry import (
    InForce,
    NoneInForce,
    bundle_identity,
    find_bundle,
    in_force,
)
from rnn_core.evaluation import calc_ic
from tests.pipelines.conftest import (
    key_of,
    make_market,
    market_of,
    materialize,
    model_assets,
    own_record,
)
from tests.pipelines.finished_markets import copy_of

LAST = "2020-05-15"


@pytest.fixture(scope="module")
def instance():
    with own_record() as made:
        yield made


@pytest.fixture(scope="module")
def ensemble(
    finished: Market, tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance
):
    """Three LSTMs of seeds 5, 6, 7; one GRU of its own number of seeds and rhythm."""
    root = tmp_path_factory.mktemp("ensemble") / "tiny"
    shutil.rmtree(copy_of(finished, root).paths.models)
    market = make_market(
        root,
        {
            "training": {"seed": 5, "seeds": 3},
            "models": {"gru": {"seeds": 1, "retrain_every": 20}},
        },
    )
    run_models(market, instance)
    return market


def run_models(market: Market, instance: dg.DagsterInstance) -> None:
    """Models, predictions and evaluations over data that are there."""
    materialize(market, model_assets(market), market.plan.first_trained, LAST, instance)


def test_the_manifest_keeps_each_seeds_score(ensemble) -> None:
    anchor = ensemble.plan.first_trained
    bundle = find_bundle(ensemble, "lstm", anchor)
    assert [entry["seed"] for entry in bundle.manifest["seeds"]] == [5, 6, 7]
    scores = [entry["best_score"] for entry in bundle.manifest["seeds"]]
    assert len(set(scores)) == 3
    best = bundle.history.groupby("seed")["valid_score"].max()
    np.testing.assert_array_equal(best.to_numpy(), scores)
    assert len(bundle.members) == 3


def test_a_prediction_is_the_mean_of_its_seeds(ensemble) -> None:
    key = ensemble.sessions.keys[-1]
    rows = ensemble.warehouse.read("lstm_prediction", [key], needed_by="test").frame
    each = np.stack(rows["seed_scores"].to_list())  # [N, 3]
    np.testing.assert_array_equal(
        rows["score"].to_numpy(), each.mean(axis=1, dtype=np.float64).astype(np.float32)
    )
    single = ensemble.warehouse.read("gru_prediction", [key], needed_by="test").frame
    assert single["seed_scores"].isna().all()
    assert len(single) == len(rows)


def test_one_member_alone_is_the_model_of_its_seed(
    ensemble, finished: Market, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Oracle: a market whose only seed is 6; its scores are the second column."""
    copy_of(finished, tmp_path / "alone")
    alone = market_of(tmp_path / "alone", "lstm", {"training": {"seed": 6}})
    run_models(alone, instance)
    assert find_bundle(alone, "lstm", alone.plan.first_trained).manifest["seeds"][0]["seed"] == 6
    key = alone.sessions.keys[-1]
    expected = alone.warehouse.read("lstm_prediction", [key], needed_by="test").frame
    rows = ensemble.warehouse.read("lstm_prediction", [key], needed_by="test").frame
    second = np.stack(rows["seed_scores"].to_list())[:, 1]
    np.testing.assert_array_equal(second, expected["score"].to_numpy())


def test_evaluations_and_report_give_each_seeds_ic(ensemble) -> None:
    """Oracle: `calc_ic` of one seed's scores over all evaluated sessions."""
    keys = [k for k in ensemble.sessions.keys if k > ensemble.plan.first_trained]
    evaluated = ensemble.warehouse.read("lstm_evaluation", keys, needed_by="test").frame
    scored = ensemble.warehouse.read("lstm_prediction", keys, needed_by="test").frame
    labels = ensemble.warehouse.read("label", keys, needed_by="test").frame
    label = labels.set_index(["decision_date", "instrument"])["label"]
    label.index = label.index.set_levels(pd.to_datetime(label.index.levels[0]), level=0)
    third = pd.Series(
        np.stack(scored["seed_scores"].to_list())[:, 2],
        index=pd.MultiIndex.from_frame(scored[["date", "instrument"]]),
    )
    ic, _ = calc_ic(third, label)
    by_day = evaluated[evaluated["decision_date"] > pd.Timestamp(keys[0])].set_index(
        "decision_date"
    )
    found = by_day["seed_ic"].map(lambda values: values[2])
    pd.testing.assert_series_equal(
        found, ic.reindex(found.index), check_names=False, check_index_type=False
    )
    table = signal_report(ensemble, stages(ensemble)).tables[SIGNAL_TABLE]
    assert table.loc["lstm", "seeds"] == 3
    of_seed = np.nanmean(np.stack(evaluated["seed_ic"].to_list()), axis=0)
    assert table.loc["lstm", "seed_ic_mean"] == pytest.approx(of_seed.mean())
    assert table.loc["lstm", "seed_ic_std"] == pytest.approx(of_seed.std(ddof=1))
    assert table.loc["gru", "seeds"] == 1
    assert np.isnan(table.loc["gru", "seed_ic_std"])


def test_a_model_has_its_own_rhythm(ensemble) -> None:
    keys = [k for k in ensemble.sessions.keys if k >= ensemble.plan.first_trained]
    for name, every in (("lstm", 12), ("gru", 20)):
        models = ensemble.warehouse.read(f"{name}_model", keys, needed_by="test").frame
        anchors = [k for k, row in zip(keys, models.itertuples(), strict=True) if row.trained_here]
        assert anchors == keys[::every]


def test_seed_figures_follow_the_newest_number_of_seeds() -> None:
    rows = pd.DataFrame(
        {"seed_ic": [[0.9], None, [0.1, 0.3], [0.3, 0.1]], "seed_rank_ic": [None, None, None, None]}
    )
    figures = seed_figures(rows)
    assert figures["seed_ic_mean"] == pytest.approx(0.2)
    assert figures["seed_ic_std"] == pytest.approx(0.0)
    assert np.isnan(figures["seed_rank_ic_mean"])


FACTS = {
    "valid_score": -0.98,
    "constant_score": -0.99,
    "score_spread": 0.02,
    "valid_rank_ic": 0.03,
}


@pytest.mark.parametrize(
    ("facts", "checks", "blocking", "warnings"),
    [
        ({}, {}, [], []),
        ({"valid_score": -0.995}, {}, ["beats_constant: the validation score -0.995000 does"], []),
        ({"valid_score": -0.99}, {}, ["beats_constant"], []),
        ({}, {"margin": 0.02}, ["-0.990000 by more than 0.02"], []),
        ({"valid_score": -0.995}, {"beats_constant": "warn"}, [], ["beats_constant"]),
        ({"valid_score": -0.995}, {"beats_constant": "off"}, [], []),
        (
            {"valid_rank_ic": 0.0},
            {},
            [],
            ["rank_ic: the mean rank IC of the"],
        ),
        ({"valid_rank_ic": -0.01}, {"rank_ic": "block"}, ["is -0.0100, expected more than 0"], []),
        (
            {"valid_rank_ic": 0.01},
            {"min_rank_ic": 0.02},
            [],
            ["0.0100, expected more than 0.02"],
        ),
        ({"valid_rank_ic": None}, {"rank_ic": "block"}, ["is undefined on every session"], []),
        ({"valid_rank_ic": None}, {"rank_ic": "off"}, [], []),
        ({"score_spread": 0.0}, {}, ["varied: the scores of the validation rows spread by 0"], []),
    ],
)
def test_verdicts(facts, checks, blocking, warnings) -> None:
    verdict = model_verdict(ModelChecks(**checks), {**FACTS, **facts})
    for found, expected in ((verdict.blocking, blocking), (verdict.warnings, warnings)):
        assert len(found) == len(expected)
        assert all(part in reason for part, reason in zip(expected, found, strict=True))


def test_a_bundle_of_before_is_not_judged_by_its_rank_ic() -> None:
    facts = {name: value for name, value in FACTS.items() if name != "valid_rank_ic"}
    assert model_verdict(ModelChecks(rank_ic="block"), facts) == Verdict()


def _change_manifest(market, model: str, anchor: str, **facts: float) -> None:
    """The bundle of an anchor again, with other facts in its manifest."""
    from rnn_core.training import save_bundle

    bundle = find_bundle(market, model, anchor)
    save_bundle(
        market.paths.models / model / anchor,
        bundle.network,
        family=bundle.family,
        hyper=bundle.hyper,
        columns=bundle.columns,
        config=bundle.config,
        history=bundle.history,
        processors_json=bundle.processors_json,
        manifest={**bundle.manifest, **facts},
        identity=bundle_identity(market, model, anchor).to_dict(),
        replace=True,
    )


def test_a_bad_model_stays_out_and_the_last_good_one_stays(
    finished: Market, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """The second anchor's scores are made constant: the first model goes on being served."""
    market = copy_of(finished, tmp_path / "tiny")
    keys = [k for k in market.sessions.keys if k >= market.plan.first_trained]
    first, second, third = keys[0], keys[12], keys[24]
    _change_manifest(market, "lstm", second, score_spread=0.0)
    assets = ["lstm_model", "lstm_prediction", "lstm_evaluation"]
    materialize(market, assets, second, LAST, instance)
    models = market.warehouse.read("lstm_model", keys, needed_by="test").frame
    as_of = {f"{row.date:%Y-%m-%d}": f"{row.as_of:%Y-%m-%d}" for row in models.itertuples()}
    assert {as_of[k] for k in keys[:24]} == {first}
    assert {as_of[k] for k in keys[24:]} == {third}
    assert not models.set_index("date").loc[second, "trained_here"]
    scored = market.warehouse.read("lstm_prediction", keys[12:24], needed_by="test").frame
    assert set(scored["as_of"].astype(str)) == {first}
    made = market.warehouse.info("lstm_model", second).provenance
    assert made.inputs["passed_over"] == second
    event = instance.get_latest_materialization_event(key_of("lstm_model"))
    assert event is not None
    found = in_force(market, "lstm", keys[13], "test")
    assert isinstance(found, InForce)
    assert "varied" in found.passed_over[second][0]


def test_no_good_model_yet_is_no_scores_and_a_status(
    finished: Market, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    shutil.rmtree(copy_of(finished, tmp_path / "tiny").paths.models)  # to be judged anew
    market = market_of(tmp_path / "tiny", "gru", {"checks": {"model": {"min_spread": 1e9}}})
    run_models(market, instance)
    key = market.sessions.keys[-1]
    assert isinstance(in_force(market, "gru", key, "test"), NoneInForce)
    for table in ("gru_model", "gru_prediction", "gru_evaluation"):
        info = market.warehouse.info(table, key)
        assert info.rows == 0
        assert info.provenance.status != "ok"
    bundle = find_bundle(market, "gru", market.plan.first_trained)
    assert "varied" in bundle.manifest["reasons"][0]


def test_a_pinned_model_is_served_whatever_the_checks_say(finished: Market, tmp_path: Path) -> None:
    market = copy_of(finished, tmp_path / "tiny")
    keys = [k for k in market.sessions.keys if k >= market.plan.first_trained]
    pinned = make_market(
        tmp_path / "tiny",
        {
            "training": {"pin": {"from": keys[14], "as_of": keys[0]}},
            "checks": {"model": {"min_spread": 1e9}},
        },
    )
    found = in_force(pinned, "krnn", keys[14], "test")
    assert isinstance(found, InForce)
    assert found.as_of == keys[0]
