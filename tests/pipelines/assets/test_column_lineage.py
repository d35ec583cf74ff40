"""Column lineage: each column to those it is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.assets.column_lineage import (
    Lineage,
    bar_columns,
    evaluation_lineage,
    feature_lineage,
    infer_lineage,
    label_lineage,
    learn_lineage,
    prediction_lineage,
)
from pipelines.market.market import Market
from pipelines.warehouse.schemas import DATASET_LEARN, LABEL, OHLCV, PREDICTION, evaluation_table
from tests.pipelines.conftest import COLUMNS, make_market


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return make_market(tmp_path_factory.mktemp("lineage"))


def _names(lineage: Lineage, column: str) -> set[str]:
    return {f"{ref.table}.{ref.column}" for ref in lineage[column]}


def test_features_name_the_bar_columns_of_their_expression(market: Market) -> None:
    """Oracle: the table of Alpha158's expressions."""
    lineage = feature_lineage(market.datasets[0])
    assert set(lineage) == {*market.datasets[0].feature_formulas, "member"}
    assert _names(lineage, "KMID") == {"ohlcv.open", "ohlcv.close", "ohlcv.adj_factor"}
    assert _names(lineage, "CORR5") == {"ohlcv.close", "ohlcv.volume", "ohlcv.adj_factor"}
    assert _names(lineage, "VSTD60") == {"ohlcv.volume", "ohlcv.adj_factor"}
    vwap = {"ohlcv.close", "ohlcv.volume", "ohlcv.amount", "ohlcv.adj_factor"}
    assert _names(lineage, "VWAP0") == vwap


def test_a_typical_vwap_is_made_of_prices(tmp_path: Path) -> None:
    other = make_market(tmp_path, {"market": {"vwap": "typical"}})
    assert bar_columns(other.datasets[0], ["vwap"]) == ["high", "low", "close", "adj_factor"]


def test_every_column_that_is_named_exists(market: Market) -> None:
    """Oracle: the tables' schemas."""
    columns = {
        "ohlcv": set(OHLCV.names),
        "alpha158": {*market.datasets[0].feature_formulas, "member"},
        "label": set(LABEL.names),
        "dataset_infer": {*market.datasets[0].columns, "member"},
        "lstm_model": {"as_of", "fingerprint"},
        "lstm_prediction": set(PREDICTION.names),
    }
    evaluation = evaluation_table(5)
    for lineage, made in (
        (feature_lineage(market.datasets[0]), columns["alpha158"]),
        (label_lineage(market.datasets[0]), columns["label"]),
        (infer_lineage(market.datasets[0]), columns["dataset_infer"]),
        (learn_lineage(market.datasets[0]), set(DATASET_LEARN.names)),
        (prediction_lineage(market.datasets[0], "lstm"), columns["lstm_prediction"]),
        (evaluation_lineage("lstm", "label", evaluation.names), set(evaluation.names)),
    ):
        assert set(lineage) <= made
        for refs in lineage.values():
            assert refs
            for ref in refs:
                assert ref.column in columns[ref.table]
    assert set(market.datasets[0].columns) == set(COLUMNS)
