"""Pictures that are drawn once. Oracle: a function that counts what it draws."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.pipelines.drawn_once import drawn_once


def figure(height: float, label: str = "a") -> Figure:
    fig = Figure()
    fig.subplots().plot([1.0, height], label=label)
    return fig


def test_equal_figures_are_drawn_once_and_others_each():
    drawn = []
    draw = drawn_once(lambda fig: drawn.append(fig) or b"%d" % len(drawn))
    assert [draw(figure(2.0)), draw(figure(2.0))] == [b"1", b"1"]
    assert [draw(figure(3.0)), draw(figure(2.0, "b"))] == [b"2", b"3"]
    assert draw(figure(2.0)) == b"1"


def test_a_figure_that_cannot_be_compared_is_drawn():
    fig = figure(2.0)
    fig.axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, place: "one"))
    draw = drawn_once(lambda fig: b"drawn")
    assert draw(fig) == b"drawn"
