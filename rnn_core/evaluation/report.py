"""One page about a signal, `html_report`, and its pictures one by one.

`html_report` shows the tables of `signal_analysis`, `topk_dropout` and `compare_signals` on one
self-contained page; `report_figures` gives the same pictures as PNG for a user interface.
The whole report has one colour table, so that a model has the same colour in every picture, even if
a picture shows only some models.
Nothing in the page depends on time, host or order of calls: same tables, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from rnn_core.evaluation.analysis import SignalAnalysis
from rnn_core.evaluation.charts import charts_script, has_charts, report_charts
from rnn_core.evaluation.comparison import Comparison, against
from rnn_core.evaluation.plots import plot_ic, plot_quantile_returns
from rnn_core.evaluation.plots_compare import plot_comparison
from rnn_core.evaluation.plots_portfolio import plot_concentration, plot_portfolio
from rnn_core.evaluation.plots_signal import (
    plot_decay,
    plot_groups,
    plot_ic_heatmap,
    plot_quantile_curves,
    plot_turnover,
)
from rnn_core.evaluation.plots_training import plot_loss_curves
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS, portfolio_summary, yearly_note
from rnn_core.evaluation.render import model_colors, png_bytes
from rnn_core.evaluation.report_html import (
    Format,
    bullets,
    facts,
    fixed,
    folded,
    page,
    picture,
    remarks,
    table,
)
from rnn_core.evaluation.report_portfolio import portfolio_tables
from rnn_core.evaluation.report_training import trainings_table
from rnn_core.evaluation.verdict_text import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IC, _RATIO, _T = fixed(4), fixed(2), fixed(1)
_PERCENT, _SHARE = fixed(1, scale=100, unit="%"), fixed(0, scale=100, unit="%", sign=False)
_BP, _HIT = fixed(1, scale=1e4), fixed(1, scale=100, unit="%", sign=False)
_COUNT, _P = fixed(0, sign=False), fixed(3, sign=False)
_NAMES: Format = lambda count: f"{count:,.1f}".removesuffix(".0")  # noqa: E731

_NO_CHARTS = (
    "the page has pictures only: with Bokeh (extra `plots` of rnn-signal-factory) IC, portfolio "
    "and holdings would be charts with hover and zoom"
)

# Picture, heading it stands under, text for those who cannot see it.
_PICTURES = {
    "ic": ("Information coefficient", "daily and summed IC"),
    "ic_heatmap": ("Information coefficient", "IC by month and year"),
    "groups": ("Information coefficient", "rank IC inside groups of names"),
    "quantile_returns": ("Quantile returns", "mean return by score quantile, top minus bottom"),
    "quantile_curves": ("Quantile returns", "running sums of quantile returns"),
    "decay": ("Decay and turnover", "IC over holding periods"),
    "turnover": ("Decay and turnover", "turnover and autocorrelation of the scores"),
    "portfolio": ("Portfolio", "equity with benchmark, excess and drawdown"),
    "concentration": ("Portfolio", "names held, effective number, largest position"),
    "loss_curves": ("Training", "loss and validation score by epoch"),
    "coverage": ("Data", "names with a bar, by session"),
    "comparison": ("Comparison", "mean rank IC with intervals, differences to the best"),
}


def report_figures(
    analyses: Mapping[str, SignalAnalysis],
    *,
    portfolios: Mapping[str, PortfolioResult] | None = None,
    comparison: Comparison | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, bytes]:
    """Draw the pictures of a report.

    Args:
        analyses: by model, of `signal_analysis`.
        portfolios: by model, of `topk_dropout`.
        comparison: of `compare_signals`.
        histories: training history by label, which begins with the model's name.

    Returns:
        PNG by name: ic, ic_heatmap, quantile_returns, quantile_curves, turnover; and if there are
        data for them decay, groups, portfolio, concentration, loss_curves, comparison.

    Raises:
        ValueError: no analysis.
    """
    if not analyses:
        raise ValueError("analyses is empty, expected the signal_analysis of one model or more")
    colors = _colors(analyses, portfolios, comparison)
    sessions = {name: analysis.sessions for name, analysis in analyses.items()}
    figures: dict[str, Callable[[], Figure]] = {
        "ic": lambda: plot_ic(sessions, colors=colors),
        "ic_heatmap": lambda: plot_ic_heatmap(
            {n: analysis.by_month for n, analysis in analyses.items()}
        ),
        "quantile_returns": lambda: plot_quantile_returns(sessions, colors=colors),
        "quantile_curves": lambda: plot_quantile_curves(sessions),
        "turnover": lambda: plot_turnover(sessions, colors=colors),
    }
    # The others need data that a report may lack.
    decays = {n: analysis.decay for n, analysis in analyses.items() if len(analysis.decay)}
    groups = {n: analysis.by_group for n, analysis in analyses.items() if len(analysis.by_group)}
    if decays:
        figures["decay"] = lambda: plot_decay(decays, colors=colors)
    if groups:
        figures["groups"] = lambda: plot_groups(groups, colors=colors)
    if portfolios:
        figures["portfolio"] = lambda: plot_portfolio(portfolios, colors=colors)
        figures["concentration"] = lambda: plot_concentration(portfolios, colors=colors)
    if histories:
        shades = _label_colors(list(histories), colors)
        figures["loss_curves"] = lambda: plot_loss_curves(histories, colors=shades)
    if comparison is not None:
        figures["comparison"] = lambda: plot_comparison(comparison, colors=colors)
    return {name: png_bytes(figures[name]()) for name in _PICTURES if name in figures}


def html_report(
    analyses: Mapping[str, SignalAnalysis],
    *,
    title: str = "Signal report",
    portfolios: Mapping[str, PortfolioResult] | None = None,
    comparison: Comparison | None = None,
    references: Sequence[str] = (),
    histories: Mapping[str, pd.DataFrame] | None = None,
    trainings: pd.DataFrame | None = None,
    provenance: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    periods_per_year: float | str = 238,
    figures: Mapping[str, bytes] | None = None,
    interactive: bool = True,
) -> str:
    """Write a self-contained page: a verdict, headlines, pictures, comparison, notes, provenance.

    With a comparison the page opens with `verdict`.

    Args:
        analyses: by model, of `signal_analysis`.
        title: of the page.
        portfolios: by model, of `topk_dropout`.
        comparison: of `compare_signals`.
        references: models of the comparison that the others have to beat, in a table of its own.
        histories: training history by label, which begins with the model's name.
        trainings: with the columns of `rnn_core.evaluation.report_training.TRAINING_COLUMNS`.
        provenance: sources of the figures (config hash, dates, counts), shown as given.
        notes: sentences to add to those of the results.
        periods_per_year: to annualise, a number, "qlib_day" (238) or "us" (252).
        figures: of `report_figures`, if they were made already; with `coverage`, of
            `plot_coverage`, the page has a section on the data.
        interactive: where scripts run, show IC, portfolio and holdings as charts with hover and
            zoom. It needs Bokeh, without which a note says that the page has pictures only.

    Returns:
        HTML text without external resources, which is read in full without scripts too.

    Raises:
        ValueError: no analysis, or an unknown count of periods.
    """
    if figures is None:
        figures = report_figures(
            analyses, portfolios=portfolios, comparison=comparison, histories=histories
        )
    # Pictures are collected by heading; two headings have tables beside them.
    colors = _colors(analyses, portfolios, comparison)
    charts, script = {}, ""
    if interactive and has_charts():
        charts, script = report_charts(analyses, portfolios, colors=colors), charts_script()
    elif interactive:
        notes = [*notes, _NO_CHARTS]
    pictures: dict[str, str] = {}
    for name, (heading, text) in _PICTURES.items():
        if name in figures:
            shown = picture(figures[name], text, name=name, chart=charts.get(name, ""))
            pictures[heading] = pictures.get(heading, "") + shown
    if portfolios:
        pictures["Portfolio"] = pictures.get("Portfolio", "") + portfolio_tables(
            portfolios, periods_per_year=periods_per_year, colors=colors
        )
    if trainings is not None:
        pictures["Training"] = trainings_table(trainings, colors) + pictures.get("Training", "")
    sections = [
        ("Headline", _headline(analyses, portfolios, periods_per_year, colors)),
        ("Comparison", _compared(comparison, colors, references) + pictures.pop("Comparison", "")),
        ("Information coefficient", pictures.pop("Information coefficient") + _years(analyses)),
        *pictures.items(),
        ("Notes", bullets(_notes(analyses, portfolios, notes))),
        ("Provenance", facts(provenance or {})),
    ]
    opening = (
        ()
        if comparison is None
        else verdict(comparison, portfolios, periods_per_year=periods_per_year)
    )
    return page(title, _lead(analyses), sections, opening=" ".join(opening), script=script)


def _colors(
    analyses: Mapping[str, Any],
    portfolios: Mapping[str, Any] | None,
    comparison: Comparison | None,
) -> dict[str, str]:
    """Choose one colour a name for the whole report."""
    names = [*analyses, *(portfolios or {})]
    names += [] if comparison is None else [str(name) for name in comparison.summary.index]
    return model_colors(dict.fromkeys(names))


def _label_colors(labels: list[str], colors: Mapping[str, str]) -> dict[str, str]:
    """Colour trainings: the model's own colour for its first, free ones for the others."""
    owner = {label: label.split()[0] if label.split() else label for label in labels}
    first_colors: dict[str, str] = {}
    for label in labels:
        color = colors.get(label) or colors.get(owner[label])
        if color is not None and color not in first_colors.values():
            first_colors[label] = color
    return model_colors(labels) | first_colors if len(first_colors) < len(labels) else first_colors


