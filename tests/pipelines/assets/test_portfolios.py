"""The book of a model by partition.

Oracles: the library's backtest over the whole range, which is compared with qlib's elsewhere; a
broker of ten lines that knows the order lists and the bars; and accounts worked out by hand.
"""

from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.portfolios import order_words
from pipelines.assets.stages import stages
from pipelines.bars.adjustment import load_bars
from pipelines.errors import MissingSessionsError, PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.operations.sync import sync_record
from pipelines.reports.portfolio_report import portfolios
from pipelines.reports.report_data import ReportData
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from rnn_core.evaluation import Order, backtest, equal_weight_benchmark
from tests.pipelines.conftest import (
    REPORTS,
    make_market,
    market_of,
    materialize,
    partition_bytes,
)
from tests.pipelines.finished_markets import copy_of
from tests.pipelines.hand_made import (
    hand_made,
    keys_of,
    planted,
    prices_of_day,
    rows_of,
    same_as,
    trade,
    write_bars,
    write_scores,
)

KINDS = ("portfolio", "book", "trades", "orders")
COSTLESS = {
    "topk": 1, "n_drop": 1, "open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0,
    "account": 10_000.0, "risk_degree": 1.0,
}  # fmt: skip


SETTINGS = {"topk": 4, "n_drop": 2, "account": 1e6, "limit_threshold": 0.08}


@pytest.mark.parametrize(
    "more",
    [{}, {"deal_price": "open", "trade_unit": 100}, {"sizing": "fixed_shares", "hold_thresh": 3}],
    ids=["cash_share", "lots", "fixed_shares"],
)
def test_the_partitions_are_the_backtest_bit_by_bit(tmp_path, more):
    """Made in three pieces, against the library's fold over the whole range."""
    market, keys = planted(tmp_path, SETTINGS | more)
    for piece in (keys[1:2], keys[2:17], keys[17:]):
        trade(market, piece)
    bars, parts = load_bars(market, keys, "test")
    bars["factor"] = parts.frame["adj_factor"].to_numpy()
    bars = bars.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])
    scores = market.warehouse.read("lstm_prediction", keys[1:], needed_by="test").frame
    signal = scores.set_index(["date", "instrument"])["score"].astype("float64")
    settings = market.config.portfolio
    whole = backtest(
        signal, bars, settings.rule(), settings.backtest, benchmark=equal_weight_benchmark(bars)
    )
    book, held = same_as(whole, market, keys[1:])
    assert book["refused_purchases"].sum() + book["refused_sales"].sum() > 3, "too easy a market"
    assert (held["share_ratio"] > 1.5).any(), "no name was held through a split"


@pytest.mark.parametrize("sizing", ["cash_share", "fixed_shares"])
def test_a_broker_that_follows_the_lists_earns_the_reported_returns(tmp_path, sizing):
    """Oracle: a broker who knows the lists, the bars and the rule of sizing of docs/orders.md."""
    market, keys = planted(tmp_path, SETTINGS | {"sizing": sizing})
    trade(market, keys[1:])
    orders = rows_of(market, "orders", keys[1:])
    book = rows_of(market, "book", keys[1:]).set_index("date")
    s, cash, account, paid = market.config.portfolio, 1e6, 1e6, 0.0
    held: dict[str, float] = {}
    last: dict[str, float] = prices_of_day(market, keys[0])
    for before, key in pairwise(keys):
        price, earlier = prices_of_day(market, key), paid
        # The exchange: no trade without a bar, none after a move of 8 percent.
        takes = {n for n, p in price.items() if n not in last or abs(p / last[n] - 1) < 0.08}
        listed = orders[(orders["date"] == before) & orders["instrument"].isin(takes)]
        listed = listed.sort_values("sequence").to_dict("records")
        # The broker.
        for order in (order for order in listed if order["side"] == "sell"):
            value = held.pop(order["instrument"]) * price[order["instrument"]]
            fee = max(value * s.close_cost, s.min_cost)
            cash, paid = cash + (value - fee), paid + fee
        pot = cash
        for order in (order for order in listed if order["side"] == "buy"):
            name, share = order["instrument"], pot * order["risk_degree"] / order["share_of"]
            value = share / price[name] if s.sizing == "cash_share" else order["amount"]
            value *= price[name]
            if cash < max(value * s.open_cost, s.min_cost):
                continue
            if cash < value + max(value * s.open_cost, s.min_cost):
                least = cash < s.min_cost / s.open_cost + s.min_cost  # the least cost binds
                most = cash - s.min_cost if least else cash / (1 + s.open_cost)
                value = min(most, value) / price[name] * price[name]
            fee = max(value * s.open_cost, s.min_cost)
            held[name] = value / price[name]
            cash, paid = cash - (value + fee), paid + fee
        # The close.
        last |= price
        worth = float(np.sum(np.array([held[name] * last[name] for name in sorted(held)])))
        cost, row = paid - earlier, book.loc[key]
        gross = (worth + cash - account + cost) / account
        assert (row["account"], row["cash"]) == (worth + cash, cash), key
        assert (row["return"], row["return_with_cost"]) == (gross, gross - cost / account), key
        account = worth + cash
    assert account > 1.2e6, "the planted signal earns nothing"
    assert len(rows_of(market, "trades", keys[1:]).query("refusal != ''")) > 3, (
        "nothing was refused"
    )


