"""The TopkDropout portfolio: hold about k names, every session swap the worst few for better ones.

It is a long-only backtest of a signal with costs, suspensions and price limits. Its daily report
has qlib's columns and, with `semantics="qlib"`, qlib's numbers (qlib: contrib/strategy/
signal_strategy.py TopkDropoutStrategy run by backtest_daily).
Prices and refusals of all sessions are laid out as [T, N] tables beforehand; what is left is one
short fold over sessions (`execution.py`), because an account depends on its own past.
Amounts are fractions of adjusted shares unless `trade_unit` names a lot.

Rules of session t, which uses the signal of session t - 1 only:
1. Rank names by score; those not held that rank best are candidates, `n_drop + topk - held` of
   them. A held name without a score ranks last. Equal scores rank in instrument order.
2. Rank candidates and held names together; held ones among the last `n_drop` are to be sold.
3. Sell them, unless held for fewer than `hold_thresh` sessions, suspended or at a limit.
4. Split cash * `risk_degree` equally over the first `sold + topk - held` candidates ("sold" counts
   those to be sold) and buy. The share of one that is suspended or at a limit stays cash.
Without a signal on t - 1 nothing is traded. A name without a bar, suspended or delisted, keeps its
last close and its place in the portfolio until it can be sold; the result's notes name it.

Repairs of "strict":
- `n_drop=0`: qlib's "last 0" of a list is all of it, so it sells everything; strict sells nothing.
- A name whose score is NaN is bought by qlib when better candidates run out, by strict never.
- A deal price of up to 1e-8 is absent for qlib, which then takes the close, and an order worth up
  to 1e-5 is not executed; strict takes every positive price and measures orders by the account.
- With too little cash and a lot qlib adds a tenth of a share to what the cash pays for before it
  cuts it to lots, and may leave a debt; strict buys what the cash pays for.
- `only_tradable` with more names held than `topk`: qlib's count of names to buy can fall below
  zero and then means "all but the last few"; strict takes zero.
- The price limit is judged by the deal price, by qlib by the close whatever orders are filled at.
Differences of both from qlib: qlib ranks several held names without a score, with no candidate, in
the order of a Python set, which changes from run to run; here they rank in instrument order. qlib
compares its stored float32 change with the limit; here the change comes from the closes given.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import SMALLEST_PRICE, Market, columns_of
from rnn_core.evaluation.align import (
    FloatArray,
    IntArray,
    by_session_and_name,
    session_axis,
    to_table,
)
from rnn_core.evaluation.execution import BookState, Order, Trade, execute
from rnn_core.evaluation.impact import simple_returns
from rnn_core.evaluation.portfolio_config import PortfolioConfig
from rnn_core.evaluation.portfolio_notes import Refusals, portfolio_notes
from rnn_core.evaluation.strategies import Known, Needs, Strategy, TopkDropout, decide
from rnn_core.notebook import fact_line, fact_table, span_of
from rnn_core.panel.frames import one_column
from rnn_core.panel.session_labels import session_labels

REPORT_COLUMNS = (
    "account", "return", "total_turnover", "turnover", "total_cost", "cost", "value", "cash",
    "bench",
)  # fmt: skip
TRADE_COLUMNS = (
    "datetime", "instrument", "side", "reason", "amount", "price", "value", "cost", "refusal",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class PortfolioResult:
    """The result of a backtest.

    Attributes:
        config: the settings it ran with.
        daily: index `datetime`, qlib's report columns. account: worth at the close; return: simple
            return before costs; turnover: value bought and sold / last account; cost: costs / last
            account; value, cash: positions and cash at the close; bench: the benchmark's return,
            NaN without a benchmark; total_*: running sums in currency.
        positions: one row per session and name held at its close, sorted: datetime, instrument,
            amount (adjusted shares), price, weight (of the account), suspended (no bar on the
            session; the price is its last).
        notes: sentences about undefined figures, refused orders and stale prices.
        benchmark: the name of the benchmark's Series, empty without a benchmark.
        trades: one row per order and session that it was for: datetime, instrument, side, reason,
            amount (adjusted shares), price, value, cost, refusal (empty if it was filled).

    Examples:
        >>> isinstance(result, PortfolioResult), result.daily.index.name, result.benchmark
        (True, 'datetime', 'all names at equal weight')
    """

    config: PortfolioConfig
    daily: pd.DataFrame
    positions: pd.DataFrame
    notes: tuple[str, ...] = ()
    benchmark: str = ""
    trades: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TRADE_COLUMNS)))

    def _facts(self) -> dict[str, str]:
        return {
            **span_of(self.daily.index),
            "names": f"{self.positions['instrument'].nunique()} held",
            "account": f"{self.daily['account'].iloc[-1]:,.0f}" if len(self.daily) else "–",
            "benchmark": self.benchmark or "none",
        }

    def __repr__(self) -> str:
        return fact_line(self, self._facts())

    def _repr_html_(self) -> str:
        return fact_table(self, self._facts(), self.daily.tail(3))


def topk_dropout(
    signal: pd.Series,
    bars: pd.DataFrame,
    config: PortfolioConfig | None = None,
    *,
    benchmark: pd.Series | None = None,
    sessions: Sequence[pd.Timestamp] | pd.DatetimeIndex | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PortfolioResult:
    """Backtest the TopkDropout strategy.

    Args:
        signal: scores, a Series or one-column frame indexed by (datetime, instrument); the score
            of session t is traded on t + 1.
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close` and the
            `deal_price`; a missing row is a suspended name. Bars before the first session serve
            the first price change. `trade_unit` also needs `factor`.
        config: settings; None for the defaults.
        benchmark: simple return per session, whose name tables and pictures show; None leaves
            `bench` and every excess undefined.
        sessions: the sessions to report, from the bars; by default from the first session with a
            signal to the one after the last, or the last with bars.
        progress: called after each session with (sessions done, sessions in all).

    Returns:
        The daily report and the positions.

    Raises:
        ValueError: no signal, a signal on a day between the bars' sessions, unknown sessions, or a
            benchmark that does not cover the sessions.

    Examples:
        >>> int(result.positions.groupby("datetime").size().max())
        5
    """
    config = config or PortfolioConfig()
    return backtest(
        signal,
        bars,
        TopkDropout.of(config),
        config,
        benchmark=benchmark,
        sessions=sessions,
        progress=progress,
    )


def backtest(
    signal: pd.Series,
    bars: pd.DataFrame,
    strategy: Strategy,
    config: PortfolioConfig | None = None,
    *,
    benchmark: pd.Series | None = None,
    sessions: Sequence[pd.Timestamp] | pd.DatetimeIndex | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PortfolioResult:
    """Backtest a strategy: a fold over sessions of `Strategy.orders` and `execute`.

    Args:
        signal: as of `topk_dropout`.
        bars: likewise.
        strategy: decides the orders; of the settings only those of exchange and account count.
            One that reads returns finds those of the bars, and columns beside the bars among them.
        config: settings; None for the defaults.
        benchmark: as of `topk_dropout`.
        sessions: likewise.
        progress: likewise.

    Returns:
        The daily report and the positions.

    Raises:
        ValueError: as of `topk_dropout`.

    Examples:
        >>> book = backtest(scores, bars, LongShort(quantile=0.2), config)
        >>> bool(book.positions["weight"].lt(0).any())
        True
    """
    config, needs = config or PortfolioConfig(), Needs.of(strategy)
    market = Market.from_bars(
        bars,
        deal_price=config.deal_price,
        limit_threshold=config.limit_threshold,
        forbid_all_trade_at_limit=config.forbid_all_trade_at_limit,
        lots=config.lot is not None,
        smallest_price=SMALLEST_PRICE if config.semantics == "qlib" else 0.0,
        limit_on_close=config.semantics == "qlib",
        impact=config.impact,
    )
    signal = one_column(signal, "signal")
    index = by_session_and_name(signal.index, "signal").remove_unused_levels()
    rows = _session_rows(index, market.sessions, sessions)
    bench = _benchmark(benchmark, market.sessions[rows])
    score = to_table(signal, index, market.sessions, market.instruments)  # (T, N)
    # "qlib" may buy a name that has a row and no score; "strict" needs the score.
    scored = ~np.isnan(score)
    if config.semantics == "qlib":
        ones = pd.Series(1.0, index=signal.index)
        scored = ~np.isnan(to_table(ones, index, market.sessions, market.instruments))

    returns = simple_returns(market.close) if needs.look_back else None
    columns = columns_of(bars, needs.columns, market) if needs.columns else {}
    # One session after the other: decide on yesterday's scores, trade, mark to the close, record.
    state = BookState.opened(config.account)
    daily: list[tuple[float, ...]] = []
    holdings: list[BookState] = []
    traded: list[tuple[object, ...]] = []
    silent, refused = [], Refusals()
    for number, row in enumerate(rows, start=1):
        t = int(row)
        prices, orders = market.at(t), list[Order]()
        if t > 0 and scored[t - 1].any():
            tradable = prices.can_buy & prices.can_sell if config.only_tradable else None
            known = Known(
                None if returns is None else returns[max(0, t - needs.look_back) : t],
                {name: values[t - 1] for name, values in columns.items()},
            )
            orders = decide(
                strategy, state, market.at(t - 1), score[t - 1], scored[t - 1], config, tradable,
                known,
            )  # fmt: skip
        elif number > 1:
            silent.append(t - 1)
        done = execute(state, orders, prices, config)
        state = done.state
        refused.count(done.trades)
        traded += (_row(market.sessions[t], trade) for trade in done.trades)
        daily.append((*astuple(done.figures), bench[number - 1]))
        holdings.append(state)
        if progress is not None:
            progress(number, len(rows))
    report = pd.DataFrame(daily, index=market.sessions[rows], columns=list(REPORT_COLUMNS))
    report.index.name = "datetime"
    positions = _positions(holdings, market, rows, report)
    notes = portfolio_notes(
        market, rows, positions, silent, refused, benchmark=benchmark is not None
    )
    name = "" if benchmark is None else str(one_column(benchmark, "benchmark").name or "unnamed")
    trades = pd.DataFrame(traded, columns=list(TRADE_COLUMNS))
    return PortfolioResult(config, report, positions, notes, name, trades)


def _row(session: pd.Timestamp, trade: Trade) -> tuple[object, ...]:
    """The row of a trade, in the order of `TRADE_COLUMNS`."""
    order = trade.order
    return (
        session, order.instrument, order.side, order.reason, trade.amount, trade.price,
        trade.value, trade.cost, trade.refusal,
    )  # fmt: skip


def _session_rows(
    signal: pd.MultiIndex,
    calendar: pd.DatetimeIndex,
    sessions: Sequence[pd.Timestamp] | pd.DatetimeIndex | None,
) -> IntArray:
    """Return the positions of the sessions to trade in the calendar."""
    if not len(signal):
        raise ValueError("signal is empty, expected scores indexed by (datetime, instrument)")
    days = session_axis(signal.levels[0])
    inside = days[(days >= calendar[0]) & (days <= calendar[-1])]
    strays = inside.difference(calendar)
    if len(strays):
        raise ValueError(
            f"signal has {len(strays)} days without any bar, the first is {strays[0]:%Y-%m-%d}: "
            "add the bars of that session, or drop its scores"
        )
    if sessions is not None:
        request = session_labels(sessions, "sessions")
        rows = calendar.get_indexer(request)
        if not len(rows) or (rows < 0).any() or (np.diff(rows) <= 0).any():
            missing = [f"{day:%Y-%m-%d}" for day in request[rows < 0][:5]]
            raise ValueError(
                f"sessions holds {len(request)} days, {int((rows < 0).sum())} of them without bars "
                f"({missing}): expected one or more of the bars' sessions, in order, once each"
            )
        return np.asarray(rows, dtype=np.intp)
    if not len(inside):
        raise ValueError(
            f"signal covers {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, the bars "
            f"{calendar[0]:%Y-%m-%d} to {calendar[-1]:%Y-%m-%d}: pass bars of the same time"
        )
    start, stop = (int(row) for row in calendar.get_indexer(inside[[0, -1]]))
    return np.arange(start, min(stop + 2, len(calendar)), dtype=np.intp)


def _benchmark(benchmark: pd.Series | None, sessions: pd.DatetimeIndex) -> FloatArray:
    if benchmark is None:
        return np.full(len(sessions), np.nan)
    benchmark = one_column(benchmark, "benchmark")
    days = session_labels(benchmark.index, "the index of benchmark")
    values = benchmark.set_axis(days).reindex(sessions).to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.isnan(values)
    if absent.any():
        raise ValueError(
            f"benchmark has no return on {int(absent.sum())} of {len(sessions)} sessions, the "
            f"first is {sessions[int(np.argmax(absent))]:%Y-%m-%d}: pass a Series that covers "
            "them, or equal_weight_benchmark(bars)"
        )
    return values


def _positions(
    holdings: Sequence[BookState],
    market: Market,
    rows: IntArray,
    report: pd.DataFrame,
) -> pd.DataFrame:
    """Build the long frame of holdings at each close."""
    day = np.repeat(np.arange(len(holdings)), [len(state.instruments) for state in holdings])
    names = [name for state in holdings for name in state.instruments]
    name = np.array([market.position[one] for one in names], dtype=np.intp)
    amount = np.array([one for state in holdings for one in state.amounts], dtype=np.float64)
    price = np.array([one for state in holdings for one in state.prices], dtype=np.float64)
    frame = pd.DataFrame({"datetime": report.index[day], "instrument": market.instruments[name]})
    frame["amount"], frame["price"] = amount, price
    frame["weight"] = amount * price / report["account"].to_numpy()[day]
    frame["suspended"] = np.isnan(market.close[rows[day], name])
    return frame
