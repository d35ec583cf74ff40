"""The step of a book and the strategies. Oracles: the backtest of one go, and counts by hand."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    BookState,
    Impact,
    Order,
    PortfolioConfig,
    ScoreWeighted,
    TopkDropout,
    backtest,
    decide,
    execute,
    expected,
    topk_dropout,
)
from rnn_core.evaluation.account import Market
from rnn_core.evaluation.strategy_names import make_strategy, own_strategy

DAYS = pd.bdate_range("2024-01-01", periods=25)
NAMES = [f"N{i}" for i in range(9)]


def _rows(table: pd.DataFrame) -> pd.Series:
    """A table of sessions by names as rows."""
    rows = table.stack(future_stack=True).dropna()  # noqa: PD013
    return rows.rename("close").rename_axis(["datetime", "instrument"])


def _table(rows: pd.Series) -> pd.DataFrame:
    """The other way round."""
    return rows.unstack()  # noqa: PD010


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Bars with suspensions, moves beyond the limit, and a factor."""
    rng = np.random.default_rng(2)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.05, (len(DAYS), len(NAMES))), axis=0))
    table = pd.DataFrame(close, DAYS, NAMES).mask(rng.random(close.shape) < 0.08)
    return _rows(table).to_frame().assign(factor=2.0)


@pytest.fixture(scope="module")
def signal(bars: pd.DataFrame) -> pd.Series:
    return pd.Series(np.random.default_rng(3).normal(size=len(bars)), bars.index, name="score")


CONFIG = PortfolioConfig(topk=3, n_drop=2, account=1e5, hold_thresh=2)


def _through_json(state: BookState) -> BookState:
    return BookState(**json.loads(json.dumps(asdict(state))))


def _through_parquet(state: BookState) -> BookState:
    """Names, amounts, prices and ages as rows, the rest as columns of one value."""
    file = io.BytesIO()
    plain = asdict(state)
    pd.DataFrame({key: [value] for key, value in plain.items()}).to_parquet(file)
    row = pd.read_parquet(file).iloc[0].to_dict()
    return BookState(**{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()})


@pytest.mark.parametrize("carried", [_through_json, _through_parquet], ids=["json", "parquet"])
@pytest.mark.parametrize("sizing", ["cash_share", "fixed_shares"])
def test_a_book_carried_through_files_is_the_backtest_bit_by_bit(bars, signal, carried, sizing):
    """Oracle: `topk_dropout` over the whole range."""
    config = replace(CONFIG, sizing=sizing)
    whole = topk_dropout(signal, bars, config, sessions=DAYS)
    market = Market.from_bars(bars, limit_threshold=config.limit_threshold)
    score = _table(signal).reindex(index=DAYS, columns=NAMES).to_numpy()
    state, orders = BookState.opened(config.account), []
    for t in range(len(DAYS)):
        done = execute(carried(state), orders, market.at(t), config)
        state = done.state
        scored = ~np.isnan(score[t])
        orders = decide(TopkDropout.of(config), state, market.at(t), score[t], scored, config)
        row = whole.daily.iloc[t]
        assert (done.figures.account, done.figures.ret) == (row["account"], row["return"])
        assert (done.figures.cost, done.figures.cash) == (row["cost"], row["cash"])
        held = whole.positions[whole.positions["datetime"] == DAYS[t]]
        assert state.instruments == tuple(held["instrument"])
        assert state.amounts == tuple(held["amount"])
    assert whole.daily["turnover"].gt(0).sum() > 15


