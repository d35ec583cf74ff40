"""Bounds of ranges of sessions: one rule at every entrance of the library.

Oracle: days written out by hand.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha158,
    DataHandlerLP,
    DatasetH,
    TimeRangeFlt,
    TSDataSampler,
    TSDatasetH,
    Universe,
)
from rnn_core.data.processors import RobustZScoreNorm
from rnn_core.data.steps import build_steps
from rnn_core.panel.session_labels import session_bound, session_day
from tests.rnn_core.panel.test_session_labels import BARS, DAYS, FRAME


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2022-01-03", "2022-01-03"),
        ("20220103", "2022-01-03"),
        ("2022/1/3", "2022-01-03"),
        ("2022-02", "2022-02-01"),
        ("2022", "2022-01-01"),
        ("2022-01-03 09:30", "2022-01-03 09:30"),
        (datetime.date(2022, 1, 3), "2022-01-03"),
        (pd.Timestamp("2022-01-03 16:00"), "2022-01-03 16:00"),
        (np.datetime64("2022-01-03"), "2022-01-03"),
    ],
)
def test_bounds(given: Any, moment: str) -> None:
    assert session_bound(given) == pd.Timestamp(moment)


BAD_BOUNDS = [
    (20220103, TypeError, "20220103 is no date but a number: .*format='%Y%m%d'"),
    (2016, TypeError, "2016 is no date but a number"),
    (1641168000.0, TypeError, "unit='s'"),
    (float("nan"), TypeError, "nan is no date"),
    (pd.NaT, ValueError, "missing date"),
    (pd.Timestamp("2022-01-03", tz="UTC"), ValueError, "has a time zone"),
    ("2022-01-03T00:00:00Z", ValueError, "has a time zone"),
    (pd.Period("2022-01"), TypeError, "no date"),
    ("03/01/2022", ValueError, "no date that begins with its year"),
    ("today", ValueError, "no date that begins with its year"),
    ("", ValueError, "no date that begins with its year"),
    ("2022-13-01", ValueError, "month must be in 1..12"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_BOUNDS)
def test_bounds_that_are_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        session_bound(given)
    for entrance in (
        lambda: DataHandlerLP(FRAME).fetch(slice(given, None)),
        lambda: Alpha158(bars=BARS, end_time=given),
        lambda: DatasetH(DataHandlerLP(FRAME), {"test": (given, None)}),
        lambda: TSDataSampler(FRAME, given, None, 2),
        lambda: TSDataSampler(FRAME, None, None, 2)[given, "A"],
        lambda: RobustZScoreNorm(given, "2022-02-01", "feature"),
        lambda: Universe(pd.DataFrame({"instrument": ["A"], "start": [None], "end": ["2022"]}))
        .members(given),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            entrance()


def test_a_bound_with_a_time_of_day_excludes_the_midnight_before_it() -> None:
    handler = DataHandlerLP(FRAME)
    rows = handler.fetch(slice(pd.Timestamp("2022-01-04 09:30"), "2022-01-06"))
    assert rows.index.get_level_values(0).unique().day.tolist() == [5, 6]


def test_spans_of_a_universe_are_bounds() -> None:
    spans = pd.DataFrame({"instrument": ["A"], "start": [20220103], "end": [None]})
    with pytest.raises(ValueError, match=r"row 0: the start of A is 20220103.*format='%Y%m%d'"):
        Universe(spans)
    late = Universe(spans.assign(start="2022-01-04 09:30"))
    assert late.mask(DAYS[:4], ["A"]).tolist() == [[False, False, True, True]]


PERIODS = [("2022", "2022-12-31"), ("2022-02", "2022-02-28"), ("2024/2", "2024-02-29")]


@pytest.mark.parametrize(("period", "day"), PERIODS)
def test_a_period_ends_a_range_on_its_last_day(period: str, day: str) -> None:
    assert session_bound(period, last=True) == pd.Timestamp(day)
    for label in ("2022-01-03", "20220103", "2022-01-03 09:30"):
        assert session_bound(label, last=True) == session_bound(label)


def test_a_month_ends_with_its_last_session_at_every_entrance() -> None:
    """Oracle: the same calls with the last day of the month."""

    def answers(end: str) -> dict[str, Any]:
        handler, segment = DataHandlerLP(FRAME), {"test": ("2022-01", end)}
        spans = pd.DataFrame({"instrument": ["A"], "start": ["2022-01"], "end": [end]})
        survivors = TimeRangeFlt("2022-01-03", end, looks_ahead=True)
        norm = RobustZScoreNorm("2022-01", end, "feature").fit(FRAME)
        step = {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature"}}
        window = {"fit_start_time": "2022-01", "fit_end_time": end, "semantics": "strict"}
        return {
            "fetch": handler.fetch(slice(None, end)).index,
            "handler": Alpha158(bars=BARS, end_time=end).fetch().index,
            "rows": DatasetH(handler, segment).prepare("test").index,
            "windows": TSDatasetH(handler, segment, 2).prepare("test").get_index(),
            "sampler": TSDataSampler(FRAME, None, end, 2).get_index(),
            "universe": Universe(spans).mask(DAYS, ["A"]).tolist(),
            "survivors": survivors.end_time,
            "fit": (norm.fit_end_time, norm.centre.tolist()),
            "step": build_steps([step], "infer", window)[0].kwargs(),
        }

    by_period, by_day = answers("2022-02"), answers("2022-02-28")
    for name, want in by_day.items():
        got = by_period[name]
        assert got.equals(want) if isinstance(want, pd.Index) else got == want, name
    assert by_day["fetch"].get_level_values(0).max() == pd.Timestamp("2022-02-28")


def test_a_fit_window_may_be_said_in_both_ways() -> None:
    kwargs = {"fields_group": "feature", "fit_end_time": "2022-02"}
    step = {"class": "RobustZScoreNorm", "kwargs": kwargs}
    window = {"fit_start_time": None, "fit_end_time": "2022-02-28", "semantics": "strict"}
    assert build_steps([step], "infer", window)[0].kwargs()["fit_end_time"] == "2022-02-28"
    with pytest.raises(ValueError, match="state it once, or alike"):
        build_steps([step], "infer", {**window, "fit_end_time": "2022-02-01"})


def test_one_session_is_no_period() -> None:
    universe = Universe(pd.DataFrame({"instrument": ["A"], "start": ["2022"], "end": ["2022"]}))
    assert universe.members("2022-12-30") == ["A"]
    for call in (
        session_day,
        universe.members,
        lambda d: TSDataSampler(FRAME, None, None, 2)[d, "A"],
    ):
        with pytest.raises(ValueError, match="'2022-02' is a whole period, expected one day"):
            call("2022-02")
        with pytest.raises(TypeError, match="the date is None, expected one day"):
            call(None)