def test_orders_do_not_depend_on_what_comes_after(tmp_path):
    """Other bars and scores of D + 1 change its own partitions, and no byte of those of D."""
    market, keys = planted(tmp_path, SETTINGS, sessions=8)
    trade(market, keys[1:])
    before = partition_bytes(market)
    write_bars(market, keys[-1], {f"N{i:02}": {"close": 50.0 + i} for i in range(6)})
    write_scores(market, keys[-1], {f"N{i:02}": float(i) for i in range(6)})
    trade(market, keys[1:])
    changed = {p for p, digest in partition_bytes(market).items() if before[p] != digest}
    own = {f"lstm_{kind}/date={keys[-1]}/part-0.parquet" for kind in KINDS}
    assert own <= changed
    assert {path for path in changed if path.startswith(("lstm_book", "lstm_orders"))} <= own


def test_pieces_and_a_restart_give_the_bytes_of_one_go(tmp_path):
    market, keys = planted(tmp_path, SETTINGS, sessions=12)
    trade(market, keys[1:])
    whole = partition_bytes(market)
    for kind in KINDS:
        shutil.rmtree(market.paths.warehouse / f"lstm_{kind}")
    for piece in (keys[1:6], keys[6:7], keys[7:]):
        trade(market.opened_anew(), piece)
    trade(market, keys[4:9])
    assert partition_bytes(market) == whole


def test_a_gap_is_an_error_that_names_it_and_the_way_on(tmp_path):
    market, keys = planted(tmp_path, SETTINGS, sessions=6)
    trade(market, keys[1:4])
    with pytest.raises(MissingSessionsError, match=f"lstm_portfolio of {keys[5]} begins with the"):
        trade(market, keys[5:])
    with pytest.raises(MissingSessionsError, match=f"--start {keys[1]} --end {keys[4]}"):
        trade(market, keys[5:])
    first = {"portfolio": {**SETTINGS, "first": keys[5]}}
    later = market_of(market.paths.root, "lstm", first)
    trade(later, keys[5:])
    row = rows_of(later, "book", [keys[5]]).iloc[0]
    assert (row["account"], row["names"]) == (1e6, 0), "the book is opened there"
    assert len(rows_of(later, "orders", [keys[5]])) == 4


def bought(tmp_path, days):
    """A is bought at 10 on the second session; the days after that are the test's."""
    market = hand_made(tmp_path / "tiny", COSTLESS)
    keys = keys_of(market, len(days) + 2)
    flat = {"A": {"close": 10.0}, "B": {"close": 5.0}}
    for key, bars in zip(keys, [flat, flat, flat, *days], strict=True):
        write_bars(market, key, bars)
        if key != keys[0]:
            write_scores(market, key, {"A": 1.0, "B": 0.0} if "A" in bars else {"B": 0.0})
    trade(market, keys[1:])
    held = rows_of(market, "portfolio", keys[1:]).set_index("date")
    return market, keys, held, rows_of(market, "book", keys[1:]).set_index("date")