def test_fixed_shares_are_those_of_the_close_before(bars, signal):
    """By hand: the amount of an order is the budget at the close, whatever the next price is."""
    config = PortfolioConfig(topk=2, n_drop=1, account=1e4, sizing="fixed_shares", min_cost=0.0)
    market = Market.from_bars(bars, limit_threshold=None)
    close = market.close[0]
    best = np.flatnonzero(~np.isnan(close))[:2]
    score = np.zeros(9)
    score[best] = 3.0, 2.0
    state = BookState.opened(1e4)
    scored = np.ones(9, dtype=bool)
    orders = decide(TopkDropout.of(config), state, market.at(0), score, scored, config)
    budget = 1e4 * 0.95 / 2
    amounts = [order.amount for order in orders]
    assert amounts == pytest.approx((budget / close[best]).tolist(), rel=1e-12)
    traded = execute(state, orders, market.at(1), config).trades
    assert [trade.amount for trade in traded if not trade.refusal] == pytest.approx(
        [a for a, trade in zip(amounts, traded, strict=True) if not trade.refusal], rel=1e-12
    )


@pytest.mark.parametrize("impact", [None, Impact(half_spread_bps=2)], ids=["fees", "impact"])
@pytest.mark.parametrize("lot", [None, 100], ids=["fractions", "lots"])
def test_a_list_of_target_weights_is_what_is_traded(bars, signal, lot, impact):
    """Each order fixes whole lots above 0, and the next session trades as many while cash lasts."""
    config = replace(CONFIG, trade_unit=lot, limit_threshold=None, impact=impact)
    rows = bars.assign(amount=1e7)
    market = Market.from_bars(rows, limit_threshold=None, lots=lot is not None, impact=impact)
    score = _table(signal).reindex(index=DAYS, columns=NAMES).to_numpy()
    state, orders, sides = BookState.opened(config.account), [], set()
    for t in range(len(DAYS)):
        done = execute(state, orders, market.at(t), config)
        state = done.state
        for trade in done.trades:
            if trade.order.amount is not None and not trade.refusal:
                short_of_cash = (
                    trade.order.side == "buy" and state.cash < 100 * trade.price * 2 + 10
                )
                if short_of_cash:
                    assert trade.amount <= trade.order.amount * (1 + 1e-9)
                else:
                    assert trade.amount == pytest.approx(trade.order.amount, rel=1e-9)
                sides.add(trade.order.side)
        scored = ~np.isnan(score[t])
        rule = ScoreWeighted(names=4, cap=0.5, exposure=0.9)
        orders = decide(rule, state, market.at(t), score[t], scored, config)
        amounts = np.array([2 * order.amount for order in orders if order.amount is not None])
        assert (amounts > 0).all()
        assert lot is None or amounts / lot == pytest.approx(np.round(amounts / lot), abs=1e-9)
        at_close = expected(state, orders, market.at(t), config).trades
        assert all(trade.amount > 0 for trade in at_close)
    assert sides == {"buy", "sell"}


def test_the_amount_of_a_suspended_name_is_cut_when_it_trades():
    """By hand: 10 of 50 shares without a factor of the session are not yet cut to lots of 4."""

    class Less:
        def orders(self, at):
            return [Order("A", "sell", target=0.4)]

    rows = _rows(pd.DataFrame({"A": [10.0, None], "B": [10.0, 10.0]}, DAYS[:2])).to_frame()
    market = Market.from_bars(rows.assign(factor=1.0), limit_threshold=None, lots=True)
    config = PortfolioConfig(account=1000.0, trade_unit=4)
    state = BookState(500.0, 1000.0, 0.0, 0.0, ("A",), (50.0,), (10.0,), (1,))
    (order,) = decide(Less(), state, market.at(1), np.ones(2), np.ones(2, dtype=bool), config)
    assert order.amount == pytest.approx(10.0)
    assert execute(state, [order], market.at(0), config).trades[0].amount == 8.0