def _lead(analyses: Mapping[str, SignalAnalysis]) -> str:
    days = [analysis.sessions.index for analysis in analyses.values()]
    first, last = min(d[0] for d in days), max(d[-1] for d in days)
    count = max(len(d) for d in days)
    scored = max(float(a.sessions["scored"].mean()) for a in analyses.values())
    names = f"{_NAMES(scored)} name{'s' * (scored != 1)} a session"
    return (
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, {count} sessions, {names}. Labels are raw returns; "
        "t values and 95% intervals use Newey-West errors."
    )


def _headline(
    analyses: Mapping[str, SignalAnalysis],
    portfolios: Mapping[str, PortfolioResult] | None,
    periods_per_year: float | str,
    colors: Mapping[str, str],
) -> str:
    # The signals.
    header = ["signal", "days", "IC", "ICIR", "t", "rank IC", "rank\nICIR", "t", "95% interval",
              "long-short\n(bp a session)", "hit\nrate", "turnover"]  # fmt: skip
    rows = []
    for name, analysis in analyses.items():
        tests = dict(analysis.summary.iterrows())
        ic, rank, mean = tests["ic"], tests["rank_ic"], analysis.summary["mean"]
        rows.append([
            name, _COUNT(ic["days"]), _IC(ic["mean"]), _RATIO(ic["ir"]), _T(ic["t_nw"]),
            _IC(rank["mean"]), _RATIO(rank["ir"]), _T(rank["t_nw"]),
            f"{_IC(rank['ci_low'])} … {_IC(rank['ci_high'])}",
            _BP(mean["long_short"]),
            _HIT(mean["hit_rate"]),
            _SHARE(mean["turnover"]),
        ])  # fmt: skip
    out = table(header, rows, colors=colors, caption="Signals, per session, each over all of its "
                "rows; the interval is of the mean rank IC, turnover that of the top "
                "quantile")  # fmt: skip
    # The reason of a dash stands below the table that has it.
    dashes = {n: a for n, a in analyses.items() if not a.summary.loc["ic", "days"]}
    out += remarks(_notes(dashes, None, ()))
    if not portfolios:
        return out
    # The portfolios: heading, figure of the summary, format.
    columns: list[tuple[str, str, Format]] = [
        ("sessions", "sessions", _COUNT),
        ("names\nheld", "names", _COUNT),
        ("return\na year", "annualized_return", _PERCENT),
        ("benchmark\na year", "benchmark_return", _PERCENT),
        ("excess\na year", "annualized_excess_return_with_cost", _PERCENT),
        ("before\ncosts", "annualized_excess_return_without_cost", _PERCENT),
        ("information\nratio", "information_ratio_with_cost", _RATIO),
        ("deepest\ndrawdown", "max_drawdown_with_cost", _PERCENT),
        ("turnover\na session", "turnover", _SHARE),
    ]
    figures = {
        name: portfolio_summary(
            result, periods_per_year=periods_per_year, least_sessions=YEAR_SESSIONS
        )
        for name, result in portfolios.items()
    }
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
        out
        + table(
            ["portfolio", *(text for text, _, _ in columns)], rows, colors=colors,
            caption=f"TopkDropout after costs; returns add up, {against}",
        )
        + remarks([note] if note else [])
    )  # fmt: skip


