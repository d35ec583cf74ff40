"""The books of the strategies of target weights.

Oracles: the library's backtest over the whole range; a broker who knows the lists and the bars; and
accounts worked out by hand.
"""

from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pytest

from pipelines.assets.stages import stages
from pipelines.bars.adjustment import load_bars, traded_value
from pipelines.config.loader import parse_config
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from rnn_core.evaluation import backtest, equal_weight_benchmark
from tests.pipelines.conftest import REPORTS, TINY, materialize, partition_bytes
from tests.pipelines.finished_markets import part_of
from tests.pipelines.hand_made import (
    SECTORS,
    hand_made,
    keys_of,
    planted,
    prices_of_day,
    rows_of,
    same_as,
    trade,
    write_bars,
    write_scores,
    write_sectors,
)

KINDS = ("portfolio", "book", "trades", "orders")
HISTORY = 22
COMMON = {"account": 1e6, "limit_threshold": 0.08}
RULES = {
    "long_short": {
        "strategy": "long_short", "borrow_rate": 0.1, "max_gross": 4.0,
        "options": {"quantile": 0.25, "gross": 1.6, "weights": "score", "band": 0.01},
    },
    "score_weighted": {
        "strategy": "score_weighted",
        "options": {"names": 6, "cap": 0.3, "group": "sector", "group_cap": 0.5, "band": 0.02},
    },
    "mean_variance": {
        "strategy": "mean_variance",
        "options": {
            "sessions": 20, "cap": 0.3, "group": "sector", "group_cap": 0.4, "risk_aversion": 2,
            "turnover_limit": 0.7, "turnover_cost": 0.0002,
        },
    },
    "mean_variance_short": {
        "strategy": "mean_variance", "borrow_rate": 0.02,
        "options": {"sessions": 20, "cap": 0.25, "long_only": False, "gross": 1.5, "ic": 0.1},
    },
}  # fmt: skip


def market_for(tmp_path, rule, sessions=30, **more):
    settings = COMMON | RULES[rule] | more
    return planted(tmp_path, settings, sessions=sessions, history=HISTORY, sectors=True)


def every_rule(*rules):
    return pytest.mark.parametrize("rule", rules or list(RULES))


@every_rule()
def test_the_partitions_are_the_backtest_bit_by_bit(tmp_path, rule):
    """Made in three pieces, with impact, against the library's fold over the whole range."""
    impact = {"half_spread_bps": 2.0, "coefficient": 0.01, "sessions": 15}
    market, keys = market_for(tmp_path, rule, impact=impact, deal_price="open", trade_unit=100)
    for piece in (keys[1:2], keys[2:17], keys[17:]):
        trade(market, piece)
    start = market.sessions.position(keys[0]) - HISTORY
    end = market.sessions.position(keys[-1]) + 1
    bars, parts = load_bars(market, market.sessions.keys[start:end], "test", ["sector"])
    bars["factor"] = parts.frame["adj_factor"].to_numpy()
    bars["amount"] = traded_value(parts.frame)
    bars = bars.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])
    scores = market.warehouse.read("lstm_prediction", keys[1:], needed_by="test").frame
    signal = scores.set_index(["date", "instrument"])["score"].astype("float64")
    settings = market.config.portfolio
    days = bars.index.get_level_values(0).unique()
    whole = backtest(
        signal, bars, settings.rule(), settings.backtest,
        benchmark=equal_weight_benchmark(bars).reindex(days, fill_value=0.0),
    )  # fmt: skip
    _, held = same_as(whole, market, keys[1:])
    assert (held["share_ratio"] > 1.5).any(), "no name was held through a split"
    trades = rows_of(market, "trades", keys[1:])
    fees = trades["value"] * settings.close_cost + settings.min_cost
    assert (trades["cost"] > fees).any(), "no trade paid for its impact"


