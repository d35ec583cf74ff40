"""Figures of daily evaluations: IC over time and returns by score quantile.

Each function takes frames by model and returns a `matplotlib.figure.Figure` of 900 pixels width.
Titles name the content and its main figures, axes carry units, a model has the same colour
everywhere (`rnn_core.evaluation.render`), or the one given as `colors`. The figures of summaries
are in `plots_signal`, of trainings in `plots_training`, of portfolios in `plots_portfolio`. Returns
accumulate by addition, as in qlib's reports: a straight line is a steady edge. Little data is a
normal case, not an error: one session, no defined IC, an empty quantile; a panel without anything
to draw says so.

Shapes: `T` sessions, `Q` quantiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnn_core.evaluation.inference import mean_test
from rnn_core.evaluation.plots_many import is_many, plot_multiples
from rnn_core.evaluation.render import (
    GREY,
    draw_line,
    last_value,
    model_colors,
    need_frames,
    new_figure,
    say,
    signed,
    style,
    time_axis,
    title_and_legend,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_ic(
    evaluations: Mapping[str, pd.DataFrame],
    *,
    rolling_sessions: int = 20,
    horizon: int = 1,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Plot daily IC with its rolling mean, one panel a model, and the running sums below.

    Args:
        evaluations: by model: one row per session (DatetimeIndex) with `ic` and `rank_ic`.
        rolling_sessions: width of the rolling mean, drawn from half that many sessions on.
        horizon: sessions of the label, for the t values.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; of more than eight models a panel each with the running sum.

    Raises:
        ValueError: no model, or a frame without the columns or without dates.

    Examples:
        >>> len(plot_ic({"planted": analysis.sessions}).axes)
        2
    """
    need_frames(evaluations, ("ic", "rank_ic"))
    if is_many(evaluations):
        daily = {name: frame["ic"].sort_index() for name, frame in evaluations.items()}
        return plot_multiples(
            {name: ic.fillna(0.0).cumsum() for name, ic in daily.items()},
            "Running sum of daily IC, the correlation of scores with the returns that followed",
            "sum of IC",
            texts={name: f"(mean {signed(ic.mean(), 3)})" for name, ic in daily.items()},
        )
    colors = colors or model_colors(evaluations)
    with style():
        fig = new_figure(
            1.75 * len(evaluations) + 2.7,
            "Information coefficient (IC): correlation of scores with the returns that followed",
        )
        rows = len(evaluations) + 1
        axes = fig.subplots(
            rows, 1, sharex=True, squeeze=False, height_ratios=[1] * (rows - 1) + [1.3]
        )[:, 0]
        # One panel a model, all on one scale.
        largest = max(_largest(frame["ic"]) for frame in evaluations.values())
        for ax, (name, frame) in zip(axes, evaluations.items(), strict=False):
            ic = frame["ic"].sort_index()
            ax.set_title(f"{name}: {_ic_text(frame, horizon)}")
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set_ylabel("daily IC")
            ax.set_ylim(-largest, largest)
            if not ic.notna().any():
                say(ax, "no session with a defined IC")
                continue
            width = float(np.clip(900 / len(ic), 0.5, 5))
            ax.vlines(
                ic.index,
                0,
                ic,
                color=colors[name],
                alpha=0.35,
                linewidth=width,
                label="one session",
            )
            mean = ic.rolling(rolling_sessions, min_periods=max(rolling_sessions // 2, 1)).mean()
            if mean.notna().sum() > 1:
                ax.plot(mean.index, mean, color=colors[name], label=f"mean of {rolling_sessions}")
                ax.legend(
                    loc="lower right", ncol=2, borderaxespad=0.1, borderpad=0.2, fontsize=8,
                    frameon=True, facecolor="white", edgecolor="none", framealpha=0.85,
                )  # fmt: skip
        # The last panel has the running sums of all models.
        for name, frame in evaluations.items():
            ic = frame["ic"].sort_index()
            if ic.notna().any():
                total = ic.fillna(0).cumsum()
                text = f"{name} {signed(last_value(total), 2)}"
                draw_line(axes[-1], total, color=colors[name], label=text)
        axes[-1].axhline(0, color=GREY, linewidth=0.8)
        axes[-1].set_ylabel("sum of IC")
        title_and_legend(axes[-1], "Running sum of daily IC")
        if not axes[-1].get_legend_handles_labels()[0]:
            say(axes[-1], "nothing to sum")
        time_axis(axes[-1], [frame.index for frame in evaluations.values()])
    return fig


def plot_quantile_returns(
    evaluations: Mapping[str, pd.DataFrame], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot the mean return of each score quantile, and the running sum of top minus bottom.

    Args:
        evaluations: by model: one row per session (DatetimeIndex) with `q1` ... `qQ` and
            `long_short`, simple returns a session (`per_session` of a longer label's).
        colors: by model; None for `model_colors`.

    Returns:
        The figure; bars carry one standard error of the mean. Of more than eight models a panel
        each with the running sum.

    Raises:
        ValueError: no model, or a frame without the columns or without dates.

    Examples:
        >>> len(plot_quantile_returns({"planted": analysis.sessions}).axes)
        2
    """
    need_frames(evaluations, ("q1", "q2", "long_short"))
    if is_many(evaluations):
        spreads = {n: frame["long_short"].sort_index() * 100 for n, frame in evaluations.items()}
        return plot_multiples(
            {name: spread.fillna(0.0).cumsum() for name, spread in spreads.items()},
            "Top minus bottom quantile, running sum of returns, no costs",
            "sum of returns (%)",
            texts={name: signed(spread.sum(), 1, "%") for name, spread in spreads.items()},
        )
    colors = colors or model_colors(evaluations)
    with style():
        fig = new_figure(3.9, "Returns by score quantile")
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.15])
        count = max(len(quantile_columns(frame)) for frame in evaluations.values())
        width = 0.8 / len(evaluations)
        # On the left the bars of the models stand side by side.
        has_bars = False
        for k, (name, frame) in enumerate(evaluations.items()):
            values = frame[quantile_columns(frame)] * 1e4  # (T, Q) basis points
            places = np.arange(values.shape[1]) + (k - (len(evaluations) - 1) / 2) * width
            mean, error = values.mean(), values.sem()
            if not mean.notna().any():
                continue
            has_bars = True
            left.bar(places, mean, width * 0.92, color=colors[name], label=name)
            mask = error.notna().to_numpy()
            left.errorbar(
                places[mask], mean[mask], error[mask], fmt="none", ecolor="#333333", elinewidth=0.8,
                capsize=1.5,
            )  # fmt: skip
        left.axhline(0, color=GREY, linewidth=0.8)
        left.set_xticks(range(count), _quantile_ticks(count))
        left.grid(visible=False, axis="x")
        left.set_ylabel("mean return (basis points)")
        left.margins(y=0.08)
        left.set_xlim(-0.6, count - 0.4)
        title_and_legend(left, "Mean per session, ± one standard error", characters=60)
        if not has_bars:
            say(left, "no quantile returns")
        # On the right the return of the top quantile less the bottom one accumulates.
        for name, frame in evaluations.items():
            spread = frame["long_short"].sort_index() * 100  # (T,) percent
            if spread.notna().any():
                total = spread.fillna(0).cumsum()
                text = f"{name} {signed(last_value(total), 1, '%')}"
                draw_line(right, total, color=colors[name], label=text)
        right.axhline(0, color=GREY, linewidth=0.8)
        right.set_ylabel("sum of returns (%)")
        title_and_legend(right, "Top minus bottom quantile, running sum, no costs", characters=60)
        time_axis(right, [frame.index for frame in evaluations.values()])
        if not right.get_legend_handles_labels()[0]:
            say(right, "no session with both quantiles")
    return fig


def _largest(ic: pd.Series) -> float:
    top = float(ic.abs().max()) if ic.notna().any() else 1.0
    return max(top * 1.08, 0.05)


def _ic_text(frame: pd.DataFrame, horizon: int) -> str:
    """Write the figures of a panel's title; t is Newey and West's."""
    test, rank = mean_test(frame["ic"], horizon=horizon), mean_test(frame["rank_ic"])
    count, days = len(frame), int(test["days"])
    if not days:
        return f"{count} session{'s' * (count != 1)}, none with a defined IC"
    parts = [f"mean IC {signed(test['mean'], 4)}"]
    if np.isfinite(test["ir"]):
        parts += [f"ICIR {signed(test['ir'], 2)}", f"t {signed(test['t_nw'], 1)}"]
    if np.isfinite(rank["mean"]):
        parts.append(f"rank IC {signed(rank['mean'], 4)}")
    return ", ".join([*parts, f"{days} session{'s' * (days != 1)}"])


def per_session(frame: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Divide the returns of daily statistics by the sessions that their label holds."""
    if horizon == 1:
        return frame
    returns = [*quantile_columns(frame), "mean_label", "long_short"]
    return frame.assign(**{name: frame[name] / horizon for name in returns if name in frame})


def quantile_columns(frame: pd.DataFrame) -> list[str]:
    """List the columns q1 ... qQ of an evaluation, in order."""
    names = [str(name) for name in frame.columns if re.fullmatch(r"q\d+", str(name))]
    return sorted(names, key=lambda name: int(name[1:]))


def _quantile_ticks(count: int) -> list[str]:
    ticks = [f"q{k + 1}" for k in range(count)]
    ticks[0] += "\nlowest scores"
    ticks[-1] += "\nhighest scores"
    return ticks
