"""Figures of a portfolio: its benchmark, excess returns, risk and concentration.

Figures follow qlib's convention (qlib: workflow/record_temp.py PortAnaRecord), so that they can be
set beside published tables: returns add up, the excess is the plain difference of returns.
Without a benchmark the excess is undefined; the return itself is reported beside it.

Shapes: `T` sessions, `N` instruments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.decay import close_table
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.risk import risk_analysis

YEAR_SESSIONS = 60
"""Fewest sessions for which a report states a figure of a year. It extrapolates: the mean of 8
sessions times 252 says next to nothing of a year, and that of a quarter little enough."""


def equal_weight_benchmark(bars: pd.DataFrame) -> pd.Series:
    """Average the simple returns of all names with a bar on a session and on the one before.

    bench_t = mean over i of (close_ti / close_{t-1,i} - 1); 0 where no name has both bars, as on
    the first session. Rebalanced daily and without costs, so a demanding benchmark.

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.

    Returns:
        One return per session of the bars, named by what it is.

    Raises:
        ValueError: no bars, no column `close`, or duplicated rows.

    Examples:
        >>> float(equal_weight_benchmark(bars).iloc[0])
        0.0
    """
    sessions, _, close = close_table(bars)  # (T, N)
    mean = np.zeros(len(sessions))
    for t in range(1, len(sessions)):
        mean[t] = mean_return(close[t - 1], close[t])
    return pd.Series(mean, index=sessions, name="all names at equal weight")


def benchmark_lines(
    results: Mapping[str, PortfolioResult],
) -> list[tuple[str, str, pd.Series]]:
    """Say which benchmarks a picture of portfolios has, each once.

    Args:
        results: by model, of a backtest.

    Returns:
        Label, the model that it belongs to ("" of one that all share) and returns in percent; none
        if no portfolio has a benchmark (NaN or zero throughout).
    """
    bench = {name: result.daily["bench"] * 100 for name, result in results.items()}
    bench = {name: values for name, values in bench.items() if values.notna().any()}
    if not any((values != 0).any() for values in bench.values()):
        return []
    table = pd.concat(bench, axis=1)
    common = table.bfill(axis=1).iloc[:, 0]
    if table.sub(common, axis=0).abs().max().max() > 0:
        return [(f"benchmark of {name}", name, values) for name, values in bench.items()]
    names = sorted({results[name].benchmark for name in bench} - {""})
    return [(f"benchmark ({' or '.join(names)})" if names else "benchmark", "", common)]


def mean_return(before: FloatArray, now: FloatArray) -> float:
    """Average the simple returns of the names that have both prices; 0 if none has.

    The sum is over those names alone, so that its last bit depends on no other name.

    Args:
        before: [N] closes of the session before, NaN where none.
        now: [N] closes of the session.
    """
    step = now / before - 1
    present = step[~np.isnan(step)]
    return float(present.sum() / len(present)) if len(present) else 0.0


def portfolio_summary(
    result: PortfolioResult,
    *,
    periods_per_year: float | str = 238,
    least_sessions: int = 1,
) -> dict[str, float | int]:
    """Summarise a portfolio by the usual figures, in qlib's convention.

    Excess = return - bench, or return - bench - cost; annualised, information ratio and drawdown
    from `risk_analysis` in mode "sum" (qlib: workflow/record_temp.py PortAnaRecord).

    Args:
        result: of `topk_dropout`.
        periods_per_year: number, "qlib_day" (238) or "us" (252).
        least_sessions: with fewer, the figures of a year (returns and information ratios) are NaN;
            reports pass `YEAR_SESSIONS`.

    Returns:
        sessions; names, the different names held; annualized_return, with cost, not in excess of
        anything; benchmark_return, annualised; for with_cost and without_cost the
        annualized_excess_return_*,
        information_ratio_* and max_drawdown_* of the excess; turnover, mean per session of the
        value bought and sold / account; total_cost, in currency. Without a benchmark its return
        and every excess is NaN.

    Examples:
        >>> summary = portfolio_summary(result, periods_per_year="us")
        >>> summary["sessions"], summary["names"] >= 5
        (60, True)
    """
    daily = result.daily
    gross = daily["return"] - daily["bench"]
    summary: dict[str, float | int] = {
        "sessions": len(daily),
        "names": result.positions["instrument"].nunique(),
    }
    for name, series in (
        ("annualized_return", daily["return"] - daily["cost"]),
        ("benchmark_return", daily["bench"]),
    ):
        summary[name] = _risk(series, periods_per_year)["annualized_return"]
    for suffix, series in (("with_cost", gross - daily["cost"]), ("without_cost", gross)):
        risk = _risk(series, periods_per_year)
        summary[f"annualized_excess_return_{suffix}"] = risk["annualized_return"]
        summary[f"information_ratio_{suffix}"] = risk["information_ratio"]
        summary[f"max_drawdown_{suffix}"] = risk["max_drawdown"]
    if len(daily) < least_sessions:
        of_a_year = ("annualized", "benchmark_return", "information_ratio")
        summary |= {key: math.nan for key in summary if key.startswith(of_a_year)}
    summary["turnover"] = float(daily["turnover"].mean())
    summary["total_cost"] = float(daily["total_cost"].iloc[-1])
    return summary


def yearly_note(table: pd.DataFrame) -> str:
    """Say which portfolios have no figures of a year, and why; empty if all have them.

    Args:
        table: one row a portfolio, with the columns sessions and names of `portfolio_summary`.
    """
    short = table[table["sessions"] < YEAR_SESSIONS]
    if short.empty:
        return ""
    needs = f"it needs {YEAR_SESSIONS} sessions or more"
    if len(short) == len(table):
        sessions, names = float(table["sessions"].max()), float(table["names"].max())
        return f"no figure of a year: {needs}, and this is {_extent(sessions, names)}"
    each = ", ".join(
        f"{name} ({_extent(float(row['sessions']), float(row['names']))})"
        for name, row in short.iterrows()
    )
    return f"no figure of a year for {each}: {needs}"


def _extent(sessions: float, names: float) -> str:
    """Write the numbers of sessions and of names of a portfolio."""
    return f"{sessions:.0f} session{'s' * (sessions != 1)} of {names:.0f} name{'s' * (names != 1)}"


def concentration(result: PortfolioResult) -> pd.DataFrame:
    """Measure the concentration of a portfolio at each close.

    With v_i the value of position i, above 0 of a short one, too: herfindahl = Σ (v_i / Σ v)², 1
    for a single name and 1 / n for n equal ones (Hirschman 1945, Herfindahl 1950); effective =
    1 / herfindahl.

    Args:
        result: of `topk_dropout`.

    Returns:
        One row a session of the report: held (names); herfindahl and effective, NaN where nothing
        is held; top_weight (largest position) and invested (all of them, the gross exposure),
        shares of the account;
        suspended (names without a bar that session) and suspended_weight, their share.

    Examples:
        >>> int(concentration(result)["held"].max())
        5
    """
    days = pd.DatetimeIndex(result.daily.index)
    positions = result.positions
    row = days.get_indexer(pd.DatetimeIndex(positions["datetime"]))
    weight = np.abs(positions["weight"].to_numpy(dtype=np.float64))
    idle = positions["suspended"].to_numpy(dtype=bool)
    count = len(days)
    held = np.bincount(row, minlength=count)
    invested = np.bincount(row, weights=weight, minlength=count)
    squares = np.bincount(row, weights=weight**2, minlength=count)
    top = np.zeros(count)
    np.maximum.at(top, row, weight)
    index = np.full(count, np.nan)
    np.divide(squares, invested**2, out=index, where=invested > 0)
    return pd.DataFrame(
        {
            "held": held,
            "herfindahl": index,
            "effective": 1 / index,
            "top_weight": top,
            "invested": invested,
            "suspended": np.bincount(row, weights=idle, minlength=count).astype(np.int64),
            "suspended_weight": np.bincount(row, weights=weight * idle, minlength=count),
        },
        index=days,
    )


def _risk(returns: pd.Series, periods_per_year: float | str) -> dict[str, float]:
    """Compute `risk_analysis`, NaN throughout without a benchmark."""
    if returns.isna().all():
        undefined = ("annualized_return", "information_ratio", "max_drawdown")
        return dict.fromkeys(undefined, math.nan)
    risk = risk_analysis(returns, periods_per_year=periods_per_year)
    return {str(name): float(value) for name, value in risk.items()}
