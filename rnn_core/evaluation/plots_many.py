"""Pictures of many models: a small panel each on common axes, or a row each in one matrix.

Nobody tells twenty colours apart. In small multiples a model stands before the grey curves of all
the others, so that a reader sees which one is apart from the crowd; models keep the order in which
they are given, which on a page is that of the ranking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnn_core.evaluation.render import (
    GREY,
    MOST_CURVES,
    PALETTE,
    new_figure,
    say,
    signed,
    style,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_CROWD = "#D9D9D9"
_NAME = 26  # characters of a title that fit above a panel
_MOST_NUMBERS = 14  # columns of a matrix whose cells have room for a number


def is_many(models: Sized) -> bool:
    """True if there are more models than one panel shows in colours."""
    return len(models) > MOST_CURVES


def plot_multiples(
    curves: Mapping[str, pd.Series],
    title: str,
    unit: str,
    *,
    texts: Mapping[str, str] | None = None,
    x: str = "",
) -> Figure:
    """Plot a panel for each model before the curves of all, on common axes.

    Args:
        curves: by model, over sessions (DatetimeIndex) or numbers.
        title: of the figure.
        unit: of the vertical axis.
        texts: the main figure of each model, beside its name.
        x: name of the horizontal axis, where it has no dates.

    Returns:
        The figure, in the order of the models, four panels a row.
    """
    curves = {name: series.dropna().sort_index() for name, series in curves.items()}
    rows = math.ceil(len(curves) / _COLUMNS)
    with style():
        fig = new_figure((1.5 if texts else 1.35) * rows + 1.1, title)
        panels = fig.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for k, ax in enumerate(panels.ravel()):
            if k >= len(curves):
                ax.set_visible(False)
                continue
            name = list(curves)[k]
            for other in curves.values():
                ax.plot(other.index, other, color=_CROWD, linewidth=0.7)
            series = curves[name]
            ax.plot(series.index, series, color=PALETTE[0], linewidth=1.5,
                    marker="o" if len(series) == 1 else "")  # fmt: skip
            ax.axhline(0, color=GREY, linewidth=0.6)
            panel_title(ax, name, (texts or {}).get(name, ""))
            if series.empty:
                say(ax, "nothing to draw")
            # The lowest panel of a column has the labels; the last row may be shorter.
            ax.tick_params(labelsize=8, labelbottom=k + _COLUMNS >= len(curves))
            if x and k + _COLUMNS >= len(curves):
                ax.set_xlabel(x)
        if not x:
            time_axis(panels[0, 0], [series.index for series in curves.values()], most_ticks=3)
        fig.supylabel(unit, fontsize=9.5)
    return fig


def panel_title(ax: Axes, name: str, text: str) -> None:
    """Write a model's name above a small panel, cut to its width, and its figure below it."""
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    ax.set_title(f"{short}\n{text}" if text else short, fontsize=8.5)


def plot_matrix(table: pd.DataFrame, title: str) -> Figure:
    """Plot a row for each model, in colours around 0, in hundredths where numbers have room.

    Args:
        table: models by month, group or the like; NaN stays blank.
        title: of the figure.

    Returns:
        The figure; the colours end at the 95th percentile of absolute values.
    """
    values = table.to_numpy(dtype=np.float64)
    magnitudes = np.abs(values[np.isfinite(values)])
    top = max(float(np.quantile(magnitudes, 0.95)), 1e-3) if len(magnitudes) else 1.0
    with style():
        fig = new_figure(0.24 * len(table) + 1.3, f"{title}, in hundredths")
        ax = fig.subplots()
        image = ax.imshow(values * 100, cmap="RdBu", vmin=-100 * top, vmax=100 * top, aspect="auto")
        if table.shape[1] <= _MOST_NUMBERS:
            _numbers(ax, values, top)
        bar = fig.colorbar(image, ax=ax, pad=0.01, aspect=30, extend="both")
        bar.outline.set_visible(False)
        step = max(-(-table.shape[1] // _MOST_NUMBERS), 1)
        labels = [str(column) for column in table.columns][::step]
        ax.set_xticks(range(0, table.shape[1], step), labels)
        ax.set_yticks(range(len(table)), [str(name) for name in table.index])
        ax.grid(visible=False)
        ax.tick_params(length=0, labelsize=8)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return fig


def _numbers(ax: Axes, values: np.ndarray, top: float) -> None:
    """Write the value of each cell into it."""
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            color = "white" if abs(value) > 0.6 * top else "#222222"
            ax.text(column, row, signed(value * 100, 1), ha="center", va="center", fontsize=7.5,
                    color=color)  # fmt: skip