@pytest.mark.thorough
@every_rule()
def test_a_broker_that_follows_the_lists_earns_the_reported_returns(tmp_path, rule):
    """Oracle: a broker who knows the lists, the bars and the sizing of docs/orders.md."""
    market, keys = market_for(tmp_path, rule)
    trade(market, keys[1:])
    orders = rows_of(market, "orders", keys[1:])
    book = rows_of(market, "book", keys[1:]).set_index("date")
    s, cash, account, paid = market.config.portfolio, 1e6, 1e6, 0.0
    held: dict[str, float] = {}
    last: dict[str, float] = prices_of_day(market, keys[0])
    for before, key in pairwise(keys):
        price, earlier = prices_of_day(market, key), paid
        takes = {n for n, p in price.items() if n not in last or abs(p / last[n] - 1) < 0.08}
        listed = orders[(orders["date"] == before) & orders["instrument"].isin(takes)]
        # The lender, then the broker.
        worth = np.array([held[n] * last[n] for n in sorted(held)])
        lent = -float(np.sum(worth[worth < 0])) * (s.borrow_rate / s.periods_per_year)
        cash, paid = cash - lent, paid + lent
        for order in listed.sort_values("sequence").to_dict("records"):
            name, side = order["instrument"], order["side"]
            have, p = held.get(name, 0.0), price[name]
            amount = abs(have) if order["sizing"] == "all" else order["amount"]
            selling = side in ("sell", "short")
            rate = s.close_cost if selling else s.open_cost
            value = amount * p
            fee = max(value * rate, s.min_cost)
            if not selling and cash < fee:
                continue
            if not selling and cash < value + fee:
                least = cash < s.min_cost / rate + s.min_cost  # the least cost binds
                most = cash - s.min_cost if least else cash / (1 + rate)
                value = min(most, value) / p * p
                fee = max(value * rate, s.min_cost)
            amount = amount if selling else value / p
            held[name] = have - amount if selling else have + amount
            if order["sizing"] == "all":
                assert abs(held[name]) < 1e-9 * abs(have), "the cash did not cover a cover"
                del held[name]
            cash, paid = cash + (value - fee if selling else -(value + fee)), paid + fee
        # The close.
        last |= price
        worth = float(np.sum(np.array([held[n] * last[n] for n in sorted(held)])))
        cost, row = paid - earlier, book.loc[key]
        gross = (worth + cash - account + cost) / account
        assert (row["account"], row["cash"]) == (worth + cash, cash), key
        assert (row["return"], row["return_with_cost"]) == (gross, gross - cost / account), key
        account = worth + cash
    assert account > 1.1e6, "the planted signal earns nothing"
    trades = rows_of(market, "trades", keys[1:])
    assert len(trades.query("refusal != ''")) > 2, "nothing was refused"
    assert set(trades["reason"]) == {"entered", "dropped", "rebalanced"}
    sides = {"buy", "sell", "short", "cover"} if s.needs.sells_short else {"buy", "sell"}
    assert set(trades["side"]) == sides


@every_rule()
def test_orders_do_not_depend_on_what_comes_after(tmp_path, rule):
    """Other bars and scores of D + 1 change its own partitions, and no byte of those of D."""
    market, keys = market_for(tmp_path, rule, sessions=6)
    trade(market, keys[1:])
    before = partition_bytes(market)
    bars = {f"N{i:02}": {"close": 50.0 + i} for i in range(6)}
    write_bars(market, keys[-1], bars)
    write_sectors(market, keys[-1], dict.fromkeys(bars, "Other"))
    write_scores(market, keys[-1], {name: float(i) for i, name in enumerate(bars)})
    trade(market, keys[1:])
    changed = {p for p, digest in partition_bytes(market).items() if before[p] != digest}
    own = {f"lstm_{kind}/date={keys[-1]}/part-0.parquet" for kind in KINDS}
    assert own <= changed
    assert {path for path in changed if path.startswith("lstm_")} == own | {
        f"lstm_prediction/date={keys[-1]}/part-0.parquet"
    }


@every_rule()
def test_pieces_and_a_restart_give_the_bytes_of_one_go(tmp_path, rule):
    market, keys = market_for(tmp_path, rule, sessions=9)
    trade(market, keys[1:])
    whole = partition_bytes(market)
    for kind in KINDS:
        shutil.rmtree(market.paths.warehouse / f"lstm_{kind}")
    for piece in (keys[1:4], keys[4:5], keys[5:]):
        trade(market.opened_anew(), piece)
    trade(market, keys[3:7])
    assert partition_bytes(market) == whole


