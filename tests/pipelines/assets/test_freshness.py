"""By when the UI expects scores and evaluations; weekdays counted by hand."""

from __future__ import annotations

import datetime as dt

import pytest

from pipelines.assets.freshness import deadline_cron
from pipelines.build import build_definitions
from tests.pipelines.conftest import make_market


def policies(market):
    graph = build_definitions(market).resolve_asset_graph()
    return {
        key.path[-1]: graph.get(key).freshness_policy_or_from_metadata
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy_or_from_metadata is not None
    }


def test_scores_and_evaluations_are_late_where_the_schedule_is_on(tmp_path):
    assert policies(make_market(tmp_path)) == {}
    found = policies(make_market(tmp_path, {"schedule": {"enabled": True}}))
    last = ("prediction", "evaluation", "portfolio")
    assert set(found) == {f"{model}_{kind}" for model in ("lstm", "gru", "krnn") for kind in last}
    assert {(p.deadline_cron, p.timezone) for p in found.values()} == {
        ("30 8 * * 2,3,4,5,6", "America/New_York")
    }
    assert found["gru_evaluation"].lower_bound_delta == dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("calendar", "schedule", "cron"),
    [
        ("XNYS", {"cron": "30 0 * * *"}, "30 8 * * 2,3,4,5,6"),
        ("XNYS", {"cron": "30 0 * * 1-5"}, "30 8 * * 1,2,3,4,5"),  # Friday's on Monday
        ("XETR", {"cron": "0 20 * * *"}, "0 4 * * 0,3,4,5,6"),  # past midnight: a day later
        ("24/7", {"cron": "5 6 * * *", "late_after_hours": 2}, "5 8 * * 0,1,2,3,4,5,6"),
    ],
)
def test_deadlines_follow_the_calendar_and_the_cron(tmp_path, calendar, schedule, cron):
    changes = {"market": {"calendar": calendar}, "schedule": {"enabled": True, **schedule}}
    assert deadline_cron(make_market(tmp_path, changes)) == cron
