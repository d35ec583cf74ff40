"""The figures of trainings: loss and validation score by epoch, and the weight of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnn_core.evaluation.render import PALETTE, model_colors, need_frames, new_figure, say, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LABELS = 8  # more curves than this get a colour scale instead of a legend entry each


def plot_loss_curves(
    histories: Mapping[str, pd.DataFrame],
    *,
    train: str = "train_loss",
    valid: str = "valid_score",
    epoch: str = "epoch",
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Plot training loss and validation score by epoch, with the best epoch marked.

    Args:
        histories: by label (a model, or one training of it): one row an epoch. The epoch is the
            column `epoch` or, without it, the index.
        train: column of the training loss; lower is better.
        valid: column of the validation score; higher is better.
        epoch: column of the epoch number.
        colors: by label; None for `model_colors`.

    Returns:
        The figure. More than eight labels are coloured from first to last on one scale.

    Raises:
        ValueError: no history, or a frame without the columns.

    Examples:
        >>> history = pd.DataFrame({"train_loss": [1.0, 0.9], "valid_score": [-1.0, -0.95]})
        >>> len(plot_loss_curves({"lstm": history}).axes)
        2
    """
    need_frames(histories, (train, valid), dates=False)
    many = len(histories) > _MOST_LABELS
    with style():
        from matplotlib import colormaps
        from matplotlib.colors import to_hex
        from matplotlib.ticker import MaxNLocator

        # Many curves have one colour scale, and a legend for the first and last of them.
        colors = colors or model_colors(histories)
        if many:
            shades = colormaps["viridis"](np.linspace(0, 0.9, len(histories)))
            colors = {name: to_hex(shade) for name, shade in zip(histories, shades, strict=True)}
        fig = new_figure(3.7, "Training by epoch")
        panels = fig.subplots(1, 2, sharex=True)
        ends = (next(iter(histories)), list(histories)[-1])
        for name, history in histories.items():
            x = history[epoch] if epoch in history.columns else history.index.to_series()
            score = history[valid].to_numpy(dtype=np.float64, na_value=np.nan)
            best = int(np.nanargmax(score)) if np.isfinite(score).any() else None
            text = name if best is None else f"{name}, best epoch {x.iloc[best]:g}"
            label = text if not many or name in ends else "_nolegend_"
            for ax, column in zip(panels, (train, valid), strict=True):
                marker = "." if len(x) <= 40 and not many else ""
                ax.plot(x, history[column], color=colors[name], marker=marker, label=label)
                if best is not None:
                    ax.plot(
                        x.iloc[best], history[column].iloc[best], marker="o", markersize=8,
                        markerfacecolor="white", markeredgewidth=1.8, color=colors[name],
                        linestyle="none",
                    )  # fmt: skip
        # The axes count whole epochs; one epoch alone has room on both sides.
        for ax, title, unit in zip(
            panels,
            ("Training loss (lower is better)", "Validation score (higher is better)"),
            (train, valid),
            strict=True,
        ):
            ax.set_title(title)
            ax.set_xlabel("epoch (circle: best validation score)")
            ax.set_ylabel(unit.replace("_", " "))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
            ax.margins(x=0.04)
            if not any(history[unit].notna().any() for history in histories.values()):
                say(ax, f"no {unit.replace('_', ' ')}")
        lowest, highest = panels[0].get_xlim()
        if highest - lowest < 1:
            panels[0].set_xlim(lowest - 0.5, highest + 0.5)
        panels[0].legend(loc="best")
    return fig


def plot_importance(table: pd.DataFrame) -> Figure:
    """Plot how much each feature counts in a model.

    Args:
        table: indexed by feature, the largest first; the first column is drawn.

    Returns:
        The figure, a bar a feature.

    Raises:
        ValueError: the table has no column.

    Examples:
        >>> len(plot_importance(pd.DataFrame({"gain": [3.0, 1.0]}, index=["ROC5", "STD5"])).axes)
        1
    """
    if not table.shape[1]:
        raise ValueError("the table has no column, expected figures by feature")
    with style():
        fig = new_figure(1.0 + 0.22 * max(len(table), 4), "Importance of the features")
        ax = fig.subplots()
        rows = np.arange(len(table))
        ax.barh(rows, table.iloc[:, 0].to_numpy(dtype=np.float64), color=PALETTE[0])
        ax.set_yticks(rows, [str(name) for name in table.index])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(str(table.columns[0]))
        if not len(table) or not np.any(table.iloc[:, 0]):
            say(ax, "no feature counts: the model is constant")
    return fig
