"""What reads the future and what does not: fits with an end in the past, and TimeRangeFlt, which
does and says so. Oracles: the same fit on altered data; instruments picked by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import CSRankNorm, Fillna, ProcessInf, ProcessorChain
from rnn_core.data.processors import PROCESSORS, TimeRangeFlt, make_processor

END = "2020-02-14"
RANGE = ("2020-01-04", "2020-03-21")  # two Saturdays: from Monday the 6th to Friday the 20th


def altered(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell after END replaced, some by NaN or infinity, and the last sessions cut off."""
    date = frame.index.get_level_values("datetime")
    other = frame.copy()
    other.loc[date > END] = 1e6
    other.loc["2020-02-17"] = np.nan
    other.loc["2020-02-18"] = np.inf
    return other[date <= "2020-03-10"]


@pytest.mark.parametrize("semantics", ["strict", "qlib"])
@pytest.mark.parametrize("name", ["MinMaxNorm", "ZScoreNorm", "RobustZScoreNorm"])
def test_the_future_leaves_no_trace_in_a_fitted_chain(name, semantics, frame):
    def chain() -> ProcessorChain:
        window = {"fit_start_time": None, "fit_end_time": END, "fields_group": "feature"}
        norm = make_processor(name, window | {"semantics": semantics})
        return ProcessorChain([ProcessInf("feature"), norm, Fillna("feature"), CSRankNorm("label")])

    one, other = chain(), chain()
    past = one.fit(frame).loc[:END]
    pd.testing.assert_frame_equal(other.fit(altered(frame)).loc[:END], past)
    assert one.hash == other.hash


def test_only_the_one_that_says_so_learns_without_a_fit_window():
    """A class whose state is not {} either has a fit window or is TimeRangeFlt."""
    window = {"fit_start_time": None, "fit_end_time": END}
    needs = {
        "DropCol": {"col_list": ["X"]},
        "FilterCol": {"col_list": ["X"]},
        "TimeRangeFlt": {"end_time": END, "looks_ahead": True},
    }
    for name, cls in PROCESSORS.items():
        if name.endswith("Norm") and not name.startswith("CS"):
            assert make_processor(name, window | {"fields_group": "feature"}).state() is None
        else:
            given = needs.get(name, {"fields_group": "feature"})
            assert (make_processor(name, given).state() is None) == (cls is TimeRangeFlt)


def test_time_range_asks_for_consent_and_warns(frame):
    with pytest.raises(
        ValueError, match=r"biased upwards\. Leave it out, or pass looks_ahead=True"
    ):
        TimeRangeFlt(*RANGE)
    with pytest.raises(ValueError, match="looks_ahead=True"):
        make_processor("TimeRangeFlt", {"start_time": RANGE[0], "end_time": RANGE[1]})
    chosen = TimeRangeFlt(*RANGE, looks_ahead=True)
    message = r"looks into the future: it keeps 7 of 9 instruments by rows up to 2020-03-20"
    with pytest.warns(UserWarning, match=message):
        chosen.fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once, where the choice is made
        chosen(frame)


@pytest.mark.filterwarnings("ignore:TimeRangeFlt looks into the future")
def test_time_range_keeps_what_lasts(frame):
    """I0 to I8; by the rows themselves: first at or before the 6th, last at or after the 20th."""
    days = frame.index.to_frame(index=False).groupby("instrument")["datetime"]
    first, last = days.min(), days.max()
    early, late = first <= "2020-01-06", last >= "2020-03-20"
    for given, want in (
        (RANGE, early & late),
        ((RANGE[0], None), early),
        ((None, RANGE[1]), late),
    ):
        got = TimeRangeFlt(*given, looks_ahead=True).fit(frame)(frame)
        assert got.index.unique("instrument").sort_values().tolist() == want[want].index.tolist()
        kept = frame.index.get_level_values("instrument").isin(want[want].index)
        pd.testing.assert_frame_equal(got, frame[kept])


@pytest.mark.filterwarnings("ignore:TimeRangeFlt looks into the future")
def test_time_range_keeps_its_choice_as_json(frame):
    chain = ProcessorChain([TimeRangeFlt(*RANGE, looks_ahead=True)])
    whole = chain.fit(frame)
    back = ProcessorChain.from_json(chain.to_json())
    assert back.hash == chain.hash
    session = frame.loc[["2020-02-03"]]  # alone it could not tell who lasts
    pd.testing.assert_frame_equal(back.transform(session), whole.loc[["2020-02-03"]])


def test_time_range_errors(frame):
    with pytest.raises(ValueError, match="neither start_time nor end_time"):
        TimeRangeFlt(looks_ahead=True)
    with pytest.raises(ValueError, match="swap them"):
        TimeRangeFlt(*RANGE[::-1], looks_ahead=True)
    with pytest.raises(ValueError, match="freq='1min', expected 'day'"):
        TimeRangeFlt(*RANGE, freq="1min", looks_ahead=True)
    with pytest.raises(ValueError, match="none of the frame's 60 sessions lies in"):
        TimeRangeFlt("2031-01-01", "2031-02-01", looks_ahead=True).fit(frame)
    with pytest.raises(RuntimeError, match="not fitted"):
        TimeRangeFlt(*RANGE, looks_ahead=True)(frame)
    with pytest.raises(ValueError, match=r"expected \['instruments'\]"):
        TimeRangeFlt(*RANGE, looks_ahead=True).load_state({"columns": []})
