"""`daily_retraining`: one run for the oldest closed session without one."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from pipelines.graph import build_definitions
from pipelines.schedules import RANGE_END, RANGE_START
from tests.pipelines.conftest import make_market

NEW_YORK = ZoneInfo("America/New_York")
LAST = ("lstm_evaluation", "gru_evaluation", "krnn_evaluation")


def tick(market, instance, now):
    schedule = build_definitions(market).resolve_schedule_def("daily_retraining")
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=now) as context:
        return schedule(context)


def mark_done(instance, keys):
    for key in keys:
        for name in LAST:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=name, partition=key)
            )


@pytest.fixture
def instance(tmp_path):
    """A Dagster record on disk: schedules ask for one that another process could open."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as record:
        yield record


@pytest.fixture
def april(market):
    return [k for k in market.sessions.keys if k >= "2020-04-01"]


def test_the_first_trained_session_comes_first(market, instance):
    request = tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))
    assert request.partition_key == "2020-04-01"


def test_the_oldest_missing_session_is_caught_up(market, instance, april):
    mark_done(instance, [april[0], april[2]])
    request = tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))
    assert request.partition_key == april[1]


@pytest.mark.parametrize("day", [11, 12])
def test_weekends_and_holidays_ask_for_nothing(market, instance, april, day):
    """2020-04-10 was Good Friday: the newest session on the weekend is Thursday's."""
    mark_done(instance, [k for k in april if k <= "2020-04-09"])
    answer = tick(market, instance, dt.datetime(2020, 4, day, 0, 30, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "2020-04-09" in answer.skip_message


def test_a_session_is_not_asked_for_before_it_has_closed(market, instance, april):
    mark_done(instance, [k for k in april if k < "2020-04-14"])
    during = dt.datetime(2020, 4, 14, 18, 0, tzinfo=NEW_YORK)
    assert isinstance(tick(market, instance, during), dg.SkipReason)
    after = dt.datetime(2020, 4, 15, 0, 30, tzinfo=NEW_YORK)
    assert tick(market, instance, after).partition_key == "2020-04-14"


def test_one_run_at_a_time_range_runs_included(market, instance):
    defs = build_definitions(market)
    instance.create_run_for_job(
        defs.resolve_job_def("daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START: "2020-04-01", RANGE_END: "2020-04-03"},
    )
    answer = tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "working on 2020-04-01" in answer.skip_message


def test_it_is_off_in_the_sample_and_on_by_a_line_of_yaml(tmp_path):
    def status(market):
        return build_definitions(market).resolve_schedule_def("daily_retraining").default_status

    assert status(make_market(tmp_path)) == dg.DefaultScheduleStatus.STOPPED
    on = make_market(tmp_path, {"schedule": {"enabled": True}})
    assert status(on) == dg.DefaultScheduleStatus.RUNNING


def test_the_daily_job_runs_one_session(finished, tmp_path, instance):
    """`daily` of one key, as the schedule launches it, makes that session's partitions."""
    import shutil

    market = make_market(tmp_path / "daily")
    shutil.copytree(finished.paths.root, market.paths.root)
    key = market.sessions.keys[-1]
    job = build_definitions(market).resolve_job_def("daily")
    assert job.execute_in_process(instance=instance, partition_key=key).success
    assert instance.get_materialized_partitions(dg.AssetKey("krnn_evaluation")) == {key}
