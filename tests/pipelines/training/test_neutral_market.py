"""A market with columns beside the bars, from the file to the report's groups.

The price-earnings ratio is planted: it holds the return that the label asks for, and an effect of
the industry and of the market value on top, several times as large. Neutralised, it is the return.
Oracles: least squares on the file's rows (`numpy.linalg.lstsq`), and the planted return.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.errors import ConfigError
from pipelines.market.input_versions import training_inputs
from pipelines.operations.runs import run_assets
from pipelines.reports.report_tables import GROUPS_TABLE, shown_table
from pipelines.staleness.status_report import status_report
from pipelines.training import learning_data
from pipelines.training.learning_data import LearningRows
from tests.pipelines.conftest import REPORTS, merged, own_record, run_data
from tests.pipelines.extra_market import EXTRA, extra_bars, extra_market
from tests.pipelines.moving_markets import NO_BOUNDS, run_all

NEUTRALIZE = {"CSNeutralize": {"industry": "industry", "size": "mktcap"}}
CHANGES = {
    "features": {"set": {"features": {"PE": "$pe", "PE5": "Mean($pe, 5)"}}},
    "dataset": {
        "fit": {"rolling": {"window_sessions": 30}},
        **NO_BOUNDS,
        "step_len": 2,
        "infer_processors": [NEUTRALIZE, {"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"],
        "learn_processors": ["DropnaLabel", NEUTRALIZE, "CSRankNorm"],
    },
    "models": {"gru": {"lr": 0.02, "n_epochs": 12}},
    "evaluation": {"by_group": "industry"},
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    rows = extra_bars(
        tmp_path_factory.mktemp("bars"), instruments=16, suspension_rate=0.0, split_rate=0.0
    )
    closes = rows.sort_values("date").groupby("instrument")["close"]
    ahead = closes.shift(-2) / closes.shift(-1) - 1  # no name is suspended
    effect = 0.5 * (rows["industry"] == "Banks") + 0.2 * np.log(rows["mktcap"])
    rows["pe"] = ahead.fillna(0.0) + effect
    return rows


@pytest.fixture(scope="module")
def made(bars, tmp_path_factory):
    """The market, run up to the reports, and the status after it."""
    market = extra_market(tmp_path_factory.mktemp("market"), EXTRA, CHANGES, bars)
    with own_record() as record:
        run_all(market, record)
        run_assets(build_definitions(market), record, REPORTS)
        report = status_report(market, stages(market), record)
    return market, report


def residuals(rows, value):
    """Least squares of a column on a dummy of each industry and the logarithm of the value."""
    exposures = np.column_stack([pd.get_dummies(rows["industry"]), np.log(rows["mktcap"])])
    exposures = exposures.astype("float64")
    coefficients, *_ = np.linalg.lstsq(exposures, rows[value].to_numpy(), rcond=None)
    return rows[value] - exposures @ coefficients


def test_features_are_neutral_in_the_dataset_and_in_what_is_served(made, bars):
    """`dataset_infer` is the residual, scaled by the state in force; nothing is stale."""
    market, report = made
    key = market.sessions.keys[-6]
    rows = bars[bars["date"] == key].set_index("instrument")
    got = market.warehouse.read("dataset_infer", [key], needed_by="test").frame
    got = got.set_index("instrument")["PE"].astype("float64")
    expected = residuals(rows, "pe").reindex(got.index)
    inside = got.abs() < 2.99  # the score is clipped
    assert inside.sum() > 8
    line = np.polyfit(expected[inside], got[inside], 1)
    np.testing.assert_allclose(np.polyval(line, expected[inside]), got[inside], atol=1e-4)
    assert abs(got.groupby(rows["industry"]).mean()).max() < abs(got).max()
    assert report.is_current


def test_labels_are_neutral(made, bars):
    """The rank of a learning row is that of the label's residual."""
    market, _ = made
    key = market.sessions.keys[-6]
    rows = market.warehouse.read("dataset_learn", [key], needed_by="test").frame
    day = f"{rows['decision_date'].iloc[0]:%Y-%m-%d}"
    beside = bars[bars["date"] == day].set_index("instrument")[["industry", "mktcap"]]
    rows = rows.set_index("instrument").join(beside)
    rows["raw_label"] = rows["raw_label"].astype("float64")
    expected = residuals(rows, "raw_label").rank(pct=True)
    np.testing.assert_allclose((expected - 0.5) * 3.46, rows["label"], atol=1e-6)