@every_rule("score_weighted", "mean_variance")
def test_targets_keep_the_caps(tmp_path, rule):
    """Names and sectors of what the orders aim at; a name that was refused is what it was."""
    market, keys = market_for(tmp_path, rule, limit_threshold=None, min_cost=0.0)
    trade(market, keys[1:])
    options, band = RULES[rule]["options"], RULES[rule]["options"].get("band", 0.0)
    orders = rows_of(market, "orders", keys[1:])
    opened = orders[orders["reason"] == "entered"]
    assert len(opened) > 20
    assert opened["target_weight"].max() <= options["cap"] * 1.01, "the account pays the costs"
    held = rows_of(market, "portfolio", keys[1:])
    kept = held[~held["suspended"] & (held["target_weight"] > 0)]
    sector = kept["instrument"].str[1:].astype(int).map(lambda i: SECTORS[i % 3])
    sums = kept["target_weight"].groupby([kept["date"], sector]).sum()
    before = kept["weight"].groupby([kept["date"], sector]).sum()
    limit = np.maximum(options["group_cap"], before) * 1.01 + 4 * band
    assert (sums <= limit).all()
    assert (sums > options["group_cap"] * 0.9).any(), "the cap of the sectors never binds"


@every_rule()
def test_what_is_read_beside_prices_is_in_the_provenance(tmp_path, rule):
    market, keys = market_for(tmp_path, rule, sessions=2)
    trade(market, keys[1:])
    inputs = market.warehouse.info("lstm_portfolio", keys[-1]).provenance.inputs
    more = set() if rule == "long_short" else {"column sector"}
    more = {"window"} if rule == "mean_variance_short" else more
    more |= {"window"} if rule == "mean_variance" else set()
    assert set(inputs) == {"ohlcv", "prediction", "previous"} | more
    stage = next(stage for stage in stages(market) if stage.name == "lstm_portfolio")
    assert stage.deps == ("ohlcv", "lstm_prediction")


def both_sides(tmp_path, days, **more):
    """A is long and B short for half of 10,000 from the second session on; the days are a test's.

    A band keeps what is held as it is.
    """
    settings = {
        "strategy": "long_short", "options": {"quantile": 0.5, "gross": 1.0, "band": 0.9},
        "open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "account": 10_000.0, **more,
    }  # fmt: skip
    market = hand_made(tmp_path / "tiny", settings)
    keys = keys_of(market, len(days) + 2)
    flat = {"A": {"close": 10.0}, "B": {"close": 5.0}}
    for key, bars in zip(keys, [flat, flat, flat, *days], strict=True):
        write_bars(market, key, bars)
        if key != keys[0]:
            write_scores(market, key, {n: s for n, s in {"A": 1.0, "B": 0.0}.items() if n in bars})
    trade(market, keys[1:])
    held = rows_of(market, "portfolio", keys[1:]).set_index(["date", "instrument"])
    return market, keys, held, rows_of(market, "book", keys[1:]).set_index("date")


def test_a_split_of_a_short_position_changes_the_count_and_nothing_else(tmp_path):
    """By hand: 1000 short shares at 5 are 2000 at 2.5 after the split; 2000 at 3 lose 1000."""
    split = {"close": 2.5, "adj_factor": 2.0}
    days = [
        {"A": {"close": 10.0}, "B": split},
        {"A": {"close": 10.0}, "B": {**split, "close": 3.0}},
    ]
    _, keys, held, book = both_sides(tmp_path, days)
    before, after = held.loc[(keys[2], "B")], held.loc[(keys[3], "B")]
    assert (before["shares"], before["weight"]) == (-1000.0, -0.5)
    assert (after["shares"], after["close"], after["share_ratio"]) == (-2000.0, 2.5, 2.0)
    assert book.loc[keys[3], ["account", "turnover"]].tolist() == [10_000.0, 0.0]
    assert book.loc[keys[4], "account"] == 9_000.0


