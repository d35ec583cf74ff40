"""The figures of the reports: IC over time, quantile returns, loss curves, portfolios.

What: each function takes frames by model and returns a `matplotlib.figure.Figure` of 900 pixels
width. Titles say what is shown and give the figures people look for, axes carry units, a model has
the same colour everywhere (`rnn_core.evaluation.render`).
Returns accumulate by addition, as in qlib's reports: a straight line is a steady edge.
Little data is a normal case, not an error: one session, no defined IC, a quantile nobody fell
into; a panel without anything to draw says so.

Shapes: `T` sessions, `Q` quantiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.render import (
    GREY,
    draw_line,
    model_colors,
    new_figure,
    say,
    signed,
    style,
    time_axis,
    title_and_legend,
)
from rnn_core.evaluation.signal import summarize_ic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 8  # more curves than this get a colour scale instead of a legend entry each


def plot_ic(evaluations: Mapping[str, pd.DataFrame], *, rolling_sessions: int = 20) -> Figure:
    """Daily IC with its rolling mean, one panel a model, and the running sum of all below.

    Args:
        evaluations: by model: one row per session (DatetimeIndex) with `ic` and `rank_ic`.
        rolling_sessions: width of the rolling mean, drawn from half that many sessions on.

    Returns:
        The figure.

    Raises:
        ValueError: no model, or a frame without the columns or without dates.
    """
    _need(evaluations, ("ic", "rank_ic"))
    colors = model_colors(evaluations)
    with style():
        fig = new_figure(
            1.75 * len(evaluations) + 2.7,
            "Information coefficient (IC): correlation of scores with the returns that followed",
        )
        rows = len(evaluations) + 1
        axes = fig.subplots(
            rows, 1, sharex=True, squeeze=False, height_ratios=[1] * (rows - 1) + [1.3]
        )[:, 0]
        largest = max(_largest(frame["ic"]) for frame in evaluations.values())
        for ax, (name, frame) in zip(axes, evaluations.items(), strict=False):
            ic = frame["ic"].sort_index()
            summary = summarize_ic(frame)
            ax.set_title(f"{name}: {_ic_text(summary, len(ic))}")
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
                ax.legend(loc="upper right", ncol=2, bbox_to_anchor=(1, 1.2), borderaxespad=0)
        for name, frame in evaluations.items():
            ic = frame["ic"].sort_index()
            if ic.notna().any():
                total = ic.fillna(0).cumsum()
                text = f"{name} {signed(_last(total), 2)}"
                draw_line(axes[-1], total, color=colors[name], label=text)
        axes[-1].axhline(0, color=GREY, linewidth=0.8)
        axes[-1].set_ylabel("sum of IC")
        title_and_legend(axes[-1], "Running sum of daily IC")
        if not axes[-1].get_legend_handles_labels()[0]:
            say(axes[-1], "nothing to sum")
        time_axis(axes[-1], [frame.index for frame in evaluations.values()])
    return fig


def plot_quantile_returns(evaluations: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean return of each score quantile, and the running sum of top minus bottom.

    Args:
        evaluations: by model: one row per session (DatetimeIndex) with `q1` ... `qQ` and
            `long_short`, simple returns of the label's holding period.

    Returns:
        The figure; bars carry one standard error of the mean.

    Raises:
        ValueError: no model, or a frame without the columns or without dates.
    """
    _need(evaluations, ("q1", "q2", "long_short"))
    colors = model_colors(evaluations)
    with style():
        fig = new_figure(3.9, "Returns by score quantile")
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.15])
        count = max(len(_quantiles(frame)) for frame in evaluations.values())
        width = 0.8 / len(evaluations)
        drawn = False
        for k, (name, frame) in enumerate(evaluations.items()):
            values = frame[_quantiles(frame)] * 1e4  # (T, Q) basis points
            at = np.arange(values.shape[1]) + (k - (len(evaluations) - 1) / 2) * width
            mean, error = values.mean(), values.sem()
            if not mean.notna().any():
                continue
            drawn = True
            left.bar(at, mean, width * 0.92, color=colors[name], label=name)
            seen = error.notna().to_numpy()
            left.errorbar(
                at[seen], mean[seen], error[seen], fmt="none", ecolor="#333333", elinewidth=0.8,
                capsize=1.5,
            )  # fmt: skip
        left.axhline(0, color=GREY, linewidth=0.8)
        left.set_xticks(range(count), _quantile_ticks(count))
        left.grid(visible=False, axis="x")
        left.set_ylabel("mean return (basis points)")
        left.margins(y=0.08)
        left.set_xlim(-0.6, count - 0.4)
        title_and_legend(left, "Mean per session, ± one standard error", characters=60)
        if not drawn:
            say(left, "no quantile returns")
        for name, frame in evaluations.items():
            spread = frame["long_short"].sort_index() * 100  # (T,) percent
            if spread.notna().any():
                total = spread.fillna(0).cumsum()
                text = f"{name} {signed(_last(total), 1, '%')}"
                draw_line(right, total, color=colors[name], label=text)
        right.axhline(0, color=GREY, linewidth=0.8)
        right.set_ylabel("sum of returns (%)")
        title_and_legend(right, "Top minus bottom quantile, running sum, no costs", characters=60)
        time_axis(right, [frame.index for frame in evaluations.values()])
        if not right.get_legend_handles_labels()[0]:
            say(right, "no session with both quantiles")
    return fig


