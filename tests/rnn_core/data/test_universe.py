"""Universe: membership by session. Oracle: each span compared with each session, one by one."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_core.data import Universe

SESSIONS = pd.bdate_range("2020-01-01", periods=12)
DAY = st.integers(0, 20).map(lambda k: pd.Timestamp("2019-12-28") + pd.Timedelta(days=k))
SPAN = st.tuples(st.sampled_from("ABC"), DAY, DAY).map(lambda s: (s[0], *sorted(s[1:])))


def write(tmp_path, text):
    path = tmp_path / "csi.txt"
    path.write_text(text)
    return path


@given(st.lists(SPAN, min_size=1, max_size=6))
def test_mask_is_membership_span_by_span(spans):
    universe = Universe(pd.DataFrame(spans, columns=["instrument", "start", "end"]))
    names = ["D", "B", "A"]
    want = [
        [any(c == name and a <= day <= b for c, a, b in spans) for day in SESSIONS]
        for name in names
    ]
    np.testing.assert_array_equal(universe.mask(SESSIONS, names), want)
    for day in SESSIONS:
        assert universe.members(day) == sorted({c for c, a, b in spans if a <= day <= b})


def test_a_file_has_several_spans_a_code_and_both_ends(tmp_path):
    text = "B\t2020-01-03\t2020-01-07\n\nA\t2020-01-01\t2099-12-31\nB\t2020-01-10\t2020-01-10\n"
    universe = Universe.from_file(write(tmp_path, text))
    mask = universe.mask(SESSIONS, ["A", "B", "C"])
    assert mask.shape == (3, 12)
    assert mask[0].all()
    held = SESSIONS[mask[1]].strftime("%m-%d").tolist()
    assert held == ["01-03", "01-06", "01-07", "01-10"]
    assert not mask[2].any()
    assert universe.instruments == ["A", "B"]
    assert len(universe) == 3
    assert repr(universe) == "Universe('csi.txt', 3 spans of 2 instruments)"


def test_dates_of_any_kind_and_open_ends():
    spans = pd.DataFrame(
        {
            "instrument": ["A", "B", "C"],
            "start": [datetime.date(2020, 1, 3), None, "2020-01-06"],
            "end": ["2020-01-06", "2020-01-02", None],
        }
    )
    mask = Universe(spans).mask(SESSIONS, ["A", "B", "C"])
    assert SESSIONS[mask[0]].day.tolist() == [3, 6]
    assert SESSIONS[mask[1]].day.tolist() == [1, 2]
    assert SESSIONS[mask[2]].day.tolist() == [6, 7, 8, 9, 10, 13, 14, 15, 16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\t2020-01-01\t2020-02-01\nB 2020-01-01 2020-02-01\n", r"line 2: 'B 2020.* has 1 fields"),
        ("A\t2020-01-01\t\n", r"csi\.txt, line 1: .* expected three: code, start, end"),
        ("\n\nA\t2020-13-01\t2020-02-01\n", r"line 3: the start of A is '2020-13-01', expected"),
        ("A\t2020-01-01\tnever\n", r"line 1: the end of A is 'never', expected a date"),
        ("A\t2020-02-01\t2020-01-01\n", r"line 1: A ends on 2020-01-01, before it starts"),
        ("\n", r"csi\.txt holds no span"),
    ],
)
def test_errors_of_a_file_name_the_line(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Universe.from_file(write(tmp_path, text))


def test_errors_of_a_frame():
    good = pd.DataFrame({"instrument": ["A"], "start": ["2020-01-01"], "end": ["2020-02-01"]})
    with pytest.raises(ValueError, match=r"lacks the columns \['end'\]"):
        Universe(good.drop(columns="end"))
    with pytest.raises(ValueError, match="row 0: the code is 600000, expected text"):
        Universe(good.assign(instrument=600000))
    zoned = good.assign(start=pd.to_datetime(good["start"]).dt.tz_localize("UTC"))
    with pytest.raises(ValueError, match=r"row 0: the start of A is .* has a time zone"):
        Universe(zoned)
    with pytest.raises(ValueError, match="must be sorted"):
        Universe(good).mask(SESSIONS[::-1], ["A"])
    with pytest.raises(FileNotFoundError):
        Universe.from_file("nowhere.txt")
