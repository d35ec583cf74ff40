"""Figures of an account: volatility, ratios, drawdowns with their dates, returns by month.

`risk_analysis` keeps qlib's convention, in which returns add up. Here returns compound, as an
account does: net return of a session = return - cost, W_t = Π (1 + net return). The ratios are
those of the field's textbooks and of quantstats 0.0.8x (`stats.py`), without a risk-free rate.

Shapes: `T` sessions.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.risk import sessions_per_year

_MONTH = "%Y-%m"


def net_returns(result: PortfolioResult) -> pd.Series:
    """Return the simple returns after costs, by session.

    Examples:
        >>> len(net_returns(result)), bool(net_returns(result).mean() > 0)
        (60, True)
    """
    return (result.daily["return"] - result.daily["cost"]).rename("net return")


def performance(
    result: PortfolioResult, *, periods_per_year: float | str = 238
) -> dict[str, float | int]:
    """Compute the figures that people ask of an account.

    With r the net returns, n their number, N the periods of a year, b the benchmark's returns:
    volatility = std(r, ddof=1) √N; sharpe = mean(r) / std(r) √N (Sharpe 1994);
    sortino = mean(r) / √(Σ min(r, 0)² / n) √N (Sortino & Price 1994);
    growth = W_n^(N/n) - 1; max_drawdown = min(W / running max of W - 1), W_0 = 1;
    calmar = growth / |max_drawdown| (Young 1991); beta = cov(r, b) / var(b).

    Args:
        result: of a backtest.
        periods_per_year: N, a number, "qlib_day" (238) or "us" (252).

    Returns:
        sessions, growth, volatility, sharpe, sortino, max_drawdown, calmar, beta, hit_rate (the
        share of sessions that ended higher); NaN where a figure is undefined.

    Raises:
        ValueError: an unknown count of periods.

    Examples:
        >>> sorted(performance(result))[:4]
        ['beta', 'calmar', 'growth', 'hit_rate']
    """
    periods = sessions_per_year(periods_per_year)
    r = net_returns(result).to_numpy(dtype=np.float64)  # (T,)
    n = len(r)
    varies = n > 1 and float(np.ptp(r)) > 0
    std = float(r.std(ddof=1)) if varies else math.nan
    downside = math.sqrt(float((np.minimum(r, 0.0) ** 2).sum()) / n)
    worth = np.cumprod(1 + r)
    deepest = float(_drawdown(worth).min())
    growth = float(worth[-1] ** (periods / n) - 1) if worth[-1] > 0 else -1.0
    return {
        "sessions": n,
        "growth": growth,
        "volatility": std * math.sqrt(periods),
        "sharpe": float(r.mean()) / std * math.sqrt(periods),
        "sortino": float(r.mean()) / downside * math.sqrt(periods) if downside else math.nan,
        "max_drawdown": deepest,
        "calmar": growth / -deepest if deepest else math.nan,
        "beta": _beta(r, result.daily["bench"].to_numpy(dtype=np.float64)),
        "hit_rate": float((r > 0).mean()),
    }


def worst_drawdowns(result: PortfolioResult, count: int = 5) -> pd.DataFrame:
    """Find the deepest falls of an account from a high to the low before the next high.

    Args:
        result: of a backtest.
        count: of falls at most.

    Returns:
        One row a fall, the deepest first: high (session of the high before it; NaT where the
        account never stood higher than at its start), low, recovered (session that reached the
        high again; NaT if none did), depth (simple return from high to low), sessions (from the
        high to the recovery, or to the end).

    Examples:
        >>> worst_drawdowns(result, 2)["depth"].lt(0).tolist()
        [True, True]
    """
    days = pd.DatetimeIndex(result.daily.index)
    worth = np.cumprod(1 + net_returns(result).to_numpy(dtype=np.float64))
    depth = _drawdown(worth)
    under = depth < 0
    # A fall is a run of sessions below an earlier high.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], under, [False]]).astype(np.int8)))
    rows = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        low = start + int(np.argmin(depth[start:stop]))
        rows.append({
            "high": days[start - 1] if start else pd.NaT,
            "low": days[low],
            "recovered": days[stop] if stop < len(days) else pd.NaT,
            "depth": float(depth[low]),
            "sessions": int(min(stop, len(days) - 1) - start + 1),
        })  # fmt: skip
    columns = ["high", "low", "recovered", "depth", "sessions"]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("depth", kind="stable").head(count).reset_index(drop=True)


def returns_by_period(result: PortfolioResult, period: str = _MONTH) -> pd.DataFrame:
    """Compound net returns, and those of the benchmark, within each month or year.

    Args:
        result: of a backtest.
        period: strftime pattern of the periods, "%Y-%m" or "%Y".

    Returns:
        Index `period`; sessions, return, bench (NaN without a benchmark), excess (their
        difference), cost (sum of costs as shares of the account), turnover (mean a session).

    Examples:
        >>> returns_by_period(result).index.tolist()
        ['2024-01', '2024-02', '2024-03']
    """
    daily = result.daily
    keys = pd.DatetimeIndex(daily.index).strftime(period)
    net = net_returns(result)
    rows = {}
    for key, part in daily.groupby(keys, sort=True):
        grown = float(np.prod(1 + net.loc[part.index].to_numpy()) - 1)
        bench = float(np.prod(1 + part["bench"].to_numpy(dtype=np.float64)) - 1)
        rows[str(key)] = {
            "sessions": len(part),
            "return": grown,
            "bench": bench,
            "excess": grown - bench,
            "cost": float(part["cost"].sum()),
            "turnover": float(part["turnover"].mean()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "period"
    return table


def _drawdown(worth: np.ndarray) -> np.ndarray:
    """Return W / running max - 1 [T]; an account starts at 1, so a first loss is a drawdown."""
    return np.asarray(worth / np.maximum(np.maximum.accumulate(worth), 1.0) - 1)


def _beta(r: np.ndarray, b: np.ndarray) -> float:
    """Return the slope of returns on those of the benchmark; NaN without a varying one."""
    both = ~np.isnan(b)
    if both.sum() < 2 or not np.ptp(b[both]) > 0:
        return math.nan
    return float(np.cov(r[both], b[both], ddof=1)[0, 1] / b[both].var(ddof=1))
