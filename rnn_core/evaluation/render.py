"""The look of figures and their files: one palette, one style, deterministic PNG.

All modules of plots share the style and the writer of PNG files.
pyplot is not used: it keeps global figures and picks a backend from the environment; a figure made
from `matplotlib.figure.Figure` is garbage like any object and always rendered by Agg. The style is
applied with the library's defaults underneath, so a person's matplotlibrc changes nothing and the
same figure gives the same bytes on the same matplotlib.
matplotlib is imported inside the functions: the package works without it.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from rnn_core.atomic import atomic_write
from rnn_core.evaluation.session_axis import MOST_TICKS, scale_of, sessions_of, ticks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008), distinguishable with any colour vision; yellow left out, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444",
           "#882255")  # fmt: skip
# A model keeps its colour in every plot, whichever others are shown.
MODEL_COLORS = {
    "lstm": PALETTE[0], "gru": PALETTE[1], "krnn": PALETTE[2], "ensemble": "#111111",
    "linear": PALETTE[6], "lightgbm": PALETTE[5],
}  # fmt: skip
GREY = "#6E6E6E"
WIDTH_INCHES = 9.0  # 900 pixels at DPI, which a page column shows without scaling
DPI = 100
MOST_CURVES = 8  # models that one panel tells apart by colour; more get a panel each

_STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "text.parse_math": False,  # a name with two dollar signs is a name
}


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's own defaults and this package's style inside the block."""
    import matplotlib as mpl

    # The backend chooses a window system and is none of a figure's look.
    defaults = {
        key: mpl.rcParamsDefault[key]
        for key in mpl.rcParamsDefault
        if not key.startswith(("backend", "webagg", "interactive", "toolbar", "timezone"))
    }
    with mpl.rc_context(cast("Any", {**defaults, **_STYLE})):
        yield


def model_colors(names: Iterable[str]) -> dict[str, str]:
    """Choose a colour per name: fixed for the known models, the next free one for others.

    Args:
        names: model names, or labels that begin with one ("lstm 2012-03-01"); of several labels of
            one model the first has its colour.

    Returns:
        Hex colours by name; they repeat once the palette is used up.
    """
    names = list(names)
    fixed: dict[str, str] = {}
    for name in names:
        color = MODEL_COLORS.get((name.lower().split() or [""])[0])
        if color is not None and color not in fixed.values():
            fixed[name] = color
    free_colors = [color for color in PALETTE if color not in fixed.values()] or list(PALETTE)
    others = [name for name in names if name not in fixed]
    return {
        name: fixed.get(name) or free_colors[others.index(name) % len(free_colors)]
        for name in names
    }


def need_frames(
    frames: Mapping[str, pd.DataFrame], columns: Sequence[str], *, dates: bool = True
) -> None:
    """Refuse frames without the columns or dates to draw.

    Args:
        frames: by name.
        columns: that every frame must have.
        dates: True if the index must be sessions.

    Raises:
        ValueError: no frame, a missing column, or an index without dates.
    """
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


def last_value(series: pd.Series) -> float:
    """Return the last number, NaN of an empty series."""
    return float(series.iloc[-1]) if len(series) else math.nan


def new_figure(height_inches: float, title: str) -> Figure:
    """Create an empty figure of the common width with a title; call it inside `style`."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06)
    fig = _figure_class()(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout=layout)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return fig


@cache
def _figure_class() -> type[Figure]:
    """A figure that shows itself in a notebook, which asks for a PNG; pyplot is not needed."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return NotebookFigure


def draw_line(ax: Axes, series: pd.Series, *, color: str, label: str, linestyle: str = "-") -> None:
    """Draw a curve over time; a single session is a dot, since a line would not show it."""
    marker = "o" if len(series) == 1 else ""
    ax.plot(series.index, series, color=color, label=label, linestyle=linestyle, marker=marker)


def time_axis(ax: Axes, indexes: Iterable[pd.Index], *, most_ticks: int = MOST_TICKS) -> None:
    """Give every session the same width, and label months or years at their first session.

    The first label and every one that begins a year carry the year.

    Args:
        ax: a panel whose curves are drawn over dates; panels that share its axis follow.
        indexes: the sessions of all curves.
        most_ticks: number of labels that have room.
    """
    from matplotlib.dates import date2num
    from matplotlib.ticker import FixedFormatter, FixedLocator

    days = sessions_of(indexes)
    if len(days) <= 1:
        # A scale around one day would show invented days; none at all would show 1970.
        ax.set_xticks(days, [f"{day:%Y-%m-%d}" for day in days])
    else:
        ticks = ticks_of(days, most_ticks)
        at = [float(date2num(days[k])) for k, _ in ticks]  # type: ignore[no-untyped-call]
        ax.set_xscale("function", functions=scale_of(days))
        ax.xaxis.set_major_locator(FixedLocator(at))
        ax.xaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    if len(days):
        first, last = (float(date2num(day)) for day in days[[0, -1]])  # type: ignore[no-untyped-call]
        pad = max(len(days) * 0.01, 1.0)  # sessions
        ax.set_xlim(first - pad, last + pad)


def title_and_legend(ax: Axes, title: str, *, characters: int = 125) -> None:
    """Set a title, and under it the legend in rows above the panel, where it covers no curve.

    Args:
        ax: the panel, its curves labelled.
        title: of the panel.
        characters: most that fit in the panel's width.
    """
    labels = ax.get_legend_handles_labels()[1]
    entries = len(labels)
    columns = max(characters // (max(map(len, labels), default=0) + 6), 1)
    if entries:
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.005, 1.0), ncol=columns, borderaxespad=0.1,
            borderpad=0.2, columnspacing=1.4, handlelength=1.6, handletextpad=0.6,
        )  # fmt: skip
    ax.set_title(title, pad=6 + 15 * math.ceil(entries / columns))


def signed(value: float, digits: int, unit: str = "") -> str:
    """Format a number with its sign, the minus as wide as the plus; 0 has none, NaN is a dash."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}"
    text = text if float(text) else text[1:]
    return f"{text}{unit}".replace("-", "\u2212")


def say(ax: Axes, text: str) -> None:
    """Write a sentence in the middle of a panel that has nothing to draw."""
    ax.set_ylim(-1, 1)
    ax.set_yticks([0])
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},
    )  # fmt: skip


def png_bytes(fig: Figure) -> bytes:
    """Render a figure.

    Args:
        fig: any matplotlib figure.

    Returns:
        A PNG without time, host or software in it: the same figure gives the same bytes.

    Examples:
        >>> png_bytes(plot_ic({"planted": analysis.sessions}))[1:4]
        b'PNG'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # matplotlib's own requirement

    with style():
        fig.set_dpi(DPI)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()  # type: ignore[no-untyped-call]
        rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        pixels = Image.fromarray(rgba).convert("RGB")
    # 256 colours are plenty for curves on white and a third of the size.
    image = pixels.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def to_png(fig: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG; a reader sees the old file or the new one, never half of it.

    Args:
        fig: any matplotlib figure.
        path: of the file; its folder is made if need be.

    Returns:
        The path written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     to_png(plot_ic({"planted": analysis.sessions}), f"{folder}/ic.png").name
        'ic.png'
    """
    target = Path(path)
    atomic_write(target, png_bytes(fig))
    return target
