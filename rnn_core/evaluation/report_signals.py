"""The tables of signals on a report page: headline, ranking of many, years, and what words mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from rnn_core.evaluation.analysis import SignalAnalysis
from rnn_core.evaluation.plots_many import is_many
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS, portfolio_summary, yearly_note
from rnn_core.evaluation.report_html import Format, fixed, folded, remarks, table

_IC, _RATIO, _T = fixed(4), fixed(2), fixed(1)
_PERCENT, _SHARE = fixed(1, scale=100, unit="%"), fixed(0, scale=100, unit="%", sign=False)
_BP, _HIT = fixed(1, scale=1e4), fixed(1, scale=100, unit="%", sign=False)
_COUNT = fixed(0, sign=False)
_NAMES: Format = lambda count: f"{count:,.1f}".removesuffix(".0")  # noqa: E731

WORDS = {
    "IC": "correlation over the names of a session of the scores with the returns that followed; "
    "rank IC: of their ranks",
    "ICIR": "mean of the daily IC divided by its standard deviation, not annualised",
    "t": "mean divided by its Newey-West error: beyond ±2 is more than luck, for one signal alone",
    "p (Holm)": "corrected for the number of pairs that are tested",
    "long-short": "return of the top fifth (or other quantile) of the scores less that of the "
    "bottom one, a session, without costs: of a label of h sessions its h-th part; 1 bp is 0.01%",
    "hit rate": "share of names whose score and return lie on the same side of their medians; "
    "50% is no skill",
    "turnover": "of a signal: share of the top quantile that was not in it the session before; of "
    "a portfolio: value bought and sold, of the account",
    "excess": "return less that of the benchmark",
    "information ratio": "mean excess divided by its standard deviation, annualised",
    "beta": "of the account's returns to those of the benchmark",
    "Sharpe, Sortino, Calmar": "annual return by its deviation, by its downside deviation, by the "
    "deepest drawdown; no risk-free rate",
}


def headline(
    analyses: Mapping[str, SignalAnalysis],
    portfolios: Mapping[str, PortfolioResult] | None,
    periods_per_year: float | str,
    colors: Mapping[str, str],
) -> str:
    """Write the main figures of signals and portfolios; of many a ranking, and these folded.

    Args:
        analyses: by model, many in the order of their rank.
        portfolios: by model, of a backtest.
        periods_per_year: to annualise.
        colors: by model.

    Returns:
        HTML text.
    """
    figures = {
        name: portfolio_summary(
            result, periods_per_year=periods_per_year, least_sessions=YEAR_SESSIONS
        )
        for name, result in (portfolios or {}).items()
    }
    tables = _signals_table(analyses, colors)
    if portfolios:
        tables += _portfolios_table(portfolios, figures, colors)
    if not is_many(analyses):
        return tables
    return _ranking(analyses, figures) + folded("All figures of each signal and portfolio", tables)


def _ranking(
    analyses: Mapping[str, SignalAnalysis], figures: Mapping[str, Mapping[str, float | int]]
) -> str:
    """Write one row a signal, in order, with the main figures of its portfolio."""
    columns: list[tuple[str, str, Format]] = [
        ("excess\na year", "annualized_excess_return_with_cost", _PERCENT),
        ("information\nratio", "information_ratio_with_cost", _RATIO),
        ("deepest\ndrawdown", "max_drawdown_with_cost", _PERCENT),
    ]
    header = ["signal", "sessions", "rank IC", "95% interval", "t", "rank\nICIR",
              "long-short\n(bp a session)", "turnover"]  # fmt: skip
    rows = []
    for k, (name, analysis) in enumerate(analyses.items(), start=1):
        rank = dict(analysis.summary.iterrows())["rank_ic"]
        mean = analysis.summary["mean"]
        cells = [
            f"{k}. {name}", _COUNT(rank["days"]), _IC(rank["mean"]),
            f"{_IC(rank['ci_low'])} … {_IC(rank['ci_high'])}", _T(rank["t_nw"]),
            _RATIO(rank["ir"]), _BP(mean["long_short"] / analysis.horizon),
            _SHARE(mean["turnover"]),
        ]  # fmt: skip
        if figures:
            one = figures.get(name, {})
            cells += [write(float(one.get(key, math.nan))) for _, key, write in columns]
        rows.append(cells)
    caption = "Signals by mean rank IC, each over all of its rows. The best of many is better than "
    caption += "it deserves: the opening corrects its p for the number that it was picked from"
    if figures:
        header += [text for text, _, _ in columns]
        caption += ". Excess, ratio and drawdown are of its portfolio after costs"
    return table(header, rows, caption=caption)


def _signals_table(analyses: Mapping[str, SignalAnalysis], colors: Mapping[str, str]) -> str:
    """Write one row a signal."""
    header = ["signal", "sessions", "IC", "ICIR", "t", "rank IC", "rank\nICIR", "t", "95% interval",
              "long-short\n(bp a session)", "hit\nrate", "turnover"]  # fmt: skip
    rows = []
    for name, analysis in analyses.items():
        tests = dict(analysis.summary.iterrows())
        ic, rank, mean = tests["ic"], tests["rank_ic"], analysis.summary["mean"]
        rows.append([
            name, _COUNT(ic["days"]), _IC(ic["mean"]), _RATIO(ic["ir"]), _T(ic["t_nw"]),
            _IC(rank["mean"]), _RATIO(rank["ir"]), _T(rank["t_nw"]),
            f"{_IC(rank['ci_low'])} … {_IC(rank['ci_high'])}",
            _BP(mean["long_short"] / analysis.horizon),
            _HIT(mean["hit_rate"]),
            _SHARE(mean["turnover"]),
        ])  # fmt: skip
    out = table(header, rows, colors=colors, caption="Signals, per session, each over all of its "
                "rows; the interval is of the mean rank IC, turnover that of the top "
                "quantile")  # fmt: skip
    # The reason of a dash stands below the table that has it.
    dashes = {n: a for n, a in analyses.items() if not a.summary.loc["ic", "days"]}
    return out + remarks(page_notes(dashes, None, ()))


def _portfolios_table(
    portfolios: Mapping[str, PortfolioResult],
    figures: Mapping[str, Mapping[str, float | int]],
    colors: Mapping[str, str],
) -> str:
    """Write one row a portfolio; heading, figure of the summary and format of each column."""
    columns: list[tuple[str, str, Format]] = [
        ("sessions", "sessions", _COUNT),
        ("names held\nin all", "names", _COUNT),
        ("return\na year", "annualized_return", _PERCENT),
        ("benchmark\na year", "benchmark_return", _PERCENT),
        ("excess\na year", "annualized_excess_return_with_cost", _PERCENT),
        ("excess\nbefore costs", "annualized_excess_return_without_cost", _PERCENT),
        ("information\nratio", "information_ratio_with_cost", _RATIO),
        ("deepest\ndrawdown", "max_drawdown_with_cost", _PERCENT),
        ("turnover\na session", "turnover", _SHARE),
    ]
    rows = [
        [name, *(write(float(one[key])) for _, key, write in columns)]
        for name, one in figures.items()
    ]
    benchmarks = sorted({result.benchmark for result in portfolios.values()} - {""})
    against = (
        f"excess, ratio and drawdown are over the benchmark, {' or '.join(benchmarks)}"
        if benchmarks
        else "there is no benchmark"
    )
    note = yearly_note(pd.DataFrame(figures).T)
    return (
        table(
            ["portfolio", *(text for text, _, _ in columns)], rows, colors=colors,
            caption=f"Portfolios after costs; returns add up, {against}",
        )
        + remarks([note] if note else [])
    )  # fmt: skip


def years_table(analyses: Mapping[str, SignalAnalysis]) -> str:
    """Write a table by year for each signal, folded."""
    header = ["year", "sessions", "IC", "ICIR", "t", "rank IC", "rank ICIR", "t", "long-short (bp)",
              "hit rate"]  # fmt: skip
    body = ""
    for name, analysis in analyses.items():
        rows = [
            [
                str(year), _COUNT(r["ic_days"]), _IC(r["ic"]), _RATIO(r["ic_ir"]),
                _T(r["ic_t_nw"]), _IC(r["rank_ic"]), _RATIO(r["rank_ic_ir"]),
                _T(r["rank_ic_t_nw"]), _BP(r["long_short"] / analysis.horizon),
                _HIT(r["hit_rate"]),
            ]
            for year, r in analysis.by_year.iterrows()
        ]  # fmt: skip
        body += table(header, rows, caption=name)
    return folded("By year", body)


def lead(analyses: Mapping[str, SignalAnalysis]) -> str:
    """Say which sessions and how many names a report is of."""
    days = [analysis.sessions.index for analysis in analyses.values()]
    first, last = min(d[0] for d in days), max(d[-1] for d in days)
    count = max(len(d) for d in days)
    scored = max(float(a.sessions["scored"].mean()) for a in analyses.values())
    names = f"{_NAMES(scored)} name{'s' * (scored != 1)} a session"
    return (
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, {count} sessions, {names}. Labels are raw returns; "
        "t values and 95% intervals use Newey-West errors."
    )


def page_notes(
    analyses: Mapping[str, SignalAnalysis],
    portfolios: Mapping[str, PortfolioResult] | None,
    notes: Sequence[str],
) -> list[str]:
    """Collect all notes, each once, with the names that have it."""
    owners: dict[str, list[str]] = {}
    for name, analysis in analyses.items():
        for note in analysis.notes:
            owners.setdefault(note, []).append(name)
    for name, result in (portfolios or {}).items():
        for note in result.notes:
            owners.setdefault(f"portfolio: {note}", []).append(name)
    lines = [f"{', '.join(names)}: {note}" for note, names in owners.items()]
    return [*lines, *notes]
