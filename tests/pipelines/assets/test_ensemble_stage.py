"""The models' ensemble as assets. Oracles: the rank average of the stored scores, and the library's
backtest on it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.operations.orders import session_orders
from pipelines.operations.runs import run_assets
from pipelines.operations.signal import session_signal
from pipelines.reports.portfolio_report import portfolios
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import PORTFOLIO_TABLE, SIGNAL_TABLE, read_table
from rnn_core.evaluation import rank_average
from tests.pipelines.conftest import REPORTS, TINY, make_market, materialize, merged
from tests.pipelines.finished_markets import copy_of

MODELS = ("lstm", "gru", "krnn")
NAMES = ("ensemble_prediction", "ensemble_evaluation", "ensemble_portfolio")


def test_what_the_report_praises_is_what_is_traded(finished, tmp_path, instance):
    plain = copy_of(finished, tmp_path / "tiny")
    market = make_market(plain.paths.root, {"ensemble": {}})
    table = {stage.name: stage for stage in stages(market)}
    assert table.keys() - {stage.name for stage in stages(plain)} == set(NAMES)
    for stage in stages(plain):
        if stage.name not in REPORTS:
            assert table[stage.name].config_hash == stage.config_hash, "nothing else is touched"
    keys = market.sessions.between(market.plan.first_trained, market.sessions.keys[-1])
    materialize(market, NAMES, keys[0], keys[-1], instance)
    run_assets(build_definitions(market), instance, REPORTS)

    def scores_of(model):
        rows = market.warehouse.read(f"{model}_prediction", keys, needed_by="test").frame
        index = rows.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])
        return index["score"].astype("float64").sort_index()

    expected = rank_average([scores_of(model) for model in MODELS])
    made = scores_of("ensemble")
    assert made.index.equals(expected.index)
    assert np.array_equal(made, expected.astype("float32").astype("float64"))
    evaluated = market.warehouse.read("ensemble_evaluation", keys, needed_by="test").frame
    assert len(evaluated) == len(keys) - market.datasets[0].label_lag
    assert evaluated["rank_ic"].notna().any()
    # The report shows the book that gave the orders.
    data = ReportData(market, list(table.values()), "test")
    without = [stage for stage in table.values() if not stage.name.endswith("_portfolio")]
    shown = portfolios(data, list(table.values()))["ensemble"]
    backtest = portfolios(ReportData(market, without, "test"), without)["ensemble"]
    assert np.array_equal(shown.daily.to_numpy(), backtest.daily.to_numpy())
    assert "ensemble" in read_table(market, PORTFOLIO_TABLE).index
    assert "ensemble" in read_table(market, SIGNAL_TABLE).index
    orders = session_orders(market, list(table.values()), model="ensemble")
    assert set(orders.orders["model"]) <= {"ensemble"}
    signal = session_signal(market, list(table.values()))
    assert signal.averaged == MODELS
    last = signal.scores[signal.scores["model"] == "ensemble"].set_index("instrument")["score"]
    assert last.to_dict() == made.loc[pd.Timestamp(keys[-1])].to_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ensemble": {"method": "mean"}}, "rank_average"),
        ({"ensemble": {"sessions": 30}}, "sessions: of weights trailing_ic only"),
        ({"ensemble": {"weights": "ic"}}, "'equal' or 'trailing_ic'"),
        (
            {"ensemble": {"weights": "trailing_ic", "sessions": 10}},
            "min_sessions 20 exceeds sessions 10",
        ),
        ({"ensemble": {}, "models": {"ensemble": {"family": "gru"}}}, "makes assets of that name"),
    ],
)
def test_a_wrong_section_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(merged(TINY, changes))


def test_one_model_is_no_ensemble(tmp_path):
    config = merged(TINY, {"ensemble": {}})
    config["models"] = {"gru": config["models"]["gru"]}
    with pytest.raises(ConfigError, match="gru learns the default label; expected two models"):
        stages(Market(parse_config(config), root=tmp_path / "tiny"))


@pytest.mark.thorough
def test_weights_by_trailing_ic_know_the_evaluations_that_had_matured(finished, tmp_path, instance):
    """Oracle: means of the stored rank ICs of the window, and weighted ranks, by hand."""
    plain = copy_of(finished, tmp_path / "tiny")
    settings = {"weights": "trailing_ic", "sessions": 8, "min_sessions": 4}
    market = make_market(plain.paths.root, {"ensemble": settings})
    keys = market.sessions.between(market.plan.first_trained, market.sessions.keys[-1])
    materialize(market, NAMES, keys[0], keys[-1], instance)
    read = market.warehouse.read
    ics = pd.DataFrame(
        {
            model: read(f"{model}_evaluation", keys, needed_by="test").frame.set_index("date")[
                "rank_ic"
            ]
            for model in MODELS
        }
    )
    stored = read("ensemble_weights", keys, needed_by="test").frame
    unequal = 0
    for number, key in enumerate(keys):
        window = pd.DatetimeIndex(list(keys[max(0, number - 7) : number + 1]))
        matured = ics[ics.index.isin(window)].dropna()
        mean = matured.mean().clip(lower=0)
        equal = len(matured) < 4 or mean.sum() == 0
        weight = pd.Series(1 / 3, MODELS) if equal else mean / mean.sum()
        rows = stored[stored["date"] == key].set_index("model")
        assert rows["weight"][list(MODELS)].tolist() == pytest.approx(weight.tolist(), abs=1e-12)
        assert rows["sessions"].unique().tolist() == [len(matured)]
        unequal += not equal
        ranks = sum(
            weight[model]
            * (
                read(f"{model}_prediction", [key], needed_by="test")
                .frame.set_index("instrument")["score"]
                .rank()
                - 0.5
            )
            for model in MODELS
        )
        made = read("ensemble_prediction", [key], needed_by="test").frame
        score = made.set_index("instrument")["score"]
        assert score.tolist() == pytest.approx((ranks / len(score))[score.index].tolist(), abs=1e-6)
    assert unequal > 10
    assert (stored["weight"] >= 0).all()
    # What was stored says what it was made from, and an equal average reads no evaluation.
    inputs = market.warehouse.info("ensemble_prediction", keys[-1]).provenance.inputs
    predictions = {f"{model}_prediction" for model in MODELS}
    assert set(inputs) == predictions | {f"{model}_evaluation" for model in MODELS}
    default = {s.name: s for s in stages(make_market(plain.paths.root, {"ensemble": {}}))}
    assert default["ensemble_prediction"].deps == tuple(f"{m}_prediction" for m in MODELS)
    assert default["ensemble_prediction"].config == {
        "method": "rank_average", "models": list(MODELS),
    }  # fmt: skip
    assert len(default["ensemble_prediction"].tables) == 1


def test_the_dump_of_an_equal_average_is_that_of_the_release_before():
    config = parse_config(merged(TINY, {"ensemble": {"weights": "equal"}}))
    assert config.ensemble.model_dump(mode="json") == {"method": "rank_average"}