def plot_loss_curves(
    histories: Mapping[str, pd.DataFrame],
    *,
    train: str = "train_loss",
    valid: str = "valid_score",
    epoch: str = "epoch",
) -> Figure:
    """Training loss and validation score by epoch, the best epoch marked.

    Args:
        histories: by label (a model, or one training of it): one row an epoch. The epoch is the
            column `epoch` or, without it, the index.
        train: column of the training loss; lower is better.
        valid: column of the validation score; higher is better.
        epoch: column of the epoch number.

    Returns:
        The figure. More than eight labels are coloured from first to last on one scale.

    Raises:
        ValueError: no history, or a frame without the columns.
    """
    _need(histories, (train, valid), dates=False)
    many = len(histories) > _MOST_LABELS
    with style():
        from matplotlib import colormaps
        from matplotlib.colors import to_hex
        from matplotlib.ticker import MaxNLocator

        colors = model_colors(histories)
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
            shown = text if not many or name in ends else "_nolegend_"
            for ax, column in zip(panels, (train, valid), strict=True):
                marker = "." if len(x) <= 40 and not many else ""
                ax.plot(x, history[column], color=colors[name], marker=marker, label=shown)
                if best is not None:
                    ax.plot(
                        x.iloc[best], history[column].iloc[best], marker="o", markersize=8,
                        markerfacecolor="white", markeredgewidth=1.8, color=colors[name],
                        linestyle="none",
                    )  # fmt: skip
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