def test_a_refusal_has_its_reason_and_its_share_stays_cash(bars):
    """By hand: of two purchases one is suspended, so half of the budget is spent."""
    table = pd.DataFrame(
        {"A": [10.0, 10.0, 10.0], "B": [10.0, 10.0, None], "C": [10.0, 10.0, 15.0]}, DAYS[:3]
    )
    market = Market.from_bars(_rows(table).to_frame(), limit_threshold=0.1)
    config = PortfolioConfig(account=1000.0, open_cost=0.0, min_cost=0.0)
    orders = [Order(name, "buy", share_of=3, risk_degree=0.9) for name in "ABC"]
    done = execute(BookState.opened(1000.0), orders, market.at(2), config)
    assert [trade.refusal for trade in done.trades] == ["", "suspended", "price limit"]
    assert [trade.value for trade in done.trades] == [300.0, 0.0, 0.0]
    assert done.state.cash == 700.0
    aims = expected(BookState.opened(1000.0), orders, market.at(1), config)
    assert [trade.amount for trade in aims.trades] == [30.0] * 3


class BestOne:
    """Hold the best name and nothing else."""

    def __init__(self, risk_degree: float = 1.0) -> None:
        self.risk_degree = risk_degree

    def orders(self, at):
        best = int(at.ranked[0])
        names = at.instruments
        sales = [Order(names[i], "sell") for i in np.flatnonzero(at.held) if i != best]
        buys = [] if at.held[best] else [Order(names[best], "buy", "", 1, 1, self.risk_degree)]
        return [*buys, *sales]


def test_a_strategy_of_ones_own_is_backtested(bars, signal):
    """Oracle: TopkDropout with one name, all of it replaced, which is the same rule."""
    name = f"{__name__}:BestOne"
    own = make_strategy(name, {"risk_degree": 0.95})
    assert own_strategy(name).origin["module"] == __name__
    config = PortfolioConfig(topk=1, n_drop=1, limit_threshold=None, account=1e5)
    full = signal[signal.index.get_level_values("instrument").isin(NAMES[:4])]
    without_gaps = _rows(_table(bars["close"]).ffill().bfill()).to_frame()
    full = _rows(_table(full).fillna(0.0))
    one, other = (
        backtest(full, without_gaps, rule, config) for rule in (own, TopkDropout.of(config))
    )
    assert np.array_equal(one.daily["account"], other.daily["account"])
    assert one.daily["turnover"].gt(1).any()


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([Order("N0", "sell")], "N0 is to be sold, and the book does not hold it"),
        ([Order("N1", "buy", share_of=1)] * 2, "N1 is ordered twice"),
        ([Order("N1", "buy")], "share_of is 0; expected the number of purchases"),
        ([Order("N8", "buy", share_of=1)], "N8 is to be bought, and the book holds it already"),
    ],
)
def test_orders_that_nobody_can_execute_are_refused(bars, orders, said):
    class Fixed:
        def orders(self, at):
            return orders

    prices = Market.from_bars(bars).at(0)
    state = BookState(1.0, 11.0, instruments=("N8",), amounts=(1.0,), prices=(10.0,), ages=(1,))
    with pytest.raises(ValueError, match=said):
        decide(Fixed(), state, prices, np.ones(9), np.ones(9, dtype=bool), CONFIG)


@pytest.mark.parametrize("given", [None, [{"buy": "N1"}], iter(())])
def test_what_is_no_list_of_orders_is_refused(bars, given):
    class Odd:
        def orders(self, at):
            return given

    prices = Market.from_bars(bars).at(0)
    state = BookState(1.0, 11.0, instruments=("N8",), amounts=(1.0,), prices=(10.0,), ages=(1,))
    with pytest.raises(ValueError, match=r"orders of Odd gave .* expected a list of rnn_core"):
        decide(Odd(), state, prices, np.ones(9), np.ones(9, dtype=bool), CONFIG)


class NoSituation:
    def orders(self):
        return []


def test_a_part_that_is_no_strategy_is_refused():
    with pytest.raises(ValueError, match=r"has orders\(self\), expected orders\(self, at\)"):
        own_strategy(f"{__name__}:NoSituation")
    with pytest.raises(ValueError, match="has no method `orders`"):
        own_strategy("fractions:Fraction")
    with pytest.raises(ValueError, match="does not take the options"):
        make_strategy(f"{__name__}:BestOne", {"risk": 1.0})
