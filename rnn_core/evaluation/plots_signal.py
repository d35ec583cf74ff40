"""Figures of signal analyses: IC by month, curves by quantile, decay, turnover, groups.

Each takes tables of `signal_analysis` by model and returns a figure of 900
pixels width in the style of `rnn_core.evaluation.render`; a model has the same colour everywhere.
Intervals are 95%, from Newey-West errors.

Shapes: `T` sessions, `Q` quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnn_core.evaluation.inference import Z95
from rnn_core.evaluation.plots import quantile_columns
from rnn_core.evaluation.plots_many import is_many, panel_title, plot_matrix, plot_multiples
from rnn_core.evaluation.render import (
    GREY,
    MOST_CURVES,
    draw_line,
    model_colors,
    need_frames,
    new_figure,
    say,
    signed,
    style,
    time_axis,
    title_and_legend,
)
from rnn_core.evaluation.session_axis import MONTHS, MOST_TICKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_A_ROW = 3
_FEW_DAYS = 10  # sessions of a month below which its mean says little: shown, and not coloured


def plot_ic_heatmap(by_month: Mapping[str, pd.DataFrame], *, statistic: str = "rank_ic") -> Figure:
    """Plot the mean IC of each month, years below each other, one panel a model on one scale.

    Args:
        by_month: by model: the table `by_month` of `signal_analysis`.
        statistic: "rank_ic" or "ic".

    Returns:
        The figure; numbers are hundredths, months without an IC are blank, those of few sessions
        are grey and left out of the colours. A year is the mean of its sessions, as in `by_year`.
        More than eight models have a row each in one matrix, without months of few sessions.

    Raises:
        ValueError: no model, or a table without the columns.

    Examples:
        >>> len(plot_ic_heatmap({"planted": analysis.by_month}).axes)
        1
    """
    days = f"{statistic}_days"
    need_frames(by_month, (statistic, days), dates=False)
    label = "rank IC" if statistic == "rank_ic" else "IC"
    if is_many(by_month):
        months = {n: f[statistic].where(f[days] >= _FEW_DAYS) for n, f in by_month.items()}
        matrix = pd.DataFrame(months).T.sort_index(axis=1).reindex(list(by_month))
        return plot_matrix(matrix, f"Mean {label} by month of {_FEW_DAYS} sessions or more")
    grids = {n: _grid(frame[statistic], frame[days]) for n, frame in by_month.items()}
    counts = {name: _grid(frame[days], frame[days]) for name, frame in by_month.items()}
    solid = {name: grids[name].where(counts[name] >= _FEW_DAYS) for name in grids}
    years = max(len(grid) for grid in grids.values())
    values = np.concatenate([grid.to_numpy().ravel() for grid in solid.values()])
    magnitudes = np.abs(values[np.isfinite(values)])
    # One wild month must not pale all others.
    top = max(float(np.quantile(magnitudes, 0.95)), 1e-3) if len(magnitudes) else 1.0
    with style():
        fig = new_figure(
            (0.24 * years + 0.65) * len(grids) + 0.4, f"Mean {label} by month, in hundredths"
        )
        axes = fig.subplots(len(grids), 1, squeeze=False)[:, 0]
        for ax, (name, grid) in zip(axes, grids.items(), strict=True):
            table, solid_values = grid.to_numpy(), solid[name].to_numpy()
            ax.imshow(solid_values, cmap="RdBu", vmin=-top, vmax=top, aspect="auto")
            for (row, column), value in np.ndenumerate(table):
                if math.isfinite(value):
                    color = "white" if abs(value) > 0.6 * top else "#222222"
                    color = color if math.isfinite(solid_values[row, column]) else GREY
                    ax.text(column, row, signed(value * 100, 1), ha="center", va="center",
                            fontsize=8, color=color)  # fmt: skip
            ax.set_xticks(range(table.shape[1]), [*MONTHS, "year"])
            ax.set_yticks(range(len(grid)), [str(year) for year in grid.index])
            ax.axvline(11.5, color="white", linewidth=4)
            ax.grid(visible=False)
            ax.tick_params(length=0)
            for spine in ax.spines.values():
                spine.set_visible(False)
            month_mask = by_month[name][days] >= _FEW_DAYS
            ics = by_month[name].loc[month_mask, statistic].dropna()
            share = f", positive in {(ics > 0).mean():.0%} of months" if len(ics) else ""
            ax.set_title(f"{name}{share}")
    return fig


def plot_quantile_curves(sessions: Mapping[str, pd.DataFrame]) -> Figure:
    """Plot the running sum of each score quantile's return above the mean of all names.

    Args:
        sessions: by model: one row a session (DatetimeIndex) with q1 ... qQ and `mean_label`,
            simple returns a session.

    Returns:
        The figure, one panel a model; a good signal opens like a fan.

    Raises:
        ValueError: no model, or a frame without the columns or dates.

    Examples:
        >>> len(plot_quantile_curves({"planted": analysis.sessions}).axes)
        1
    """
    need_frames(sessions, ("q1", "q2", "mean_label"))
    columns = 2 if len(sessions) in (2, 4) else min(len(sessions), _PANELS_A_ROW)
    columns += len(sessions) > MOST_CURVES
    rows = math.ceil(len(sessions) / columns)
    with style():
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        fig = new_figure(
            (1.9 if is_many(sessions) else 2.6) * rows + 0.8,
            "Running sum of returns by score quantile, less the mean of all names",
        )
        axes = fig.subplots(rows, columns, sharey=True, squeeze=False)
        # Each on its own dates: matplotlib would share the locator with hidden panels.
        for ax in axes.ravel()[len(sessions) :]:
            ax.set_visible(False)
        handles: Mapping[str, Any] = {}
        for k, (name, frame) in enumerate(sessions.items()):
            ax = axes.ravel()[k]
            frame = frame.sort_index()
            names = quantile_columns(frame)
            scale = colormaps["RdYlBu"](np.linspace(0.05, 0.95, len(names)))
            shades = [_dark(to_hex(shade)) for shade in scale]
            for column, shade in zip(names, shades, strict=True):
                above = (frame[column] - frame["mean_label"]) * 100
                if above.notna().any():
                    draw_line(ax, above.fillna(0).cumsum(), color=shade, label=column)
            ax.axhline(0, color=GREY, linewidth=0.8)
            spread = (frame[names[-1]] - frame[names[0]]).sum() * 100
            text = f"{names[-1]} − {names[0]} {signed(spread, 1, '%')}"
            if is_many(sessions):
                panel_title(ax, name, text)
            else:
                ax.set_title(f"{name}: {text}")
            if k % columns == 0:
                ax.set_ylabel("sum of returns (%)")
            entries = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
            handles = entries if len(entries) > len(handles) else handles
            if not entries:
                say(ax, "no quantile returns")
            time_axis(ax, [frame.index], most_ticks=MOST_TICKS if columns <= 2 else 4)
        if handles:
            texts = list(handles)
            texts[0] += " (lowest scores)"
            texts[-1] += " (highest scores)"
            fig.legend(handles.values(), texts, loc="outside lower center", ncol=len(texts))
    return fig


def plot_decay(
    decays: Mapping[str, pd.DataFrame], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot IC and rank IC against the returns of longer holding periods.

    Args:
        decays: by model: the table `decay` of `signal_analysis`.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; bands are 95% intervals. Of more than eight models a panel each, rank IC only.

    Raises:
        ValueError: no model, or a table without the columns.

    Examples:
        >>> len(plot_decay({"planted": analysis.decay}).axes)
        2
    """
    need_frames(decays, ("ic", "ic_se_nw", "rank_ic", "rank_ic_se_nw"), dates=False)
    if is_many(decays):
        return plot_multiples(
            {name: table["rank_ic"] for name, table in decays.items()},
            "Decay: rank IC against the return from close t+1 to close t+1+h",
            "mean rank IC",
            x="h, sessions held",
        )
    colors = colors or model_colors(decays)
    with style():
        steps = sorted({int(h) for table in decays.values() for h in table.index})
        fig = new_figure(3.7, "Decay: IC against the return from close t+1 to close t+1+h")
        panels = fig.subplots(1, 2, sharey=True)
        for ax, column, title in zip(panels, ("ic", "rank_ic"), ("IC", "Rank IC"), strict=True):
            for name, table in decays.items():
                if not table[column].notna().any():
                    continue
                mean, half = table[column], Z95 * table[f"{column}_se_nw"]
                ax.plot(table.index, mean, color=colors[name], marker=".", label=name)
                ax.fill_between(
                    table.index, mean - half, mean + half, color=colors[name], alpha=0.12, lw=0
                )
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set_xlabel("h, sessions held")
            ax.set_xticks([h for h in steps if len(steps) <= 10 or h == 1 or h % 5 == 0])
            title_and_legend(ax, f"{title}, band: 95% interval", characters=60)
            if not ax.get_legend_handles_labels()[0]:
                say(ax, "no horizon with a defined IC")
        panels[0].set_ylabel("mean over sessions")
    return fig


