"""The bars of some sessions as a book needs them: prices, refusals, benchmark, what is known.

A strategy that reads returns and costs of market impact look further back than the session before;
that is read in one go with the prices, and its versions are part of the provenance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.bars.adjustment import load_bars, traded_value
from pipelines.market.extra_table import read_columns
from pipelines.market.market import Market

if TYPE_CHECKING:
    from rnn_core.evaluation import Known
    from rnn_core.evaluation.account import Market as Prices
    from rnn_core.evaluation.align import FloatArray


@dataclass(frozen=True, eq=False)
class SessionData:
    """The bars of T sessions and of those before them that are looked back to.

    Attributes:
        prices: prices and refusals of the T sessions and N names.
        bench: [T] returns of the benchmark.
        versions: of the bars and columns that were read, by input and session.
        returns: [ahead + T, N] simple returns; None if nothing looks back.
        ahead: sessions before the first of the T.
        columns: [T, N] values of columns beside the bars, by name.
    """

    prices: Prices
    bench: FloatArray
    versions: Mapping[str, Mapping[str, str]]
    returns: FloatArray | None = None
    ahead: int = 0
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def known(self, t: int, look_back: int) -> Known:
        """Collect everything that a strategy may know at the close of a session.

        Args:
            t: its row.
            look_back: sessions of returns.
        """
        from rnn_core.evaluation import Known

        columns = {name: values[t] for name, values in self.columns.items()}
        if self.returns is None or not look_back:
            return Known(columns=columns)
        end = self.ahead + t + 1
        return Known(self.returns[max(0, end - look_back) : end], columns)


def session_data(
    market: Market,
    span: Sequence[str],
    idle: Mapping[str, float],
    names: Collection[str],
    needed_by: str,
) -> SessionData:
    """Read the bars of some sessions.

    Args:
        market: the market.
        span: the sessions, with the one before them.
        idle: last closes of names that were suspended in the first of them.
        names: names to have beside those with bars.
        needed_by: the stage, for errors.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        WarehouseError: a file is damaged.
    """
    from rnn_core.evaluation.account import Market as Prices
    from rnn_core.evaluation.account import columns_of
    from rnn_core.evaluation.portfolio_figures import mean_return

    settings = market.config.portfolio
    config, beside = settings.backtest, settings.columns
    window = market.sessions.window(span[0], max(settings.window_sessions, 1))
    keys = (*window[:-1], *span)
    read, parts = load_bars(market, keys, needed_by)
    read["factor"] = parts.frame["adj_factor"].to_numpy()
    read["traded"] = traded_value(parts.frame)
    inside = (read["date"] >= pd.Timestamp(span[0])).to_numpy()
    bars = read[inside]
    # The prices of the span alone, with the closes that the first moves are measured from.
    rows = bars[list(dict.fromkeys(["date", "instrument", "close", config.deal_price, "factor"]))]
    if idle and config.limit_threshold is not None:
        # A name that was suspended has its last close in the session before the range.
        more = pd.DataFrame({"instrument": list(idle), "close": list(idle.values())})
        rows = pd.concat([rows, more.assign(date=bars["date"].iloc[0], factor=1.0)])
    prices = Prices.from_bars(
        rows,
        deal_price=config.deal_price,
        limit_threshold=config.limit_threshold,
        forbid_all_trade_at_limit=config.forbid_all_trade_at_limit,
        limit_on_close=config.semantics == "qlib",
        lots=True,
        more_names=names,
    )
    members = bars[parts.frame["member"].to_numpy(dtype=bool)[inside]]
    close = np.full(prices.close.shape, np.nan)
    at = [prices.position[name] for name in members["instrument"]]
    close[prices.sessions.searchsorted(members["date"]), at] = members["close"]
    bench = [0.0, *(mean_return(close[t - 1], close[t]) for t in range(1, len(close)))]
    data = SessionData(prices, np.array(bench), {"ohlcv": parts.digests})
    if settings.window_sessions:
        data = _looking_back(data, read, keys, market)
    if beside:
        extra = read_columns(market, beside, span, needed_by)
        assert extra is not None  # noqa: S101, there is a column
        tables = columns_of(extra.frame, beside, prices)
        data = replace(data, columns=tables, versions={**data.versions, **extra.columns})
    return data


def _looking_back(
    data: SessionData, bars: pd.DataFrame, keys: Sequence[str], market: Market
) -> SessionData:
    """Add the returns of all sessions that were read, and what costs are measured from."""
    from rnn_core.evaluation.impact import Liquidity, simple_returns

    prices, impact = data.prices, market.config.portfolio.backtest.impact
    sessions = pd.DatetimeIndex(list(keys))
    at = prices.instruments.get_indexer(pd.Index(bars["instrument"]))
    row, known = sessions.get_indexer(pd.Index(bars["date"])), at >= 0
    close, traded = np.full((2, len(keys), len(prices.instruments)), np.nan)
    close[row[known], at[known]] = bars["close"].to_numpy()[known]
    traded[row[known], at[known]] = bars["traded"].to_numpy()[known]
    ahead = len(keys) - len(prices.sessions)
    returns = simple_returns(close)
    if impact is not None:
        liquidity = Liquidity(returns, traded, impact.sessions, ahead)
        prices = replace(prices, liquidity=liquidity)
    return replace(data, prices=prices, returns=returns, ahead=ahead)
