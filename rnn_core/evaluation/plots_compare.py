"""The figure of a comparison: mean IC of every signal, and the best one against the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from rnn_core.evaluation.comparison import Comparison
from rnn_core.evaluation.inference import Z95
from rnn_core.evaluation.render import GREY, model_colors, new_figure, say, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_comparison(
    comparison: Comparison,
    *,
    statistic: str = "rank_ic",
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Plot mean daily IC with 95% intervals, and paired differences to the best signal.

    Args:
        comparison: of `compare_signals`.
        statistic: "rank_ic" or "ic".
        colors: by signal; None for `model_colors`.

    Returns:
        The figure: on the left Newey-West intervals of the means, bars of one deviation over seeds
        if there are several; on the right those of best minus other, and the bootstrap's.

    Raises:
        ValueError: another statistic.

    Examples:
        >>> len(plot_comparison(comparison).axes)
        2
    """
    if statistic not in ("ic", "rank_ic"):
        raise ValueError(f"statistic={statistic!r}: expected 'ic' or 'rank_ic'")
    summary = comparison.summary
    names = list(summary.index)
    colors = colors or model_colors(names)
    label = "rank IC" if statistic == "rank_ic" else "IC"
    with style():
        title = f"Comparison on rows that all signals have: mean daily {label}"
        days = int(summary["days"].max())
        fig = new_figure(0.3 * len(names) + 1.6, f"{title}, {days} session{'s' * (days != 1)}")
        left, right = fig.subplots(1, 2, sharey=True)
        if not summary[statistic].notna().any():
            say(left, "no session with a defined IC")
            say(right, "nothing to compare")
            return fig
        # On the left the means with their intervals.
        for k, name in enumerate(names):
            row = summary.loc[name]
            mean, half = row[statistic], Z95 * row[f"{statistic}_se_nw"]
            if pd.isna(mean):
                continue
            _line(left, k, mean - half, mean + half, colors[name])
            left.plot(mean, k, "o", color=colors[name])
            spread = row[f"{statistic}_seed_std"]
            if pd.notna(spread):
                left.barh(k, 2 * spread, left=mean - spread, height=0.5, color=colors[name],
                          alpha=0.25)  # fmt: skip
        # On the right the differences of the best signal to the others.
        best = str(summary[statistic].astype(float).idxmax())
        for k, name in enumerate(names):
            if name == best:
                right.text(0, k, "  best", va="center", color=GREY)
            else:
                _difference(right, k, comparison.differences, best, name, statistic, colors[name])
        for ax, title in (
            (left, "95% interval (bar: ± 1 std over seeds)"),
            (right, f"{best} minus the other (thin: bootstrap)"),
        ):
            ax.axvline(0, color=GREY, linewidth=0.8)
            ax.grid(visible=False, axis="y")
            ax.set_title(title)
            ax.set_xlabel(label if ax is left else f"difference in {label}")
        left.set_yticks(range(len(names)), [_label(summary, name) for name in names])
        left.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    return fig


def _label(summary: pd.DataFrame, name: str) -> str:
    seeds = int(summary["seeds"][name])
    return f"{name} ({seeds} seeds)" if seeds > 1 else name


def _line(ax: Axes, row: int, low: float, high: float, color: str) -> None:
    ax.plot([low, high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")


def _difference(
    ax: Axes, k: int, table: pd.DataFrame, best: str, name: str, statistic: str, color: str
) -> None:
    """Draw one row of the right panel, turned round if the table has the pair that way."""
    table = table[table["statistic"] == statistic]
    pair = table[(table["a"] == best) & (table["b"] == name)]
    sign = 1.0
    if pair.empty:
        pair, sign = table[(table["a"] == name) & (table["b"] == best)], -1.0
    row = pair.iloc[0]
    mean, half = sign * row["difference"], Z95 * row["se_nw"]
    _line(ax, k, mean - half, mean + half, color)
    ends = sorted([sign * row["boot_low"], sign * row["boot_high"]])
    ax.plot(ends, [k + 0.18] * 2, color=color, linewidth=1, marker="|", markersize=5)
    ax.plot(mean, k, "o", color=color)
