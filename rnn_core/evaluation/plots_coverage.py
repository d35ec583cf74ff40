"""The figure of coverage: the number of names with a bar, by session, over a market's span.

Heat maps of months by days show a missing session, a vendor's bad week or a shrinking universe at
a glance. They show counts and not names, so a market of thousands of names has the same page as one
of five, and the cell of a session is never thinner than a pixel for thirty years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.render import need_frames, new_figure, say, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABSENT = "#C0392B"  # a session without a partition: the only red of the figure
_DAYS = 31
_MOST_TICKS = 14
# Column, title, colour scale.
_PANELS = (
    ("bars", "Names with a bar", "viridis"),
    ("members", "Members of the universe among them", "viridis"),
    ("quarantined", "Bars set aside", "Blues"),
)


def plot_coverage(counts: pd.DataFrame) -> Figure:
    """Plot names with a bar, members and bars set aside by session, months side by side.

    Args:
        counts: T rows, one a session (DatetimeIndex), with `bars`, `members` and `quarantined`;
            a missing session has NaN in all of them.

    Returns:
        The figure: a panel for each count, days of the month downwards. Days that are no session
        are blank, missing sessions are red.

    Raises:
        ValueError: a column is missing, or the index has no dates.

    Examples:
        >>> counts = pd.DataFrame({"bars": 30, "members": 30, "quarantined": 0}, index=sessions)
        >>> len(plot_coverage(counts).axes)
        6
    """
    need_frames({"coverage": counts}, [column for column, _, _ in _PANELS])
    counts = counts.sort_index()
    absent = counts["bars"].isna()
    with style():
        fig = new_figure(6.6, f"Coverage: {_span(counts)}")
        axes = fig.subplots(len(_PANELS), 1, sharex=True)
        for ax, (column, title, scale) in zip(axes, _PANELS, strict=True):
            values = counts[column].astype(float)
            ax.set_title(f"{title}: {_in_words(values, rare=column == 'quarantined')}")
            if counts.empty:
                say(ax, "no session")
                continue
            _heat_map(ax, values, scale, rare=column == "quarantined")
            _mark(ax, absent)
        if not counts.empty:
            _month_axis(axes[-1], counts.index)
    return fig


def _span(counts: pd.DataFrame) -> str:
    if counts.empty:
        return "no session"
    first, last = counts.index[[0, -1]]
    missing = int(counts["bars"].isna().sum())
    span = f"{len(counts):,} sessions from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"{span}, {missing:,} of them not there (red)" if missing else f"{span}, all there"


def _in_words(values: pd.Series, *, rare: bool) -> str:
    """Describe the counts of a panel: the sum of rare ones, the spread of others."""
    counts = values.dropna()
    if counts.empty:
        return "none"
    if rare:
        n_sessions = int((counts > 0).sum())
        return (
            f"{counts.sum():,.0f} in {n_sessions:,} session{'s' * (n_sessions != 1)}"
            if n_sessions
            else "none"
        )
    low, middle, high = counts.min(), counts.median(), counts.max()
    if low == high:
        return f"{high:,.0f} in every session"
    return f"{low:,.0f} to {high:,.0f}, median {middle:,.0f}, last {counts.iloc[-1]:,.0f}"


def _grid(values: pd.Series, fill: float = np.nan) -> NDArray[np.float64]:
    """Arrange values by day of the month and month, [31, M]."""
    days = pd.DatetimeIndex(values.index)
    month = (days.year - days.year[0]) * 12 + days.month - days.month[0]
    grid = np.full((_DAYS, int(month[-1]) + 1), fill)
    grid[days.day - 1, month] = values
    return grid


def _heat_map(ax: Axes, values: pd.Series, scale: str, *, rare: bool) -> None:
    """Draw a panel with its colour bar; a zero among rare counts is as white as no session."""
    from matplotlib.ticker import MaxNLocator

    counts = values.where(values > 0) if rare else values
    high = max(float(counts.max()), 1.0) if counts.notna().any() else 1.0
    low = -0.5 * high if rare else 0.0  # rare counts are dark enough to be seen
    image = ax.imshow(
        _grid(counts), cmap=scale, vmin=low, vmax=high, aspect="auto", interpolation="nearest",
        origin="upper",
    )  # fmt: skip
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=14)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    bar.ax.set_ylim(0.0, high)
    bar.outline.set_visible(False)
    ax.set_ylabel("day of month")
    ax.set_yticks([0, 9, 19, 29], ["1", "10", "20", "30"])
    ax.grid(visible=False)
    ax.tick_params(length=0)


def _mark(ax: Axes, absent: pd.Series) -> None:
    """Mark missing sessions, over everything else."""
    from matplotlib.colors import ListedColormap

    if absent.any():
        marks = _grid(absent.where(absent).astype(float))
        ax.imshow(
            marks, cmap=ListedColormap([ABSENT]), aspect="auto", interpolation="nearest",
            origin="upper",
        )  # fmt: skip


def _month_axis(ax: Axes, days: pd.Index) -> None:
    """Label years at their begin, or months if the span is short."""
    index = pd.DatetimeIndex(days)
    months = pd.period_range(index[0], index[-1], freq="M")
    years = [(k, f"{m.year}") for k, m in enumerate(months) if m.month == 1]
    month_step = -(-len(months) // _MOST_TICKS)
    ticks = [(k, f"{m.year}-{m.month:02}") for k, m in enumerate(months) if k % month_step == 0]
    if len(years) > 3:
        step = -(-len(years) // _MOST_TICKS)
        ticks = years[::step]
    ax.set_xticks([k for k, _ in ticks], [text for _, text in ticks])
