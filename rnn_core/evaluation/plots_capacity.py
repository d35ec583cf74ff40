"""Figure of capacity: Sharpe ratio and net excess return against the size of the account."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from rnn_core.evaluation.capacity import edge_gone_at
from rnn_core.evaluation.render import (
    GREY,
    draw_line,
    model_colors,
    need_frames,
    new_figure,
    style,
    title_and_legend,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_capacity(
    curves: Mapping[str, pd.DataFrame], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot capacity curves, one a portfolio.

    Args:
        curves: by name, of `capacity_curve`.
        colors: by name; None for `model_colors`.

    Returns:
        The figure; a name's legend says at what account its edge is gone.

    Raises:
        ValueError: no curve.

    Examples:
        >>> curve = capacity_curve(result, bars, Impact(), accounts=[1e5, 1e9])
        >>> len(plot_capacity({"planted": curve}).axes)
        2
    """
    need_frames(curves, ("sharpe", "annualized_return", "annualized_excess_return"), dates=False)
    colors = colors or model_colors(curves)
    excess = any(curve["annualized_excess_return"].notna().any() for curve in curves.values())
    column = "annualized_excess_return" if excess else "annualized_return"
    with style():
        fig = new_figure(5.0, "Capacity: the same orders at other sizes of the account")
        upper, lower = fig.subplots(2, 1, sharex=True)
        for name, curve in curves.items():
            draw_line(upper, curve["sharpe"], color=colors[name], label=name)
            text = f"{name} {gone_words(edge_gone_at(curve))}"
            draw_line(lower, curve[column] * 100, color=colors[name], label=text)
        upper.set_ylabel("Sharpe ratio")
        title_and_legend(upper, "Sharpe ratio after costs and impact")
        lower.set_ylabel("% a year")
        kind = "excess over the benchmark" if excess else "return"
        title_and_legend(lower, f"Mean {kind} after costs and impact (legend: where it ends)")
        for ax in (upper, lower):
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set_xscale("log")
        lower.set_xlabel("account, currency")
    return fig


def gone_words(account: float) -> str:
    """Say at what account an edge is gone."""
    if math.isnan(account):
        return "beyond the largest"
    return f"{account:.2g}" if account else "no edge at any size"
