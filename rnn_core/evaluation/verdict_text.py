"""The two sentences that a report opens with: is there a signal, and is there money in it.

Every claim is one of the page's own figures with its test. The best of several signals is better
than it deserves by being picked, so its p value is multiplied by the number of signals that it was
picked from (Bonferroni), and the difference to a baseline is tested with Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from rnn_core.evaluation.comparison import Comparison
from rnn_core.evaluation.inference import mean_test
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS
from rnn_core.evaluation.render import signed
from rnn_core.evaluation.risk import sessions_per_year

LEVEL = 0.05  # of a two-sided test, as of every interval of a report


def verdict(
    comparison: Comparison,
    portfolios: Mapping[str, PortfolioResult] | None = None,
    *,
    periods_per_year: float | str = 238,
) -> tuple[str, ...]:
    """Say which signal is best, against what, whether by more than luck, and what it earned.

    Args:
        comparison: of `compare_signals`.
        portfolios: by signal, of a backtest.
        periods_per_year: to annualise, a number, "qlib_day" (238) or "us" (252).

    Returns:
        A sentence about the scores, and one about the portfolio of the same signal if it has one.

    Examples:
        >>> print(verdict(comparison)[0])
        Of 3 signals planted orders the names best, with a mean daily rank IC of ...
    """
    kinds = comparison.summary["kind"]
    ranked = comparison.summary["rank_ic"].dropna().sort_values(ascending=False, kind="stable")
    own = [str(name) for name in ranked.index if kinds[name] != "baseline"]
    if not own:
        return ("No signal has a rank IC yet, so nothing can be said of any.",)
    best = own[0]
    row = comparison.summary.loc[[best]].iloc[0]
    picked_from = len(own)
    t = float(row["rank_ic_t_nw"])
    p = min(1.0, picked_from * math.erfc(abs(t) / math.sqrt(2))) if math.isfinite(t) else math.nan
    mean = (
        f"a mean daily rank IC of {signed(float(ranked[best]), 4)} over {int(row['days'])} sessions"
    )
    sentence = (
        f"Of {picked_from} signals {best} orders the names best, with {mean}"
        if picked_from > 1
        else f"The signal {best} has {mean}"
    )
    sentence += f", {_against_zero(p, t, picked_from)}"
    baselines = [str(name) for name in ranked.index if kinds[name] == "baseline"]
    if baselines:
        sentence += f"; {_against_baseline(comparison, best, baselines[0], ranked)}"
    sentences = [sentence + "."]
    if portfolios and best in portfolios:
        sentences.append(_earned(best, portfolios[best], periods_per_year))
    return tuple(sentences)


def _against_zero(p: float, t: float, picked_from: int) -> str:
    """Say whether a mean is told apart from zero; `p` allows for the choice of the best."""
    if not math.isfinite(p):
        return "too few for a test"
    test = f"(t {_t(t)}, {_p(p)}{f' as the best of {picked_from}' if picked_from > 1 else ''})"
    if p < LEVEL:
        return f"{'above' if t > 0 else 'below'} zero by more than luck {test}"
    return f"which luck alone explains as well {test}"


def _against_baseline(comparison: Comparison, best: str, baseline: str, ranked: pd.Series) -> str:
    """Say whether a signal beats the strongest baseline."""
    tests = comparison.differences
    pair = tests[
        (tests["statistic"] == "rank_ic")
        & (tests["a"].isin((best, baseline)))
        & (tests["b"].isin((best, baseline)))
    ]
    words = f"{baseline}, the strongest baseline, has {signed(float(ranked[baseline]), 4)}"
    if pair.empty:
        return words
    test = pair.iloc[0]
    p = float(test["p_holm"])
    if not (math.isfinite(p) and p < LEVEL):
        return f"{words}, and the difference is no more than luck ({_p(p)} by Holm)"
    ahead = ranked[best] > ranked[baseline]
    return f"{words}, {'less' if ahead else 'more'} by more than luck ({_p(p)} by Holm)"


def _earned(name: str, result: PortfolioResult, periods_per_year: float | str) -> str:
    """Say what a portfolio earned over its benchmark, before and after costs."""
    daily, sessions = result.daily, len(result.daily)
    if sessions < YEAR_SESSIONS:
        return (
            f"Its portfolio is {sessions} session{'s' * (sessions != 1)} old, too young for a "
            f"figure of a year ({YEAR_SESSIONS} sessions or more)."
        )
    has_benchmark = bool(daily["bench"].notna().any())
    gross = daily["return"] - (daily["bench"] if has_benchmark else 0.0)
    test = mean_test(gross - daily["cost"])
    scale = sessions_per_year(periods_per_year)
    after, before = float(test["mean"]) * scale, float(gross.mean()) * scale
    over = f" over {result.benchmark or 'its benchmark'}" if has_benchmark else ""
    text = (
        f"Its portfolio made {signed(100 * after, 1, '%')} a year{over} after costs, "
        f"{signed(100 * before, 1, '%')} before them, in {sessions} sessions"
    )
    p = float(test["p_nw"])
    if before > 0 >= after:
        text += ": costs take all of it"
    elif math.isfinite(p):
        luck = "more than luck explains" if p < LEVEL else "no more than luck explains"
        text += f", {luck} (t {_t(float(test['t_nw']))}, {_p(p)})"
    return text + "."


def _p(value: float) -> str:
    """Write a p value."""
    if not math.isfinite(value):
        return "no test"
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _t(value: float) -> str:
    """Write a t value, its minus as wide as the figures."""
    return f"{value:.1f}".replace("-", "\u2212")
