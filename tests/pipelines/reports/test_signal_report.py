"""The reports as the UI shows them. Oracle: the files on disk, and the tables of the warehouse."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.market.dataset import Dataset
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import (
    BASIS,
    CAPACITY_TABLE,
    GROUPS_TABLE,
    REFERENCES_TABLE,
    SHOWN,
    shown_table,
)
from pipelines.reports.signal_report import served_note, signal_report
from rnn_core.evaluation import mean_test
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import copy_of


# The market of the fixture has no groups, no models that others are held against, and no impact.
@pytest.mark.parametrize(
    "name", sorted(SHOWN.keys() - {CAPACITY_TABLE, GROUPS_TABLE, REFERENCES_TABLE})
)
def test_a_table_of_the_ui_is_no_wider_than_a_page(finished, name):
    """Six to eight columns; all that are named are columns of the file."""
    table = pd.read_csv(finished.paths.reports / name, index_col=0)
    assert set(SHOWN[name]) <= set(table.columns)
    head, rule, *rows = shown_table(name, table).split("\n\n")[0].splitlines()
    assert 6 <= head.count("|") - 1 <= 8
    assert rule.count("---") == head.count("|") - 1
    assert len(rows) == len(table)
    words = shown_table(name, table, ["3 sessions"]).split("\n\n")[1]
    assert words == f"{BASIS[name]}. 3 sessions. All {table.shape[1]} columns are in {name}."
    if name == "portfolio.csv":
        assert "benchmark is the members at equal weight" in words


def test_a_table_without_the_columns_of_served_sessions_is_shown_without_them():
    table = pd.DataFrame({"ic": [0.01], "days": [1234.0]}, index=pd.Index(["lstm"], name="model"))
    assert shown_table("signal.csv", table).splitlines()[:3] == [
        "| model | sessions | IC |",
        "| --- | --- | --- |",
        "| lstm | 1,234 | 0.0100 |",
    ]


def test_differences_are_named_by_their_pair():
    row = {"a": "lstm", "b": "gru", "statistic": "ic", "days": 3, "difference": 0.5, "p_nw": 0.1}
    shown = shown_table("differences.csv", pd.DataFrame([row])).splitlines()
    assert shown[0] == "| signal | minus | of | sessions | mean difference | p |"
    assert shown[2] == "| lstm | gru | ic | 3 | 0.5000 | 0.1000 |"


def test_coverage_counts_bars_members_and_what_was_set_aside(finished, tmp_path):
    """By session, one without a partition among them."""
    market = copy_of(finished, tmp_path / "copy")
    keys = market.sessions.keys
    shutil.rmtree(market.paths.warehouse / "ohlcv" / f"date={keys[7]}")
    found = ReportData(market, stages(market), "test").coverage
    assert list(found.index.strftime("%Y-%m-%d")) == list(keys)
    assert found.loc[keys[7]].isna().all()
    assert found.drop(pd.Timestamp(keys[7])).notna().all().all()
    for key in (keys[0], keys[40], keys[-1]):
        bars = market.warehouse.read("ohlcv", [key], needed_by="t").frame
        aside = market.warehouse.read("ohlcv_quarantine", [key], needed_by="t").frame
        assert list(found.loc[key]) == [len(bars), bars["member"].sum(), len(aside)]


def test_the_picture_of_it_is_in_the_folder_of_the_reports(finished):
    picture = finished.paths.reports / "coverage.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_page_says_what_a_served_decision_is(finished, tmp_path):
    """Of an exchange, of a market round the clock, and where none was served."""
    key = finished.sessions.keys[-5]
    said = served_note(finished, {"lstm": {key}, "gru": set()})
    assert "before the next session's open: lstm 1, gru 0; all others were backfilled" in said
    crypto = make_market(tmp_path, {"market": {"calendar": "24/7"}})
    assert "before the next session's close, as trading" in served_note(crypto, {"lstm": {key}})
    none = served_note(finished, {"lstm": set()})
    assert none == "no decision was scored in time to be traded on: all were backfilled"
    page = (finished.paths.reports / "report.html").read_text()
    assert none in page


def test_the_page_stands_beside_those_of_other_markets(finished, tmp_path):
    """`data/reports/NAME.html`, the same bytes as in the market's own folder."""
    market = copy_of(finished, tmp_path / "data" / "tiny")
    shutil.rmtree(market.paths.reports)
    signal_report(market, stages(market))
    page = tmp_path / "data" / "reports" / "tiny.html"
    assert page.read_bytes() == (market.paths.reports / "report.html").read_bytes()
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_damaged_bundle_costs_its_loss_curve_and_nothing_else(finished, tmp_path):
    market = copy_of(finished, tmp_path / "copy")
    newest = sorted(path.name for path in (market.paths.models / "gru").iterdir())[-1]
    history = market.paths.models / "gru" / newest / "history.parquet"
    content = bytearray(history.read_bytes())
    content[30] ^= 255
    history.write_bytes(bytes(content))
    report = signal_report(market, stages(market))
    (said,) = [note for note in report.notes if "left out" in note]
    assert said.startswith(f"the loss curve of gru of {newest} is left out: ")
    assert f"materialize gru_model of {newest} to train it again" in said
    assert "loss_curves" in report.pictures
    assert "is left out" in (market.paths.reports / "report.html").read_text()


def test_the_tests_of_a_label_of_many_sessions_know_that_it_overlaps(
    finished, tmp_path, monkeypatch
):
    """Oracle: `mean_test` of the stored evaluations, with the lags of the overlap."""
    market = copy_of(finished, tmp_path / "copy")
    assert market.datasets[0].label_horizon == 1
    plain = signal_report(market, stages(market)).tables
    monkeypatch.setattr(Dataset, "label_horizon", 11)
    tables = signal_report(market, stages(market)).tables
    assert set(plain["differences.csv"]["lags"]) == {3}
    assert set(tables["differences.csv"]["lags"]) == {10}
    assert set(tables["differences.csv"]["block"]) == {11}
    stored = ReportData(market, stages(market), "test").rows("lstm_evaluation")
    expected = mean_test(stored["rank_ic"], lags=10)["t_nw"]
    assert tables["signal.csv"].loc["lstm", "rank_ic_t_nw"] == expected
    assert expected != plain["signal.csv"].loc["lstm", "rank_ic_t_nw"]
