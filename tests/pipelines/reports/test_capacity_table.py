"""The capacity curves of a market. Oracle: the library's curve on the stored books."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.assets.stages import stages
from pipelines.reports.capacity_table import bars_looking_back
from pipelines.reports.portfolio_report import portfolio_report, portfolios
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import CAPACITY_TABLE, read_table, shown_table
from pipelines.reports.signal_report import signal_report
from rnn_core.evaluation import capacity_curve
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import copy_of


def test_the_report_answers_at_what_account_the_edge_is_gone(finished, tmp_path):
    copy_of(finished, tmp_path / "copy")
    impact = {"half_spread_bps": 1.0, "sessions": 10}
    market = make_market(tmp_path / "copy", {"portfolio": {"impact": impact}})
    table = stages(market)
    report = portfolio_report(market, table)
    stored = read_table(market, CAPACITY_TABLE)
    data = ReportData(market, table, "test")
    result = portfolios(data, table)["gru"]
    assert len(result.trades) > 10
    own = capacity_curve(result, bars_looking_back(data), periods_per_year=252)
    rows = stored.loc["gru"].set_index("account")
    assert np.allclose(rows.to_numpy(), own[rows.columns].to_numpy(), rtol=1e-12)
    assert rows["annualized_return"].is_monotonic_decreasing
    assert set(stored.index) == {"lstm", "gru", "krnn", "ensemble"}
    assert "capacity.png" in report.files
    (words,) = report.remarks[CAPACITY_TABLE]
    assert words.startswith("The account at which the excess after costs is gone: lstm ")
    text = shown_table(
        CAPACITY_TABLE, report.tables[CAPACITY_TABLE], report.remarks[CAPACITY_TABLE]
    )
    assert "median trade ÷ usual volume" in text
    signal_report(market, table)
    page = market.page.read().decode()
    assert 'alt="figures after costs against the size of the account' in page
    assert words in page


def test_without_costs_of_impact_there_is_no_curve(finished, tmp_path):
    market = copy_of(finished, tmp_path / "copy")
    report = portfolio_report(market, stages(market))
    assert CAPACITY_TABLE not in report.tables
    assert "capacity" not in report.pictures


@pytest.mark.thorough
def test_a_strategy_that_looks_back_is_backtested_as_its_books_would_be(finished, tmp_path):
    """Without books the report runs the library's backtest with the returns that were known."""
    copy_of(finished, tmp_path / "copy")
    options = {"sessions": 20, "cap": 0.4, "risk_aversion": 1.0, "turnover_cost": 0.0}
    market = make_market(tmp_path / "copy")
    section = type(market.config.portfolio)(strategy="mean_variance", options=options)
    market = market.opened_anew(market.config.model_copy(update={"portfolio": section}))
    without = [stage for stage in stages(market) if not stage.name.endswith("_portfolio")]
    data = ReportData(market, without, "test")
    result = portfolios(data, without)["gru"]
    assert result.daily.index[0] == data.first
    first = result.trades.loc[result.trades["value"] > 0, "datetime"].min()
    assert first <= result.daily.index[3], "the returns before the first score were not read"