def test_a_split_changes_the_count_and_nothing_else(tmp_path):
    """By hand: 1000 shares at 10 are 2000 at 5 after a 2:1 split, before anything is traded."""
    _, keys, held, book = bought(
        tmp_path, [{"A": {"close": 5.5, "adj_factor": 2.0}, "B": {"close": 5.0}}]
    )
    before, after = held.loc[keys[2]], held.loc[keys[3]]
    assert (before["shares"], before["close"], before["share_ratio"]) == (1000.0, 10.0, 1.0)
    assert (after["shares"], after["close"], after["share_ratio"]) == (2000.0, 5.5, 2.0)
    assert after["amount"] == before["amount"]
    assert book.loc[keys[3], "account"] == 11_000.0
    assert book.loc[keys[3], "turnover"] == 0.0


def test_a_cash_dividend_is_reinvested(tmp_path):
    """By hand: 0.50 of 10 is paid, the close is 9.50; the factor 10 / 9.5 makes the loss good."""
    _, keys, held, book = bought(
        tmp_path, [{"A": {"close": 9.5, "adj_factor": 10 / 9.5}, "B": {"close": 5.0}}]
    )
    after = held.loc[keys[3]]
    assert after["share_ratio"] == 10 / 9.5
    assert after["shares"] == pytest.approx(1052.6316, abs=1e-4), "500 in cash bought 52.6 shares"
    assert book.loc[keys[3], "account"] == pytest.approx(10_000.0, rel=1e-15)
    assert book.loc[keys[3], "cash"] == 0.0


def test_a_delisted_name_keeps_its_place_and_its_price(tmp_path):
    """It ranks last, is ordered to be sold each day, and refused; no cash, no purchase."""
    gone = {"B": {"close": 6.0}}
    market, keys, held, book = bought(tmp_path, [gone, gone, gone])
    last = held.loc[keys[-1]]
    assert (last["instrument"], last["close"], last["suspended"]) == ("A", 10.0, True)
    assert (book["account"] == 10_000.0).all()
    trades = rows_of(market, "trades", keys[1:])
    refused = trades[trades["instrument"].eq("A") & trades["side"].eq("sell")]
    assert refused["refusal"].tolist() == ["suspended", "suspended"]
    orders = rows_of(market, "orders", [keys[-1]])
    assert orders["instrument"].tolist() == ["A", "B"]
    assert orders["reason"].tolist() == ["dropped", "entered"]
    assert orders["rank"].isna().tolist() == [True, False]
    assert orders["estimated_shares"].tolist() == [1000.0, pytest.approx(10_000 / 6)]
    assert orders["target_weight"].tolist() == [0.0, pytest.approx(1.0)]


def test_a_session_without_scores_holds_and_orders_nothing(tmp_path):
    market = hand_made(tmp_path / "tiny", COSTLESS)
    keys = keys_of(market, 2)
    for key in keys:
        write_bars(market, key, {"A": {"close": 10.0}})
    for key in keys[1:]:
        write_scores(market, key, {})
    trade(market, keys[1:])
    assert rows_of(market, "portfolio", keys[1:]).empty
    assert rows_of(market, "orders", keys[1:]).empty
    book = rows_of(market, "book", keys[1:])
    assert book[["account", "return", "scored"]].to_numpy().tolist() == [[10_000.0, 0.0, 0.0]] * 2


class SellTwice:
    """A strategy that orders what nobody can execute."""

    code_version = "1"

    def orders(self, at):
        from rnn_core.evaluation import Order

        return [Order("A", "sell")] * 2


def test_a_strategy_of_another_package_is_asked_and_its_mistakes_are_named(tmp_path):
    strategy = f"{__name__}:{SellTwice.__name__}"
    market = hand_made(tmp_path / "tiny", {"account": 1e4})
    settings = {**market.config.portfolio.model_dump(include={"account"}), "strategy": strategy}
    market = market.opened_anew(
        market.config.model_copy(update={"portfolio": type(market.config.portfolio)(**settings)})
    )
    keys = keys_of(market, 1)
    for key in keys:
        write_bars(market, key, {"A": {"close": 10.0}})
    write_scores(market, keys[1], {"A": 1.0})
    with pytest.raises(PipelineError, match=f"lstm_portfolio of {keys[1]}: A is ordered twice"):
        trade(market, keys[1:])


