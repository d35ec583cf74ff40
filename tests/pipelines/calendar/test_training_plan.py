"""Training sessions, the model in force and training windows. Oracle: the rules of leakage."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.training_plan import TrainingPlan, training_window
from pipelines.errors import ConfigError

XNYS = Sessions.of("XNYS", dt.date(2012, 1, 2), dt.date(2013, 3, 1))


def test_anchors_are_a_function_of_the_calendar():
    plan = TrainingPlan(XNYS, "2012-07-02", 63)
    trained = [k for k in XNYS.keys if plan.trains(k)]
    assert trained == ["2012-07-02", "2012-10-01", "2013-01-03"]
    assert plan.anchor("2012-06-29") is None
    assert plan.anchor("2012-07-02") == "2012-07-02"
    assert plan.anchor("2012-09-28") == "2012-07-02"
    assert plan.anchor("2013-03-01") == "2013-01-03"


def test_a_pin_rolls_back_and_trains_no_more():
    plan = TrainingPlan(XNYS, "2012-07-02", 63, pin=("2012-12-03", "2012-08-01"))
    assert plan.anchor("2012-11-30") == "2012-10-01"
    assert plan.anchor("2012-12-03") == "2012-07-02"
    assert plan.anchor("2013-02-01") == "2012-07-02"
    assert not plan.trains("2013-01-03")


@settings(max_examples=200, deadline=None)
@given(
    end=st.integers(60, len(XNYS) - 1),
    window=st.integers(21, 400),
    valid=st.integers(1, 15),
    lag=st.integers(1, 5),
    step_len=st.integers(1, 30),
)
def test_training_windows_never_overlap_in_time(end, window, valid, lag, step_len):
    """Labels of training mature before validation begins, those of validation by as-of."""
    keys = XNYS.keys
    w = training_window(
        XNYS,
        keys[end],
        window_sessions=window,
        valid_sessions=valid,
        label_lag=lag,
        step_len=step_len,
    )
    position = XNYS.position
    assert position(w.valid[1]) + lag == end
    assert position(w.valid[1]) - position(w.valid[0]) + 1 == valid
    assert position(w.train[1]) + lag < position(w.valid[0])
    assert position(w.train[1]) + lag == position(w.valid[0]) - 1
    assert w.learn[-1] == keys[end]
    assert len(w.learn) == min(window, end - lag + 1)
    assert position(w.learn[0]) == position(w.train[0]) + lag
    first_window = XNYS.window(w.train[0], step_len)
    assert w.context[0] == first_window[0]
    assert w.context[-1] == w.valid[1]


def test_too_little_history_is_an_error():
    with pytest.raises(ConfigError, match="no session to train on as of 2012-01-12"):
        training_window(
            XNYS, "2012-01-12", window_sessions=50, valid_sessions=6, label_lag=2, step_len=5
        )
