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
