"""Charts of a report with hover and zoom, as text that a page embeds: IC, portfolio, holdings.

Each chart takes the place of a picture once the page's scripts run; without scripts the picture
stays. A chart is a document of Bokeh's as JSON, with its identities renamed in the order of the
text, so that the same tables give the same bytes. The data of a chart are columns by session, of
four bytes a value, and of every k-th session where there are more than `MOST_POINTS`.

Shapes: `T` sessions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnn_core.evaluation.analysis import SignalAnalysis
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import benchmark_lines, concentration
from rnn_core.evaluation.render import GREY, MOST_CURVES
from rnn_core.evaluation.session_axis import (
    FEWEST_TICKS,
    MOST_TICKS,
    sessions_of,
    tick_levels,
)

if TYPE_CHECKING:
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter
    from bokeh.plotting import figure

MOST_POINTS = 2500  # of a curve: about two a pixel of a wide screen
_ROLLING = 20  # sessions of the rolling mean of the IC, as in the picture

# Chooses the finest level of which few enough ticks are in sight, as `ticks_of` does.
_TICKER = """
const {start, end} = cb_data;
const seen = levels.map((level) => level.filter((s) => s >= start && s <= end));
let at = seen.findIndex((level) => level.length <= most);
if (at < 0) at = seen.length - 1;
if (at > 0 && seen[at].length < fewest) at -= 1;
const step = Math.max(Math.ceil(seen[at].length / most), 1);
return seen[at].filter((_, k) => k % step == 0);
"""
# The first label in sight and every first of a year carry the year.
_FORMATTER = """
const at = levels.findLastIndex((level) => ticks.every((s) => level.includes(s)));
if (at < 0) return "";
const of = (list) => list[at][levels[at].indexOf(tick)];
const before = index > 0 ? years[at][levels[at].indexOf(ticks[index - 1])] : null;
const parts = before == of(years) ? [of(texts)] : [of(texts), of(years)];
return parts.filter((part) => part).join("\\n");
"""


@dataclass(frozen=True)
class _Panel:
    """A panel of a chart: curves by name of a signal, and the style of each kind of curve.

    Attributes:
        title: of the panel.
        unit: of its vertical axis.
        curves: by name of the signal, values by session.
        form: Bokeh's format of a value in the hover.
        steps: True if a value holds from its session on.
        also: dashed curves of the same signals, by the words that tell them apart.
    """

    title: str
    unit: str
    curves: Mapping[str, pd.Series]
    form: str = "0.0"
    steps: bool = False
    also: Mapping[str, Mapping[str, pd.Series]] | None = None


def has_charts() -> bool:
    """True if Bokeh is installed, which draws the charts."""
    return find_spec("bokeh") is not None


@cache
def charts_script() -> str:
    """Return the JavaScript that a page needs once for all of its charts, 1.2 MB."""
    from bokeh.resources import Resources

    resources = Resources(mode="inline", components=["bokeh"], minified=True)
    return "\n".join(resources.js_raw)


def report_charts(
    analyses: Mapping[str, SignalAnalysis],
    portfolios: Mapping[str, PortfolioResult] | None = None,
    *,
    colors: Mapping[str, str],
) -> dict[str, str]:
    """Draw the charts of a report.

    Args:
        analyses: by model, of `signal_analysis`; the first `MOST_CURVES` are drawn.
        portfolios: by model, of a backtest.
        colors: by model.

    Returns:
        JSON for `Bokeh.embed.embed_item`, by the name of the picture that it replaces.
    """
    charts = {"ic": _ic_panels(_first(analyses))}
    if portfolios:
        results = _first(portfolios)
        charts |= {"portfolio": _portfolio_panels(results), "concentration": _holdings(results)}
    return {name: _chart(panels, colors) for name, panels in charts.items()}


def _first(items: Mapping[str, Any]) -> dict[str, Any]:
    return dict(list(items.items())[:MOST_CURVES])


def _ic_panels(analyses: Mapping[str, SignalAnalysis]) -> list[_Panel]:
    daily = {name: a.sessions["ic"].sort_index() for name, a in analyses.items()}
    ranked = {name: a.sessions["rank_ic"].sort_index() for name, a in analyses.items()}
    return [
        _Panel("Running sum of daily IC", "sum of IC",
               {n: ic.fillna(0.0).cumsum() for n, ic in daily.items() if ic.notna().any()},
               "0.00"),
        _Panel(f"Daily IC, mean of the last {_ROLLING} sessions", "IC",
               {n: ic.rolling(_ROLLING, min_periods=_ROLLING // 2).mean()
                for n, ic in daily.items()}, "0.000"),
        _Panel("Rank IC by month, mean of its sessions", "rank IC",
               {n: _monthly(ic) for n, ic in ranked.items()}, "0.000", steps=True),
    ]  # fmt: skip


def _monthly(daily: pd.Series) -> pd.Series:
    """Repeat the mean of each month on its sessions, so that a curve is a step a month."""
    month = pd.DatetimeIndex(daily.index).to_period("M")
    return daily.groupby(month).transform("mean")


def _portfolio_panels(results: Mapping[str, PortfolioResult]) -> list[_Panel]:
    gross = {name: r.daily["return"] * 100 for name, r in results.items()}
    net = {name: gross[name] - r.daily["cost"] * 100 for name, r in results.items()}
    bench = {
        n: r.daily["bench"] * 100 for n, r in results.items() if r.daily["bench"].notna().any()
    }
    lines = benchmark_lines(results)
    equity = {name: series.cumsum() for name, series in net.items()}
    equity |= {label: returns.cumsum() for label, _, returns in lines}
    before = {name: series.cumsum() for name, series in gross.items()}
    excess = {n: (net[n] - bench.get(n, 0.0)).cumsum() for n in net}
    subject = "excess" if lines else "sum"
    falls = {name: total - total.cummax() for name, total in excess.items()}
    panels = [
        _Panel("Sum of returns (dashed: before costs)", "%", equity,
               also={"before costs": before}),
    ]  # fmt: skip
    if lines:
        panels.append(_Panel("Sum of excess returns after costs", "%", excess))
    return [*panels, _Panel(f"Drawdown of the {subject} after costs", "% below its peak", falls)]


def _holdings(results: Mapping[str, PortfolioResult]) -> list[_Panel]:
    tables = {name: concentration(result) for name, result in results.items()}
    panels = [
        _Panel("Names held at the close", "names", {n: t["held"] for n, t in tables.items()}, "0"),
        _Panel("Effective number of names (1 / Herfindahl index)", "names",
               {n: t["effective"] for n, t in tables.items()}),
        _Panel("Largest position", "% of the account",
               {n: t["top_weight"] * 100 for n, t in tables.items()}),
    ]  # fmt: skip
    if any((table["suspended"] > 0).any() for table in tables.values()):
        weights = {n: t["suspended_weight"] * 100 for n, t in tables.items()}
        title = "Weight of holdings without a bar"
        panels.append(_Panel(title, "% of the account", weights))
    return panels


def _chart(panels: Sequence[_Panel], colors: Mapping[str, str]) -> str:
    """Draw panels below each other on one axis of sessions, and write them as JSON."""
    from bokeh.embed import json_item
    from bokeh.layouts import gridplot
    from bokeh.models import Legend, LegendItem, Range1d

    days = sessions_of(s.index for panel in panels for s in panel.curves.values())
    curves, source = _curves(panels, days)
    lines: dict[str, list[Any]] = {}
    extent = Range1d(-0.5, max(len(days) - 0.5, 0.5), bounds="auto", min_interval=5)
    ticker, formatter = _axis(days)
    plots = []
    for k, panel in enumerate(panels):
        plot = _plot(panel, extent, last=k == len(panels) - 1)
        plot.xaxis.ticker, plot.xgrid.ticker, plot.xaxis.formatter = ticker, ticker, formatter
        tooltips = [("session", "@day")]
        for curve in (curve for curve in curves if curve.panel == k):
            draw = partial(plot.step, mode="after") if panel.steps else plot.line
            line = draw(
                "session", curve.column, source=source, line_dash=curve.dash,
                color=colors.get(curve.signal, GREY),  # grey is the benchmark
                line_width=1.2 if curve.dash == "dashed" else 1.8,
            )  # fmt: skip
            lines.setdefault(curve.signal, []).append(line)
            tooltips.append((curve.label, f"@{curve.column}{{{panel.form}}}"))
        _hover(plot, source, tooltips)
        plots.append(plot)
    # One legend switches the curves of a signal in every panel.
    items = [LegendItem(label=_plain(name), renderers=drawn) for name, drawn in lines.items()]
    legend = Legend(
        items=items, orientation="horizontal", click_policy="hide", border_line_color=None,
        margin=0, padding=2, spacing=12, label_text_font_size="12px", ncols="auto",
    )  # fmt: skip
    plots[0].add_layout(legend, "above")
    plots[0].height += 40
    grid = gridplot(
        [[plot] for plot in plots], sizing_mode="stretch_width", toolbar_location="above",
        toolbar_options={"logo": None},
    )  # fmt: skip
    return _repeatable(json_item(grid))


@dataclass(frozen=True)
class _Curve:
    """A column of a chart's data, and how it is drawn.

    Attributes:
        panel: the number of its panel.
        signal: whose curve it is, for the colour and the legend.
        label: of its value in the hover.
        dash: of the line.
        column: its name in the data.
    """

    panel: int
    signal: str
    label: str
    dash: str
    column: str


def _curves(panels: Sequence[_Panel], days: pd.DatetimeIndex) -> tuple[list[_Curve], Any]:
    """List the curves of all panels, and lay their values out by session."""
    from bokeh.models import ColumnDataSource

    step = max(-(-len(days) // MOST_POINTS), 1)
    kept = np.unique(np.r_[np.arange(0, len(days), step), len(days) - 1])
    data: dict[str, Any] = {
        "session": kept.astype(np.int32),
        "day": [f"{day:%Y-%m-%d}" for day in days[kept]],
    }
    drawn: list[_Curve] = []
    for k, panel in enumerate(panels):
        kinds = [("", "solid", panel.curves)]
        kinds += [(f", {words}", "dashed", more) for words, more in (panel.also or {}).items()]
        for words, dash, by_signal in kinds:
            for name, series in by_signal.items():
                column = f"c{len(drawn)}"
                data[column] = series.reindex(days).to_numpy(dtype=np.float32)[kept]
                drawn.append(_Curve(k, name, f"{name}{words}", dash, column))
    return drawn, ColumnDataSource(data)


def _plot(panel: _Panel, extent: Any, *, last: bool) -> figure:
    """Create the empty panel."""
    from bokeh.models import BoxZoomTool, PanTool, ResetTool, SaveTool, WheelZoomTool
    from bokeh.plotting import figure

    zoom = BoxZoomTool(dimensions="width")
    tools = [zoom, PanTool(dimensions="width"), WheelZoomTool(dimensions="width"), ResetTool(),
             SaveTool()]  # fmt: skip
    plot = figure(
        title=panel.title, height=230, x_range=extent, tools=tools, active_drag=zoom,
        active_scroll=None, sizing_mode="stretch_width", min_border_left=58, min_border_right=12,
    )  # fmt: skip
    plot.yaxis.axis_label, plot.xaxis.visible = panel.unit, last
    plot.yaxis.axis_label_text_font_style = "normal"
    plot.outline_line_color = None
    plot.grid.grid_line_color = "#E6E6E6"
    for axis in plot.axis:
        axis.minor_tick_line_color = None
    plot.height += 40 if last else 0
    return plot


def _axis(days: pd.DatetimeIndex) -> tuple[CustomJSTicker, CustomJSTickFormatter]:
    """Build the ticks of an axis of sessions, which follow the zoom."""
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter

    levels = [level for level in tick_levels(days) if len(level) <= MOST_POINTS]
    places = [[tick.session for tick in level] for level in levels]
    ticker = CustomJSTicker(
        args={"levels": places, "most": MOST_TICKS, "fewest": FEWEST_TICKS}, major_code=_TICKER
    )
    labels = {
        "levels": places,
        "texts": [[tick.text for tick in level] for level in levels],
        "years": [[str(tick.year) for tick in level] for level in levels],
    }
    return ticker, CustomJSTickFormatter(args=labels, code=_FORMATTER)


def _hover(plot: figure, source: Any, tooltips: Sequence[tuple[str, str]]) -> None:
    """Show the values of every curve at the session under the pointer, in one box."""
    from bokeh.models import CrosshairTool, HoverTool

    first = tooltips[1][1].split("{")[0].removeprefix("@") if len(tooltips) > 1 else "session"
    anchor = plot.line("session", first, source=source, line_alpha=0.0)
    plot.add_tools(
        HoverTool(
            renderers=[anchor], mode="vline", line_policy="nearest",
            tooltips=[(_plain(label), value) for label, value in tooltips],
        ),
        CrosshairTool(dimensions="height", line_color=GREY, line_alpha=0.5),
    )  # fmt: skip


def _plain(name: str) -> str:
    """Keep a name from being read as TeX, for which a page would need the network."""
    return re.sub(r"\$\$|\\[(\[]", lambda found: "\u200b".join(found.group()), name)


def _repeatable(item: Any) -> str:
    """Write an item of Bokeh's as JSON, its identities numbered in the order of the text."""
    numbers: dict[str, str] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of_key(key, entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [renamed(entry) for entry in value]
        return value

    def of_key(key: str, value: Any) -> Any:
        if key in ("id", "root_id") and isinstance(value, str):
            return numbers.setdefault(value, f"m{len(numbers)}")
        return renamed(value)

    return json.dumps(renamed(item), separators=(",", ":"))
