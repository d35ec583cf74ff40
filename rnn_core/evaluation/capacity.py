"""Capacity: the figures of a portfolio against the size of its account.

The trades of a finished portfolio are scaled with the account and pay the cost of spread and market
impact of their size (`impact.py`); weights and returns before costs stay. So the curve needs no new
backtest, and at the size that the portfolio ran with, under the costs that it ran with, it is the
portfolio itself. It is an estimate from above: a larger account would trade more slowly, and what
others see of its trades is left out.

net_t(f) = return_t - other costs_t - Σ (max(f v rate, min_cost) / f + v impact(f v)) / account_t-1

with f the account / that of the portfolio, v the value of a trade, and other costs those of
borrowing.

Shapes: `T` sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import Market
from rnn_core.evaluation.align import FloatArray, IntArray
from rnn_core.evaluation.execution import SALES
from rnn_core.evaluation.impact import Impact
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.risk import sessions_per_year

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Accounts of the curve, as multiples of that of the portfolio."""


def capacity_curve(
    result: PortfolioResult,
    bars: pd.DataFrame,
    impact: Impact | None = None,
    *,
    accounts: Sequence[float] | FloatArray | None = None,
    periods_per_year: float | str = 238,
) -> pd.DataFrame:
    """Compute the figures of a portfolio for accounts of several sizes.

    Args:
        result: of a backtest, with its trades.
        bars: those of the backtest, with the column `amount` (traded value in currency), from
            `impact.sessions` + 1 sessions before the first trade on.
        impact: the cost of spread and impact; None for that of the portfolio, or the default one
            if it has none.
        accounts: currency; None for `GRID` times the account of the portfolio.
        periods_per_year: a number, "qlib_day" (238) or "us" (252).

    Returns:
        Index `account`; sharpe (of net returns), annualized_return (mean net return times the
        periods), annualized_excess_return (less the benchmark's; NaN without one), annualized_cost
        (all costs), median_share (median trade / usual traded value of its name).

    Raises:
        ValueError: bars without `amount` or without the session or name of a trade, no account or
            one that is not positive, or unknown periods.

    Examples:
        >>> curve = capacity_curve(result, bars, Impact(half_spread_bps=5), accounts=[1e5, 1e9])
        >>> curve.index.tolist(), bool(curve["sharpe"].is_monotonic_decreasing)
        ([100000.0, 1000000000.0], True)
    """
    config, periods = result.config, sessions_per_year(periods_per_year)
    impact = impact or config.impact or Impact()
    grid = [config.account * multiple for multiple in GRID]
    sizes = np.array(grid if accounts is None else accounts, dtype=float)
    if not len(sizes) or not (sizes > 0).all():
        raise ValueError(f"accounts={sizes.tolist()}: expected positive amounts of currency")
    daily, trades = result.daily, result.trades
    trades = trades[trades["value"] > 0]
    row = daily.index.get_indexer(pd.Index(trades["datetime"]))
    volatility, usual = _liquidity(trades, bars, impact)
    value = trades["value"].to_numpy(dtype=np.float64)
    selling = trades["side"].isin(SALES).to_numpy()
    rate = np.where(selling, config.close_cost, config.open_cost)
    # The worth that a session's figures are shares of.
    last = np.concatenate([[config.account], daily["account"].to_numpy()[:-1]])  # (T,)
    own = _by_session(trades["cost"].to_numpy(dtype=np.float64), row, len(daily))
    other = daily["cost"].to_numpy() - own / last
    gross, bench = daily["return"].to_numpy(), daily["bench"].to_numpy()
    rows = []
    for size in sizes.tolist():
        scale = size / config.account
        fee = np.maximum(scale * value * rate, config.min_cost) / scale
        moved = [
            v * impact.rate(scale * v, s, u)
            for v, s, u in zip(value.tolist(), volatility, usual, strict=True)
        ]
        cost = other + _by_session(fee + np.array(moved), row, len(daily)) / last
        net = gross - cost
        spread = float(net.std(ddof=1)) if len(net) > 1 else math.nan
        rows.append(
            {
                "sharpe": net.mean() / spread * math.sqrt(periods) if spread > 0 else math.nan,
                "annualized_return": net.mean() * periods,
                "annualized_excess_return": (net - bench).mean() * periods,
                "annualized_cost": cost.mean() * periods,
                "median_share": float(np.nanmedian(scale * value / np.array(usual)))
                if np.isfinite(usual).any()
                else math.nan,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(sizes, name="account"))


def edge_gone_at(curve: pd.DataFrame) -> float:
    """The account above which the net excess return is used up, by the logarithm of the account.

    Without a benchmark it is the net return. A small account may have no edge because of its least
    costs (`min_cost`) where a larger one has.

    Args:
        curve: of `capacity_curve`.

    Returns:
        Currency; 0 if there is no edge at any account, NaN if there is one at the largest or no
        figure at all.

    Examples:
        >>> curve = capacity_curve(result, bars, Impact(half_spread_bps=5), accounts=[1e5, 1e12])
        >>> 1e5 < edge_gone_at(curve) < 1e12
        True
    """
    column = "annualized_excess_return"
    if curve[column].isna().all():
        column = "annualized_return"
    series = curve[column].dropna().sort_index()
    edge = series.to_numpy()
    if not len(edge) or edge[-1] > 0:
        return math.nan
    if not (edge > 0).any():
        return 0.0
    last = int(np.flatnonzero(edge > 0)[-1])
    low, high = np.log(series.index[last : last + 2])
    share = edge[last] / (edge[last] - edge[last + 1])
    return float(np.exp(low + share * (high - low)))


def _liquidity(
    trades: pd.DataFrame, bars: pd.DataFrame, impact: Impact
) -> tuple[list[float], list[float]]:
    """Volatility and usual traded value of the name of each trade, as the trade knew them."""
    market = Market.from_bars(bars, limit_threshold=None, impact=impact)
    rows = market.sessions.get_indexer(pd.Index(trades["datetime"]))
    names = market.instruments.get_indexer(pd.Index(trades["instrument"]))
    if len(strays := np.flatnonzero((rows < 0) | (names < 0))):
        first = trades.iloc[strays[0]]
        raise ValueError(
            f"bars lack the session or name of {len(strays)} of {len(trades)} trades, the first is "
            f"{first['instrument']} on {first['datetime']:%Y-%m-%d}: pass those of the backtest"
        )
    figures = []
    for row, name in zip(rows.tolist(), names.tolist(), strict=True):
        known = market.at(row).liquidity
        assert known is not None  # noqa: S101, the market was made with an impact
        figures.append(known.figures(name))
    return [one for one, _ in figures], [one for _, one in figures]


def _by_session(values: FloatArray, row: IntArray, sessions: int) -> FloatArray:
    return np.bincount(row, weights=values, minlength=sessions).astype(np.float64)