def test_the_report_measures_every_model_inside_the_industries(made):
    """The planted return is found inside each group, and the page shows it."""
    market, _ = made
    table = pd.read_csv(market.paths.reports / "groups.csv").set_index(["model", "group"])
    assert list(table.index) == [("gru", "Banks"), ("gru", "Steel")]
    assert (table["rank_ic"] > 0.3).all()
    assert table["names"].between(7, 8).all()
    head = shown_table(GROUPS_TABLE, table.reset_index("group")).splitlines()[0]
    assert head == "| model | group | names a session | sessions | IC | rank IC | t |"
    assert "rank IC inside groups of names" in market.paths.page.read_text(encoding="utf-8")


def test_a_changed_industry_makes_stale_what_it_entered(made, bars, tmp_path):
    """Features that do not read it stay as they are; the processors after them do not."""
    market, _ = made
    key = market.sessions.keys[-2]
    changed = bars.copy()
    changed.loc[(changed["date"] == key).to_numpy().nonzero()[0][:1], "industry"] = "Oil"
    again = extra_market(market.paths.root.parent, EXTRA, CHANGES, changed)
    with own_record() as record:
        run_assets(build_definitions(again), record, ["ohlcv"], (key, key))
        report = status_report(again, stages(again), record)
    stale = {
        asset.asset: {(str(finding.cause), finding.detail) for finding in asset.findings
                      if key in finding.keys}
        for asset in report.assets
    }  # fmt: skip
    unrecorded = {("not in Dagster's record", "")}
    assert stale["alpha158"] | stale["label"] == unrecorded
    assert stale["dataset_infer"] == {("inputs", "column industry")}
    assert stale["gru_prediction"] == {("inputs", "column industry")}


@pytest.mark.parametrize(
    ("processors", "told"),
    [
        ({"CSNeutralize": {"industry": "sector"}}, "reads the column sector.*one of: industry, "),
        ({"CSNeutralize": {"size": "industry"}}, "reads industry as a number.*lists a category"),
    ],
)
def test_a_processor_reads_columns_that_there_are(processors, told, tmp_path):
    with pytest.raises(ConfigError, match=f"dataset: CSNeutralize {told}"):
        extra_market(tmp_path, EXTRA, {"dataset": {"infer_processors": [processors]}})
    with pytest.raises(ConfigError, match="the market lists none"):
        extra_market(tmp_path, None, {"dataset": {"infer_processors": [NEUTRALIZE]}})


def test_groups_are_those_of_a_category(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluation.by_group.*'pe' is no category"):
        extra_market(tmp_path, EXTRA, {"evaluation": {"by_group": "pe"}})


@pytest.mark.thorough
def test_columns_that_learning_alone_reads_are_those_of_the_whole_window(
    bars, tmp_path, monkeypatch
):
    """In parts of one session, the first of which has no label."""
    infer = [{"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"]
    changes = merged(CHANGES, {"dataset": {"infer_processors": infer}})
    market = extra_market(tmp_path, EXTRA, changes, bars)
    with own_record() as record:
        run_data(market, record)
    dataset, as_of = market.datasets[0], market.plan.first_trained
    whole = LearningRows(market, dataset, as_of, "a test")
    at_once = pd.concat(whole, ignore_index=True)
    monkeypatch.setattr(learning_data, "PART_ROWS_AT_ONCE", 1)
    parts = LearningRows(market, dataset, as_of, "a test")
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), at_once)
    inputs = training_inputs(dataset, as_of, parts.versions)
    assert inputs == training_inputs(dataset, as_of, whole.versions)