def plot_portfolio(results: Mapping[str, PortfolioResult]) -> Figure:
    """Cumulative return after costs with the benchmark, the excess over it, and its drawdown.

    Args:
        results: by model, from `topk_dropout`. Without a benchmark (all zero) the excess is the
            return itself and has no panel of its own.

    Returns:
        The figure; all returns are summed simple returns, after costs.

    Raises:
        ValueError: no result.
    """
    _need({name: result.daily for name, result in results.items()}, ("return", "cost", "bench"))
    colors = model_colors(results)
    net = {name: (r.daily["return"] - r.daily["cost"]) * 100 for name, r in results.items()}
    bench = {name: r.daily["bench"] * 100 for name, r in results.items()}
    excess = {name: net[name] - bench[name] for name in results}
    compared = any((values != 0).any() for values in bench.values())
    with style():
        fig = new_figure(7.2 if compared else 5.2, "TopkDropout portfolio after costs")
        heights = [1.5, 1.3, 1] if compared else [1.5, 1]
        axes = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        if compared:
            _benchmarks(axes[0], bench, colors)
        panels = [(axes[0], net, "Cumulative return")]
        if compared:
            panels.append((axes[1], excess, "Cumulative return in excess of the benchmark"))
        for ax, by_name, title in panels:
            for name, series in by_name.items():
                total = series.cumsum()
                text = f"{name} {signed(_last(total), 1, '%')}"
                draw_line(ax, total, color=colors[name], label=text)
            ax.set_ylabel("sum of returns (%)")
            title_and_legend(ax, title)
        for name, series in excess.items():
            total = series.cumsum()
            fall = total - total.cummax()
            text = f"{name} {signed(float(fall.min()), 1, '%')}"
            draw_line(axes[-1], fall, color=colors[name], label=text)
            if len(excess) == 1:
                axes[-1].fill_between(fall.index, fall, 0, color=colors[name], alpha=0.12)
        axes[-1].set_ylabel("below peak (%)")
        what = "excess return" if compared else "return"
        title_and_legend(axes[-1], f"Drawdown of the cumulative {what} (legend: deepest)")
        for ax in axes:
            ax.axhline(0, color=GREY, linewidth=0.8)
        time_axis(axes[-1], [result.daily.index for result in results.values()])
    return fig


def _benchmarks(ax: Axes, bench: Mapping[str, pd.Series], colors: Mapping[str, str]) -> None:
    """One grey line where the models share their benchmark, a dashed one each where not."""
    joined = pd.concat(bench, axis=1)
    shared = joined.bfill(axis=1).iloc[:, 0]
    if joined.sub(shared, axis=0).abs().max().max() == 0:
        total = shared.cumsum()
        text = f"benchmark {signed(_last(total), 1, '%')}"
        draw_line(ax, total, color=GREY, label=text, linestyle="--")
        return
    for name, series in bench.items():
        total = series.cumsum()
        text = f"benchmark of {name} {signed(_last(total), 1, '%')}"
        draw_line(ax, total, color=colors[name], label=text, linestyle="--")


def _need(
    frames: Mapping[str, pd.DataFrame], columns: tuple[str, ...], *, dates: bool = True
) -> None:
    if not frames:
        raise ValueError(
            "nothing to plot: expected a mapping of name to frame with one name or more"
        )
    for name, frame in frames.items():
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise ValueError(f"the frame of {name!r} lacks {missing}, it has {list(frame.columns)}")
        if dates and not isinstance(frame.index, pd.DatetimeIndex):
            raise ValueError(
                f"the frame of {name!r} is indexed by {frame.index.dtype}, expected sessions: "
                "use set_index on its date column"
            )


def _last(series: pd.Series) -> float:
    return float(series.iloc[-1]) if len(series) else float("nan")


def _largest(ic: pd.Series) -> float:
    top = float(ic.abs().max()) if ic.notna().any() else 1.0
    return max(top * 1.08, 0.05)


def _ic_text(summary: Mapping[str, float | int], sessions: int) -> str:
    days = int(summary["days"])
    if not days:
        return f"{sessions} session{'s' * (sessions != 1)}, none with a defined IC"
    parts = [f"mean IC {signed(summary['ic'], 4)}"]
    if np.isfinite(summary["icir"]):
        parts += [f"ICIR {signed(summary['icir'], 2)}", f"t {signed(summary['ic_t'], 1)}"]
    if np.isfinite(summary["rank_ic"]):
        parts.append(f"rank IC {signed(summary['rank_ic'], 4)}")
    return ", ".join([*parts, f"{days} session{'s' * (days != 1)}"])


def _quantiles(frame: pd.DataFrame) -> list[str]:
    names = [str(name) for name in frame.columns if re.fullmatch(r"q\d+", str(name))]
    return sorted(names, key=lambda name: int(name[1:]))


def _quantile_ticks(count: int) -> list[str]:
    ticks = [f"q{k + 1}" for k in range(count)]
    ticks[0] += "\nlowest scores"
    ticks[-1] += "\nhighest scores"
    return ticks
