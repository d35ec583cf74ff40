"""Figures of portfolios: equity with benchmark and drawdown, and the holdings.

Returns accumulate by addition, as in qlib's reports: a straight line is a steady edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rnn_core.evaluation.plots_many import is_many, plot_multiples
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import benchmark_lines, concentration
from rnn_core.evaluation.render import (
    GREY,
    draw_line,
    last_value,
    model_colors,
    need_frames,
    new_figure,
    signed,
    style,
    time_axis,
    title_and_legend,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_portfolio(
    results: Mapping[str, PortfolioResult], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot cumulative return after costs with the benchmark, the excess over it, its drawdown.

    Args:
        results: by model, from `topk_dropout`. Without a benchmark (NaN or zero throughout) the
            return itself takes the place of the excess, which has no panel of its own.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; all returns are summed simple returns, after costs. Of more than eight models a
        panel each with the excess.

    Raises:
        ValueError: no result.

    Examples:
        >>> len(plot_portfolio({"planted": result}).axes)
        3
    """
    need_frames(
        {name: result.daily for name, result in results.items()}, ("return", "cost", "bench")
    )
    colors = colors or model_colors(results)
    net = {name: (r.daily["return"] - r.daily["cost"]) * 100 for name, r in results.items()}
    bench = {name: r.daily["bench"] * 100 for name, r in results.items()}
    bench = {name: values for name, values in bench.items() if values.notna().any()}
    excess = {name: net[name] - bench.get(name, 0.0) for name in results}
    benchmarks = benchmark_lines(results)
    if is_many(results):
        over = ", in excess of the benchmark" if benchmarks else ""
        return plot_multiples(
            {name: series.cumsum() for name, series in excess.items()},
            f"Sum of portfolio returns after costs{over}",
            "sum of returns (%)",
            texts={name: signed(series.sum(), 1, "%") for name, series in excess.items()},
        )
    with style():
        sessions = max(len(result.daily) for result in results.values())
        title = f"Portfolio after costs, {sessions} session{'s' * (sessions != 1)}"
        fig = new_figure(7.2 if benchmarks else 5.2, title)
        heights = [1.5, 1.3, 1] if benchmarks else [1.5, 1]
        axes = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        # The upper panels: return, and with a benchmark the excess.
        for label, model, returns in benchmarks:
            total = returns.cumsum()
            text = f"{label} {signed(last_value(total), 1, '%')}"
            draw_line(axes[0], total, color=colors.get(model, GREY), label=text, linestyle="--")
        panels = [(axes[0], net, "Cumulative return")]
        if benchmarks:
            panels.append((axes[1], excess, "Cumulative return in excess of the benchmark"))
        for ax, by_name, title in panels:
            for name, series in by_name.items():
                total = series.cumsum()
                text = f"{name} {signed(last_value(total), 1, '%')}"
                draw_line(ax, total, color=colors[name], label=text)
            ax.set_ylabel("sum of returns (%)")
            title_and_legend(ax, title)
        # The lowest panel: the drawdown of the excess, or of the return.
        for name, series in excess.items():
            total = series.cumsum()
            fall = total - total.cummax()
            text = f"{name} {signed(float(fall.min()), 1, '%')}"
            draw_line(axes[-1], fall, color=colors[name], label=text)
            if len(excess) == 1:
                axes[-1].fill_between(fall.index, fall, 0, color=colors[name], alpha=0.12)
        axes[-1].set_ylabel("below peak (%)")
        subject = "excess return" if benchmarks else "return"
        title_and_legend(axes[-1], f"Drawdown of the cumulative {subject} (legend: deepest)")
        for ax in axes:
            ax.axhline(0, color=GREY, linewidth=0.8)
        time_axis(axes[-1], [result.daily.index for result in results.values()])
    return fig


def plot_concentration(
    results: Mapping[str, PortfolioResult], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot names held, their effective number, the largest weight, and suspended holdings.

    Args:
        results: by model, from `topk_dropout`.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; the panel of suspended holdings is left out if there are none. Of more than
        eight models a panel each with the effective number.

    Raises:
        ValueError: no result.

    Examples:
        >>> len(plot_concentration({"planted": result}).axes)
        3
    """
    need_frames({name: result.daily for name, result in results.items()}, ("account",))
    colors = colors or model_colors(results)
    tables = {name: concentration(result) for name, result in results.items()}
    if is_many(results):
        return plot_multiples(
            {name: table["effective"] for name, table in tables.items()},
            "Effective number of names held (1 / Herfindahl index)",
            "names",
            texts={n: f"(mean {table['effective'].mean():.1f})" for n, table in tables.items()},
        )
    panels = [
        ("held", 1.0, "names", "Names held at the close", "{:.0f}"),
        ("effective", 1.0, "names", "Effective number of names (1 / Herfindahl index)", "{:.1f}"),
        ("top_weight", 100.0, "% of the account", "Largest position", "{:.1f}%"),
    ]
    if any((table["suspended"] > 0).any() for table in tables.values()):
        title = "Weight of holdings without a bar (suspended or delisted, at their last close)"
        panels.append(("suspended_weight", 100.0, "% of the account", title, "{:.1f}%"))
    with style():
        fig = new_figure(1.75 * len(panels) + 0.5, "What is held (legend: mean)")
        axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (column, scale, unit, title, form) in zip(axes, panels, strict=True):
            for name, table in tables.items():
                values = table[column] * scale
                text = f"{name} {form.format(values.mean())}" if values.notna().any() else name
                draw_line(ax, values, color=colors[name], label=text)
            ax.set_ylabel(unit)
            ax.set_ylim(bottom=0)
            title_and_legend(ax, title)
        time_axis(axes[-1], [table.index for table in tables.values()])
    return fig
