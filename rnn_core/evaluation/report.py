"""One page about a signal, `html_report`, and its pictures one by one.

`html_report` shows the tables of `signal_analysis`, `topk_dropout` and `compare_signals` on one
self-contained page; `report_figures` gives the same pictures as PNG for a user interface.
The whole report has one colour table, so that a model has the same colour in every picture, even if
a picture shows only some models. More than eight models are ranked instead, the best first, in one
table and in small panels.
Nothing in the page depends on time, host or order of calls: same tables, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from rnn_core.evaluation.analysis import SignalAnalysis
from rnn_core.evaluation.charts import charts_script, has_charts, report_charts
from rnn_core.evaluation.comparison import Comparison
from rnn_core.evaluation.plots import per_session, plot_ic, plot_quantile_returns
from rnn_core.evaluation.plots_compare import plot_comparison
from rnn_core.evaluation.plots_many import is_many, plot_multiples
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
from rnn_core.evaluation.rank_ensemble import ENSEMBLE
from rnn_core.evaluation.render import (
    GREY,
    MODEL_COLORS,
    MOST_CURVES,
    PALETTE,
    model_colors,
    png_bytes,
)
from rnn_core.evaluation.report_comparison import comparison_tables
from rnn_core.evaluation.report_html import bullets, facts, folded, page, picture, remarks
from rnn_core.evaluation.report_portfolio import portfolio_tables
from rnn_core.evaluation.report_signals import (
    WORDS,
    headline,
    lead,
    page_notes,
    years_table,
)
from rnn_core.evaluation.report_training import trainings_table
from rnn_core.evaluation.verdict_text import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    "capacity": ("Portfolio", "figures after costs against the size of the account"),
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

    Examples:
        >>> sorted(report_figures({"planted": analysis}))
        ['decay', 'ic', 'ic_heatmap', 'quantile_curves', 'quantile_returns', 'turnover']
    """
    if not analyses:
        raise ValueError("analyses is empty, expected the signal_analysis of one model or more")
    analyses, portfolios, comparison = _ranked(analyses, portfolios, comparison)
    colors = _colors(analyses, portfolios, comparison)
    sessions = {name: analysis.sessions for name, analysis in analyses.items()}
    returns = {name: per_session(a.sessions, a.horizon) for name, a in analyses.items()}
    horizon = max(analysis.horizon for analysis in analyses.values())
    figures: dict[str, Callable[[], Figure]] = {
        "ic": lambda: plot_ic(sessions, horizon=horizon, colors=colors),
        "ic_heatmap": lambda: plot_ic_heatmap(
            {n: analysis.by_month for n, analysis in analyses.items()}
        ),
        "quantile_returns": lambda: plot_quantile_returns(returns, colors=colors),
        "quantile_curves": lambda: plot_quantile_curves(returns),
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
        figures["loss_curves"] = lambda: _loss_curves(histories, colors)
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
    strategy: str = "",
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
            `plot_coverage`, the page has a section on the data; with `capacity`, of
            `plot_capacity`, the portfolios' section has that curve.
        strategy: the strategy of the portfolios in words, which opens their section.
        interactive: where scripts run, show IC, portfolio and holdings as charts with hover and
            zoom. It needs Bokeh, without which a note says that the page has pictures only.

    Returns:
        HTML text without external resources, which is read in full without scripts too.

    Raises:
        ValueError: no analysis, or an unknown count of periods.

    Examples:
        >>> page = html_report({"planted": analysis}, title="One signal")
        >>> "<title>One signal</title>" in page
        True
    """
    if figures is None:
        figures = report_figures(
            analyses, portfolios=portfolios, comparison=comparison, histories=histories
        )
    analyses, portfolios, comparison = _ranked(analyses, portfolios, comparison)
    many = is_many(analyses)
    colors = _colors(analyses, portfolios, comparison)
    charts: Mapping[str, str] = {}
    if interactive and has_charts():
        best = [*list(portfolios or ())[:MOST_CURVES], *list(analyses)[:MOST_CURVES]]
        shades = model_colors(dict.fromkeys(best)) if many else colors
        charts = report_charts(analyses, portfolios, colors=shades)
    elif interactive:
        notes = [*notes, _NO_CHARTS]
    # Pictures are collected by heading; two headings have tables beside them.
    pictures: dict[str, str] = {}
    for name, (heading, text) in _PICTURES.items():
        if name in figures:
            chart = charts.get(name, "")
            shown = picture(figures[name], text, name=name, chart=chart, beside=many)
            pictures[heading] = pictures.get(heading, "") + shown
    colors = {} if many else colors  # swatches of one colour would say nothing
    if portfolios:
        named = remarks([f"strategy: {strategy}"]) if strategy else ""
        pictures["Portfolio"] = named + pictures.get("Portfolio", "") + portfolio_tables(
            portfolios, periods_per_year=periods_per_year, colors=colors
        )  # fmt: skip
    if trainings is not None:
        pictures["Training"] = trainings_table(trainings, colors) + pictures.get("Training", "")
    sections = [
        (
            "Ranking" if many else "Headline",
            headline(analyses, portfolios, periods_per_year, colors)
            + folded("What the words mean", facts(WORDS)),
        ),
        (
            "Comparison",
            comparison_tables(comparison, colors, references) + pictures.pop("Comparison", ""),
        ),
        (
            "Information coefficient",
            pictures.pop("Information coefficient") + years_table(analyses),
        ),
        *pictures.items(),
        ("Notes", bullets(page_notes(analyses, portfolios, notes))),
        ("Provenance", facts(provenance or {})),
    ]
    opening = (
        ()
        if comparison is None
        else verdict(comparison, portfolios, periods_per_year=periods_per_year)
    )
    script = charts_script() if charts else ""
    return page(title, lead(analyses), sections, opening=" ".join(opening), script=script)


def _ranked(
    analyses: Mapping[str, SignalAnalysis],
    portfolios: Mapping[str, PortfolioResult] | None,
    comparison: Comparison | None,
) -> tuple[Mapping[str, SignalAnalysis], Mapping[str, PortfolioResult] | None, Comparison | None]:
    """Order many signals by mean rank IC, the best first; a few keep the order that they have.

    Portfolios of no signal, as of the rank average, come first.
    """
    if not is_many(analyses):
        return analyses, portfolios, comparison
    means = {n: float(a.summary["mean"]["rank_ic"]) for n, a in analyses.items()}
    order = sorted(means, key=lambda n: -means[n] if math.isfinite(means[n]) else math.inf)
    if portfolios:
        names = [n for n in portfolios if n not in analyses]
        names += [n for n in order if n in portfolios]
        portfolios = {name: portfolios[name] for name in names}
    if comparison is not None:
        summary = comparison.summary.sort_values("rank_ic", ascending=False, kind="stable")
        comparison = replace(comparison, summary=summary)
    return {name: analyses[name] for name in order}, portfolios, comparison


def _loss_curves(histories: Mapping[str, pd.DataFrame], colors: Mapping[str, str]) -> Figure:
    """Draw the losses of a few trainings, or the validation of many."""
    if not is_many(histories):
        return plot_loss_curves(histories, colors=_label_colors(list(histories), colors))
    scores = {
        label: (h.set_index("epoch") if "epoch" in h.columns else h)["valid_score"]
        for label, h in histories.items()
    }
    return plot_multiples(scores, "Training by epoch", "validation score", x="epoch")


def _colors(
    analyses: Mapping[str, Any],
    portfolios: Mapping[str, Any] | None,
    comparison: Comparison | None,
) -> dict[str, str]:
    """Choose one colour a name for the whole report; many signals share one."""
    names = [*analyses, *(portfolios or {})]
    names += [] if comparison is None else [str(name) for name in comparison.summary.index]
    if not is_many(analyses):
        return model_colors(dict.fromkeys(names))
    kinds = {} if comparison is None else comparison.summary["kind"].to_dict()
    return {
        name: {"baseline": GREY, "ensemble": MODEL_COLORS[ENSEMBLE]}.get(
            kinds.get(name, ""), PALETTE[0]
        )
        for name in names
    }


def _label_colors(labels: list[str], colors: Mapping[str, str]) -> dict[str, str]:
    """Colour trainings: the model's own colour for its first, free ones for the others."""
    owner = {label: label.split()[0] if label.split() else label for label in labels}
    first_colors: dict[str, str] = {}
    for label in labels:
        color = colors.get(label) or colors.get(owner[label])
        if color is not None and color not in first_colors.values():
            first_colors[label] = color
    return model_colors(labels) | first_colors if len(first_colors) < len(labels) else first_colors
