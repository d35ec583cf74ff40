"""Training sessions, the model in force and training windows. Oracle: the rules of leakage."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.training_plan import TrainingPlan, training_window
from pipelines.errors import ConfigError
from rnn_core.features import compute_features
from tests.pipelines.conftest import make_market

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


@pytest.mark.parametrize("pin", [None, ("2012-11-05", "2012-08-01"), ("2012-07-31", "2012-07-02")])
def test_the_sessions_of_an_anchor_are_those_that_it_is_the_anchor_of(pin):
    plan = TrainingPlan(XNYS, "2012-07-02", 7, pin)
    for key in XNYS.keys:
        assert plan.sessions_of(key) == tuple(k for k in XNYS.keys if plan.anchor(k) == key)
    assert plan.sessions_of("2012-07-04") == ()  # no session


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


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_purge_and_embargo_by_the_prices_that_labels_read(tmp_path, horizon):
    """No label of training reads a price of the validation's time, none of either a later one.

    Oracle: the labels themselves, computed on bars that end where the rule says they must.
    """
    label = f"Ref($close, -{horizon + 1})/Ref($close, -1) - 1"
    market = make_market(tmp_path, {"features": {"label": label}, "market": {"end": "2020-12-31"}})
    keys, lag = market.sessions.keys, market.datasets[0].label_lag
    assert lag == horizon + 1
    bars = market.source.fetch(keys).assign(date=lambda rows: pd.to_datetime(rows["date"]))
    as_of = keys[150]
    sizes = {"window_sessions": 90, "valid_sessions": 20, "step_len": 5}
    window = training_window(market.sessions, as_of, label_lag=lag, **sizes)
    last = {"train": keys[keys.index(window.valid[0]) - 1], "valid": as_of}

    def decisions(until: str) -> pd.Index:
        """The decisions whose label is known from the bars up to a session."""
        known = compute_features(bars[bars["date"] <= until], {"Y": label})["Y"].dropna()
        return known.index.get_level_values(0).unique().strftime("%Y-%m-%d")

    for part, (first, final) in (("train", window.train), ("valid", window.valid)):
        known = decisions(last[part])
        assert first in known
        assert final == known.max(), (
            "the next decision would read a later price; none is given away"
        )
    purged = keys.index(window.valid[0]) - keys.index(window.train[1]) - 1
    assert purged == lag, "as many decisions lie between, whose labels reach into the validation"