def test_a_dividend_of_a_short_position_is_owed(tmp_path):
    """By hand: 0.50 of 5 is paid, the close is 4.50: who is short owes it, and has won nothing."""
    paid = {"close": 4.5, "adj_factor": 5 / 4.5}
    _, keys, held, book = both_sides(tmp_path, [{"A": {"close": 10.0}, "B": paid}])
    assert held.loc[(keys[3], "B"), "shares"] == pytest.approx(-1000 * 5 / 4.5)
    assert book.loc[keys[3], "account"] == pytest.approx(10_000.0, rel=1e-15)


def test_a_delisted_short_position_stays_and_is_ordered_to_be_covered(tmp_path):
    gone = {"A": {"close": 10.0}, "C": {"close": 1.0}}
    market, keys, held, book = both_sides(tmp_path, [gone, gone, gone])
    last = held.loc[(keys[-1], "B")]
    assert (last["close"], last["shares"], last["suspended"]) == (5.0, -1000.0, True)
    trades = rows_of(market, "trades", keys[1:])
    refused = trades[trades["instrument"].eq("B") & trades["side"].eq("cover")]
    assert refused["refusal"].tolist() == ["suspended", "suspended"]
    listed = rows_of(market, "orders", [keys[-1]]).set_index("instrument")
    assert listed.loc["B", ["side", "sizing", "target_weight"]].tolist() == ["cover", "all", 0.0]
    assert listed.loc["B", "estimated_shares"] == 1000.0
    assert book["account"].iloc[-1] == 10_000.0


def test_borrowing_is_paid_every_session(tmp_path):
    """By hand: 25.2 percent of 5000 over 252 sessions are 5 a session."""
    days = [{"A": {"close": 10.0}, "B": {"close": 5.0}}]
    _, keys, _, book = both_sides(tmp_path, days, borrow_rate=0.252)
    assert book.loc[keys[2], "total_cost"] == 0.0, "nothing was short overnight"
    assert book.loc[keys[3], ["total_cost", "account"]].tolist() == [5.0, 9_995.0]
    assert book.loc[keys[3], "return"] == 0.0, "a return before costs"


def test_an_account_that_is_lost_is_an_error_that_names_the_session(tmp_path):
    with pytest.raises(PipelineError, match=r"lstm_portfolio of .*: the account is worth -"):
        both_sides(tmp_path, [{"A": {"close": 10.0}, "B": {"close": 50.0}}])


def test_books_of_another_strategy_are_made_by_dagster_and_are_current(
    finished, tmp_path, instance
):
    """Changed settings make books stale, and nothing else but reports; one run makes them again."""
    part_of(finished, tmp_path / "tiny", "gru")
    options = {"sessions": 20, "cap": 0.4, "long_only": False, "gross": 1.2}
    portfolio = {"strategy": "mean_variance", "options": options, "impact": {}}
    models = {"gru": TINY["models"]["gru"]}
    config = parse_config({**TINY, "models": models, "portfolio": portfolio})
    market = Market(config, root=tmp_path / "tiny")
    table, books = stages(market), [f"{spec.name}_portfolio" for spec in market.models]
    with dagster_instance(market) as record:
        sync_record(market, table, record)
        before = status_report(market, table, record)
    stale = {asset.asset for asset in before.assets if asset.findings}
    assert stale == {*books, *REPORTS}
    keys = market.sessions.between(market.plan.first_trained, market.sessions.keys[-1])
    materialize(market, books, keys[0], keys[-1], instance)
    with dagster_instance(market) as record:
        sync_record(market, table, record)
        after = status_report(market, table, record)
    assert {asset.asset for asset in after.assets if asset.findings} == set(REPORTS)
    made = market.warehouse.info("gru_portfolio", keys[-1]).provenance.inputs
    assert set(made) == {"ohlcv", "prediction", "previous", "window"}
    sides = market.warehouse.read("gru_orders", keys, needed_by="test").frame["side"]
    assert set(sides) == {"buy", "sell", "short", "cover"}