def _years(analyses: Mapping[str, SignalAnalysis]) -> str:
    header = ["year", "days", "IC", "ICIR", "t", "rank IC", "rank ICIR", "t", "long-short (bp)",
              "hit rate"]  # fmt: skip
    body = ""
    for name, analysis in analyses.items():
        rows = [
            [
                str(year), _COUNT(r["ic_days"]), _IC(r["ic"]), _RATIO(r["ic_ir"]),
                _T(r["ic_t_nw"]), _IC(r["rank_ic"]), _RATIO(r["rank_ic_ir"]),
                _T(r["rank_ic_t_nw"]), _BP(r["long_short"]),
                _HIT(r["hit_rate"]),
            ]
            for year, r in analysis.by_year.iterrows()
        ]  # fmt: skip
        body += table(header, rows, caption=name)
    return folded("By year", body)


def _compared(
    comparison: Comparison | None, colors: Mapping[str, str], references: Sequence[str]
) -> str:
    if comparison is None:
        return ""
    rows = []
    for name, r in comparison.summary.iterrows():
        spread = "" if pd.isna(r["rank_ic_seed_std"]) else f" ± {r['rank_ic_seed_std']:.4f}"
        rows.append([
            str(name), str(r["kind"]), _COUNT(r["seeds"]), _COUNT(r["days"]), _IC(r["ic"]),
            _RATIO(r["ic_ir"]), f"{_IC(r['rank_ic'])}{spread}", _RATIO(r["rank_ic_ir"]),
            _T(r["rank_ic_t_nw"]), _BP(r["long_short"]), _SHARE(r["turnover"]),
        ])  # fmt: skip
    header = ["signal", "kind", "seeds", "days", "IC", "ICIR", "rank IC", "rank\nICIR", "t",
              "long-short\n(bp a session)", "turnover"]  # fmt: skip
    out = table(header, rows, colors=colors, caption="Only on rows that every signal has: where "
                "that leaves rows out, these are not the figures of the table above; ± is one "
                "deviation over seeds")  # fmt: skip
    out += remarks(comparison.notes)
    header = ["paired daily difference", "of", "days", "mean", "t", "p", "p (Holm)",
              "bootstrap interval"]  # fmt: skip
    if references:
        held = against(comparison, references)
        out += table(
            header, _tests(held, "signal", "reference"),
            caption=f"Every model against {' and '.join(references)}, on the same rows",
        )  # fmt: skip
    tests = _tests(comparison.differences, "a", "b")
    return out + folded("Tests of every difference", table(header, tests)) if tests else out


def _tests(differences: pd.DataFrame, one: str, other: str) -> list[list[str]]:
    """The cells of a table of tests."""
    return [
        [
            f"{r[one]} − {r[other]}", "rank IC" if r["statistic"] == "rank_ic" else "IC",
            _COUNT(r["days"]), _IC(r["difference"]), _T(r["t_nw"]), _P(r["p_nw"]),
            _P(r["p_holm"]), f"{_IC(r['boot_low'])} … {_IC(r['boot_high'])}",
        ]
        for _, r in differences.iterrows()
    ]  # fmt: skip


def _notes(
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