def plot_turnover(
    sessions: Mapping[str, pd.DataFrame],
    *,
    rolling_sessions: int = 20,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Plot the turnover of the best names, and the correlation of successive rankings.

    Args:
        sessions: by model: one row a session (DatetimeIndex), `turnover` and `autocorrelation`.
        rolling_sessions: width of the rolling mean that is drawn.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; legends give the mean over all sessions. Of more than eight models a panel
        each, turnover only.

    Raises:
        ValueError: no model, or a frame without the columns or dates.

    Examples:
        >>> len(plot_turnover({"planted": analysis.sessions}).axes)
        2
    """
    need_frames(sessions, ("turnover", "autocorrelation"))
    width = max(rolling_sessions // 2, 1)
    if is_many(sessions):
        shares = {name: frame["turnover"].sort_index() * 100 for name, frame in sessions.items()}
        return plot_multiples(
            {n: s.rolling(rolling_sessions, min_periods=width).mean() for n, s in shares.items()},
            f"Turnover: share of the top quantile that is new, mean of {rolling_sessions} sessions",
            "% of names",
            texts={name: f"{share.mean():.0f}%" for name, share in shares.items()},
        )
    colors = colors or model_colors(sessions)
    with style():
        fig = new_figure(4.1, f"Stability of the scores, means of {rolling_sessions} sessions")
        panels = fig.subplots(2, 1, sharex=True)
        # One panel for each of the two statistics, all models in both.
        for ax, column, scale, unit, title, form in zip(
            panels,
            ("turnover", "autocorrelation"),
            (100.0, 1.0),
            ("% of names", "correlation"),
            (
                "Turnover: share of the top quantile that is new (legend: mean)",
                "Rank correlation of the scores with those of the session before (legend: mean)",
            ),
            ("{:.0f}%", "{:.2f}"),
            strict=True,
        ):
            for name, frame in sessions.items():
                values = frame[column].sort_index() * scale
                mean = values.rolling(rolling_sessions, min_periods=width).mean()
                if mean.notna().any():
                    text = f"{name} {form.format(values.mean())}".replace("-", "\u2212")
                    draw_line(ax, mean, color=colors[name], label=text)
            ax.set_ylabel(unit)
            title_and_legend(ax, title)
            if not ax.get_legend_handles_labels()[0]:
                say(ax, "too few sessions in a row")
        if any(frame["autocorrelation"].min() < 0 for frame in sessions.values()):
            panels[1].axhline(0, color=GREY, linewidth=0.8)
        time_axis(panels[-1], [frame.index for frame in sessions.values()])
    return fig


def plot_groups(
    by_group: Mapping[str, pd.DataFrame], *, colors: Mapping[str, str] | None = None
) -> Figure:
    """Plot the rank IC inside each group of names.

    Args:
        by_group: by model: the table `by_group` of `signal_analysis`.
        colors: by model; None for `model_colors`.

    Returns:
        The figure; lines are 95% intervals. More than eight models have a row each in one matrix.

    Raises:
        ValueError: no model, or a table without the columns.

    Examples:
        >>> halves = {name: "first" if name < "S0016" else "second" for name in bars["instrument"]}
        >>> table = signal_analysis(scores, labels, groups=halves).by_group
        >>> len(plot_groups({"planted": table}).axes)
        1
    """
    need_frames(by_group, ("rank_ic", "rank_ic_se_nw", "names"), dates=False)
    if is_many(by_group):
        table = pd.DataFrame({name: frame["rank_ic"] for name, frame in by_group.items()}).T
        return plot_matrix(table.reindex(list(by_group)), "Mean rank IC inside groups of names")
    colors = colors or model_colors(by_group)
    groups = list(dict.fromkeys(g for table in by_group.values() for g in table.index))
    with style():
        height = max(0.16 * len(groups) * (len(by_group) + 0.7), 0.8) + 1.1
        fig = new_figure(height, "Rank IC inside groups of names, with 95% intervals")
        ax = fig.subplots()
        for k, (name, table) in enumerate(by_group.items()):
            rows = table.reindex(groups)
            positions = np.arange(len(groups)) + (k - (len(by_group) - 1) / 2) * 0.8 / len(by_group)
            _interval(ax, rows["rank_ic"], rows["rank_ic_se_nw"], positions, colors[name], name)
        first = next(iter(by_group.values())).reindex(groups)["names"]
        ticks = [f"{group} ({n:.0f} names)" for group, n in first.items()]
        _forest(ax, ticks, "mean rank IC")
        title_and_legend(ax, "Every group is a cross-section of its own")
    return fig


def _interval(ax: Axes, mean: pd.Series, error: pd.Series, at: Any, color: str, label: str) -> None:
    mask = mean.notna().to_numpy()
    half = (Z95 * error).fillna(0).to_numpy()
    ax.errorbar(
        mean[mask], at[mask], xerr=half[mask], fmt="o", markersize=5, color=color, label=label,
        elinewidth=1.6, capsize=0,
    )  # fmt: skip


def _forest(ax: Axes, ticks: list[str], what: str) -> None:
    ax.set_yticks(range(len(ticks)), ticks)
    ax.set_ylim(len(ticks) - 0.4, -0.6)  # the first on top
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(what)


def _grid(monthly: pd.Series, days: pd.Series) -> pd.DataFrame:
    """Arrange months 1 ... 12 by year, with the year's mean weighted by sessions."""
    month = pd.PeriodIndex(monthly.index.astype(str), freq="M")
    years = range(int(month.year.min()), int(month.year.max()) + 1) if len(month) else range(1)
    table = np.full((len(years), 13), np.nan)
    table[month.year - years[0], month.month - 1] = monthly.to_numpy(dtype=np.float64)
    weights = np.zeros((len(years), 12))
    weights[month.year - years[0], month.month - 1] = days.to_numpy(dtype=np.float64)
    for row, weight in zip(table, weights, strict=True):
        mask = np.isfinite(row[:12]) & (weight > 0)
        if mask.any():
            row[12] = np.average(row[:12][mask], weights=weight[mask])
    return pd.DataFrame(table, index=list(years))


def _dark(color: str) -> str:
    """Darken a pale colour enough for a line on white."""
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    light = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    share = min(0.62 / light, 1.0)
    return f"#{int(red * share):02x}{int(green * share):02x}{int(blue * share):02x}"