def test_the_report_reads_the_partitions_and_has_the_figures_of_the_backtest(finished):
    """On the whole small market; the other side is the library's backtest of every model."""
    table = stages(finished)
    without = [stage for stage in table if not stage.name.endswith("_portfolio")]
    data = ReportData(finished, table, "test")
    stored, run = portfolios(data, table), portfolios(data, without)
    assert list(stored) == list(run) == ["lstm", "gru", "krnn", "ensemble"]
    assert not data.gaps
    for name, result in run.items():
        read = stored[name]
        assert np.array_equal(read.daily.to_numpy(), result.daily.to_numpy()), name
        assert read.daily.index.equals(result.daily.index)
        pd.testing.assert_frame_equal(read.positions, result.positions, check_exact=True)
        assert (read.notes, read.benchmark) == (result.notes, result.benchmark)


def test_a_book_with_a_gap_is_backtested_and_the_report_says_so(finished, tmp_path):
    market = copy_of(finished, tmp_path / "copy")
    key = market.warehouse.sessions("gru_book")[7]
    shutil.rmtree(market.paths.warehouse / "gru_portfolio" / f"date={key}")
    table = stages(market)
    data = ReportData(market, table, "test")
    shown = portfolios(data, table)
    (note,) = data.gaps
    assert note.startswith(f"gru: gru_portfolio lacks 1 sessions, the first {key}")
    whole = portfolios(ReportData(finished, table, "test"), stages(finished))
    assert np.array_equal(shown["gru"].daily.to_numpy(), whole["gru"].daily.to_numpy())


@pytest.mark.thorough
def test_after_an_upgrade_books_are_missing_and_nothing_else_but_reports_is_stale(
    finished, tmp_path, instance
):
    """An earlier release left no portfolio; its files keep their bytes when the books are made."""
    market = copy_of(finished, tmp_path / "tiny")
    for folder in market.paths.warehouse.glob("*_*"):
        if folder.name.endswith(tuple(f"_{kind}" for kind in KINDS)):
            shutil.rmtree(folder)
    before, table = partition_bytes(market), stages(market)
    with dagster_instance(market) as record:
        sync_record(market, table, record)
        report = status_report(market, table, record)
    found = {a.asset: [(f.cause, f.detail) for f in a.findings] for a in report.assets}
    stale = {name: causes for name, causes in found.items() if causes}
    books = {f"{spec.name}_portfolio" for spec in market.models}
    assert stale.keys() == books | set(REPORTS)
    assert all(stale[name] == [(Cause.ABSENT, "")] for name in books)
    assert all(stale[name][0][0] is Cause.INPUTS for name in REPORTS)
    materialize(
        market, sorted(books), market.plan.first_trained, market.sessions.keys[-1], instance
    )
    after = partition_bytes(market)
    assert {path: after[path] for path in before} == before
    assert after == partition_bytes(finished)


def test_sessions_of_other_settings_are_named(finished, tmp_path):
    """A book whose settings changed on the way says from when to when it had the others."""
    copy_of(finished, tmp_path / "copy")
    market = make_market(tmp_path / "copy", {"portfolio": {"topk": 3}})
    table = stages(market)
    keys = market.warehouse.sessions("gru_portfolio")
    (note,) = portfolios(ReportData(market, table, "test"), table)["gru"].notes[-1:]
    assert note.startswith(f"{len(keys)} sessions from {keys[0]} to {keys[-1]} were traded with")
    assert finished.warehouse.sessions("gru_portfolio") == keys


def test_the_page_of_a_session_names_what_is_ordered():
    orders = [Order("A", "sell"), *(Order(f"N{i:02d}", "buy") for i in range(23))]
    words = order_words(orders)
    assert words["sell"] == "A"
    assert words["buy"].startswith("N00, N01, ")
    assert words["buy"].endswith("N19 and 3 more")
    assert order_words([]) == {}
