"""Served or backfilled. Oracle: the exchange's opening times, 9:30 in New York."""

from __future__ import annotations

import dagster as dg
import pandas as pd
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.events import StepMaterializationData

from pipelines.assets.stages import stages
from pipelines.instance.materializations import first_made
from pipelines.staleness.served import Served, served_sessions
from tests.pipelines.conftest import key_of, make_market

THURSDAY, MONDAY = "2020-04-09", "2020-04-13"  # Good Friday lies between them


def made_at(instance, key, when, asset="lstm_prediction"):
    """A materialization on record at a time of New York."""
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        event_specific_data=StepMaterializationData(
            dg.AssetMaterialization(asset_key=key_of(asset), partition=key)
        ),
        job_name="",
    )
    stamp = pd.Timestamp(when, tz="America/New_York").timestamp()
    instance.report_dagster_event(event, run_id="", timestamp=stamp)


@pytest.mark.parametrize(
    ("when", "is_served"),
    [
        ("2020-04-10 00:30", True),
        ("2020-04-12 12:00", True),
        ("2020-04-13 09:30", True),
        ("2020-04-13 09:31", False),
        ("2021-01-04 10:00", False),
    ],
)
def test_a_prediction_counts_up_to_the_next_open(market, instance, when, is_served):
    """Over a holiday and a weekend the next open is Monday's."""
    made_at(instance, THURSDAY, when)
    assert served_sessions(market, instance, "lstm_prediction") == (
        {THURSDAY} if is_served else set()
    )
    assert served_sessions(market, instance, "gru_prediction") == set()


def test_the_first_time_counts(market, instance):
    """Made again a year later, the session was served all the same."""
    made_at(instance, THURSDAY, "2020-04-10 00:30")
    made_at(instance, THURSDAY, "2021-04-10 00:30")
    made_at(instance, MONDAY, "2021-04-10 00:30")
    assert served_sessions(market, instance, "lstm_prediction") == {THURSDAY}
    assert first_made(instance, key_of("lstm_prediction"))[THURSDAY].year == 2020


def test_what_belongs_to_a_served_session(market, instance):
    """Its prediction, the pointer to its model and the evaluation of it; the bundle gave scores."""
    keys = market.sessions.keys
    anchor = market.plan.first_trained
    at = keys.index(anchor)
    made_at(instance, anchor, f"{keys[at]} 20:00")
    table = {stage.name: stage for stage in stages(market)}
    served = Served(market, list(table.values()), instance)
    assert served.holds(table["lstm_prediction"], anchor)
    assert not served.holds(table["lstm_prediction"], keys[at + 1])
    assert served.holds(table["lstm_evaluation"], keys[at + market.datasets[0].label_lag])
    assert not served.holds(table["lstm_evaluation"], keys[at + market.datasets[0].label_lag + 1])
    assert served.holds(table["lstm_model"], anchor)
    assert not served.holds(table["lstm_model"], keys[at + 3])
    assert served.gave("lstm", anchor)
    assert not served.gave("gru", anchor)
    assert not served.holds(table["gru_model"], anchor)
    assert not served.holds(table["ohlcv"], anchor)
    assert not served.holds(table["dataset_infer"], anchor)


@pytest.mark.parametrize("when", ["00:30", "23:59"])
def test_a_market_round_the_clock_has_served_sessions(tmp_path, instance, when):
    """Made on the day after; 2020-04-11 a minute after the session of the 12th was over."""
    span = {"calendar": "24/7", "start": "2020-01-02", "end": "2020-05-15"}
    market = make_market(tmp_path, {"market": span})
    event_at = pd.Timestamp(f"2020-04-10 {when}", tz="UTC").tz_convert("America/New_York")
    made_at(instance, THURSDAY, event_at.tz_localize(None))
    made_at(instance, "2020-04-11", pd.Timestamp("2020-04-13 00:01") - pd.Timedelta(hours=4))
    assert served_sessions(market, instance, "lstm_prediction") == {THURSDAY}


def test_a_look_at_some_sessions_says_what_a_look_at_all_does(tmp_path, instance):
    """Over a turn of the year, with a pin. Oracle: the set of all served sessions."""
    span = {"start": "2019-06-03", "end": "2021-03-31"}
    training = {"first_trained": "2019-11-01", "pin": {"from": "2021-02-01", "as_of": "2020-03-02"}}
    fit = {"fit_start": "2019-06-10", "fit_end": "2019-10-01"}
    market = make_market(tmp_path, {"market": span, "training": training, "dataset": fit})
    keys = [key for key in market.sessions.keys if key >= "2019-11-01"]
    served_keys = {key for i, key in enumerate(keys) if i % 5 == 0 and key < "2021-03-01"}
    for key in keys[::3] + keys[::5]:
        made_at(instance, key, f"{key} 23:00" if key in served_keys else "2022-01-03 12:00")
    table, plan = {stage.name: stage for stage in stages(market)}, market.plan_of("lstm")
    whole = served_sessions(market, instance, "lstm_prediction")
    assert whole and whole <= served_keys
    last = market.last_closed()
    for key in keys[::4]:
        served = Served(market, list(table.values()), instance)
        of_anchor = [k for k in keys if plan.anchor(k) == key and k <= last]
        assert served.holds(table["lstm_prediction"], key) == (key in whole)
        assert served.gave("lstm", key) == any(k in whole for k in of_anchor)
        assert served.follows("lstm", key) == (max(whole) >= key)
        assert served.leaves_to_make("lstm", key) == (
            plan.anchor(last) == key or any(k not in whole for k in of_anchor)
        )
        assert "lstm" not in served._sessions, "all sessions were looked up"
