"""The coverage figure. Oracle: cells read back from the artists, against the counts by date."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import png_bytes
from rnn_core.evaluation.plots_coverage import plot_coverage


def counts_of(start: str, sessions: int) -> pd.DataFrame:
    days = pd.bdate_range(start, periods=sessions)
    bars = np.arange(1.0, sessions + 1)
    aside = np.zeros(sessions)
    aside[5] = 3
    return pd.DataFrame({"bars": bars, "members": bars // 2, "quarantined": aside}, index=days)


def grid_of(ax) -> np.ndarray:
    """The heat map of a panel, [31, months]."""
    return np.ma.filled(ax.images[0].get_array().astype(float), np.nan)


def test_every_session_is_the_cell_of_its_month_and_day() -> None:
    counts = counts_of("2019-11-18", 80)
    fig = plot_coverage(counts)
    panels = fig.axes[:3]
    for ax, column in zip(panels[:2], ("bars", "members"), strict=True):
        grid = grid_of(ax)
        assert grid.shape == (31, 5)  # November to March
        for day, value in counts[column].items():
            month = (day.year - 2019) * 12 + day.month - 11
            assert grid[day.day - 1, month] == value, day
        assert np.isfinite(grid).sum() == len(counts)
    assert "1 to 80, median 40, last 80" in panels[0].get_title(loc="left")
    assert fig.get_suptitle() == ("Coverage: 80 sessions from 2019-11-18 to 2020-03-06, all there")


def test_sessions_that_are_not_there_are_marked_and_counted() -> None:
    counts = counts_of("2020-01-01", 30)
    counts.iloc[[3, 4]] = np.nan
    fig = plot_coverage(counts)
    assert "2 of them not there (red)" in fig.get_suptitle()
    for ax in fig.axes[:3]:
        marks = np.ma.filled(ax.images[1].get_array().astype(float), np.nan)
        day = counts.index[3].day
        assert np.isfinite(marks).sum() == 2
        assert marks[day - 1, 0] == 1.0
        assert np.isnan(grid_of(ax)[day - 1, 0])


def test_bars_set_aside_are_only_where_there_are_some() -> None:
    counts = counts_of("2020-01-01", 30)
    panel = plot_coverage(counts).axes[2]
    assert np.nansum(grid_of(panel)) == 3
    assert np.isfinite(grid_of(panel)).sum() == 1
    assert panel.get_title(loc="left") == "Bars set aside: 3 in 1 session"
    none = plot_coverage(counts.assign(quarantined=0.0)).axes[2]
    assert none.get_title(loc="left") == "Bars set aside: none"


@pytest.mark.parametrize("sessions", [0, 1, 2])
def test_little_data_is_a_normal_case(sessions: int) -> None:
    counts = counts_of("2020-01-31", 8).iloc[:sessions]
    assert png_bytes(plot_coverage(counts))[:4] == b"\x89PNG"


def test_thirty_years_fit_and_the_order_of_rows_says_nothing() -> None:
    counts = counts_of("1995-01-02", 7_800)
    png = png_bytes(plot_coverage(counts))
    assert len(png) < 200_000  # bytes: it is kept in Dagster's record
    assert png == png_bytes(plot_coverage(counts.iloc[::-1]))


def test_what_it_needs_is_named() -> None:
    counts = counts_of("2020-01-01", 8)
    with pytest.raises(ValueError, match=r"lacks \['members'\]"):
        plot_coverage(counts.drop(columns="members"))
    with pytest.raises(ValueError, match="expected sessions"):
        plot_coverage(counts.reset_index(drop=True))
