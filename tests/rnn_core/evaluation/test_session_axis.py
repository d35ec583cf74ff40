"""The axis of sessions; the oracle is the calendar, counted by hand or by pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation.render import new_figure, style, time_axis
from rnn_core.evaluation.session_axis import (
    FEWEST_TICKS,
    MOST_TICKS,
    scale_of,
    tick_levels,
    ticks_of,
)


def golden_week() -> pd.DatetimeIndex:
    """Sixty weekdays around a closure of two weeks."""
    days = pd.bdate_range("2019-11-20", periods=70)
    return days[(days < "2020-01-20") | (days > "2020-02-03")]


def test_a_closure_is_as_wide_as_one_session():
    days = golden_week()
    forward, back = scale_of(days)
    dates = days.to_numpy("datetime64[D]").astype(float)
    np.testing.assert_array_equal(forward(dates), np.arange(len(days)))
    np.testing.assert_array_equal(back(forward(dates)), dates)
    assert forward(dates[0] - 3) == -3  # beyond the ends a day is a session
    assert forward(dates[-1] + 2) == len(days) + 1


def test_a_picture_shows_sessions_at_equal_distances():
    """Read back in pixels from the drawn curve, on a panel that shares the axis, too."""
    days = golden_week()
    with style():
        fig = new_figure(3.0, "closure")
        axes = fig.subplots(2, 1, sharex=True)
        lines = [ax.plot(days, np.arange(len(days)))[0] for ax in axes]
        time_axis(axes[-1], [days])
        fig.canvas.draw()
        for ax, line in zip(axes, lines, strict=True):
            points = np.column_stack([line.get_xdata(orig=False), line.get_ydata()])
            pixels = ax.transData.transform(points)[:, 0]
            np.testing.assert_allclose(np.diff(pixels), np.diff(pixels)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "sessions", "labels"),
    [
        ("2020-01-02", 1, ["2 Jan\n2020"]),
        ("2019-12-30", 5, ["30 Dec\n2019", "31 Dec", "1 Jan\n2020", "2 Jan", "3 Jan"]),
        ("2012-01-02", 260, ["Jan\n2012", "Apr", "Jul", "Oct"]),
        ("2010-01-01", 1300, ["2010", "2011", "2012", "2013", "2014"]),
    ],
)
def test_labels_are_days_months_or_years(start, sessions, labels):
    assert [text for _, text in ticks_of(pd.bdate_range(start, periods=sessions))] == labels


@pytest.mark.parametrize("sessions", [2, 12, 45, 300, 1500, 9000, 30_000])
def test_any_span_has_few_labels_at_first_sessions_of_periods(sessions):
    days = pd.bdate_range("1930-11-17", periods=sessions)
    ticks = ticks_of(days)
    assert min(sessions, FEWEST_TICKS) <= len(ticks) <= MOST_TICKS
    assert str(days[ticks[0][0]].year) in ticks[0][1]  # the first says its year
    month = days.to_period("M")
    for tick in tick_levels(days)[2][1:]:
        assert month[tick.session] != month[tick.session - 1]


def test_a_first_period_that_is_a_stub_has_no_label_in_the_next_ones_way():
    days = pd.bdate_range("2012-12-24", periods=1300)
    assert next(text for _, text in ticks_of(days)) == "2013"


def test_nothing_has_no_ticks():
    assert ticks_of(pd.DatetimeIndex([])) == []
