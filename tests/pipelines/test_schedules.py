"""`daily_retraining`: one run for the oldest closed session without one."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from pipelines.graph import build_definitions
from pipelines.schedules import RANGE_END, RANGE_START
from tests.pipelines.conftest import make_market, partition_bytes

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
    requests = tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))
    keys = [request.partition_key for request in requests]
    assert keys == ["2020-04-01", "2020-04-02", "2020-04-03", "2020-04-06"]


def test_the_oldest_missing_session_is_caught_up(market, instance, april):
    mark_done(instance, [april[0], april[2]])
    requests = tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))
    assert [r.partition_key for r in requests] == [april[1], april[3]]


def test_a_long_gap_is_caught_up_over_a_few_ticks(market, instance, april):
    """Eleven sessions missed: five, five and one, in order, and then nothing."""
    now = dt.datetime(2020, 4, 17, 0, 30, tzinfo=NEW_YORK)
    asked: list[str] = []
    for _ in range(3):
        keys = [r.partition_key for r in tick(market, instance, now)]
        asked += keys
        mark_done(instance, keys)
    assert asked == [k for k in april if k <= "2020-04-16"]
    assert isinstance(tick(market, instance, now), dg.SkipReason)


def test_a_run_whose_process_is_gone_blocks_nothing(market, instance):
    from pipelines.orphans import OWNER_TAG, owner

    host, pid, start = owner().split(":")
    instance.create_run_for_job(
        build_definitions(market).resolve_job_def("daily"),
        status=dg.DagsterRunStatus.STARTED,
        tags={
            RANGE_START: "2020-04-01",
            RANGE_END: "2020-04-03",
            OWNER_TAG: f"{host}:{pid}:{int(start) - 1}",
        },
    )
    assert tick(market, instance, dt.datetime(2020, 4, 7, 0, 30, tzinfo=NEW_YORK))[0]


def test_reports_follow_a_daily_run(market, instance):
    """The sensor asks for `reports` after a successful `daily`."""
    defs = build_definitions(market)
    sensor = defs.resolve_sensor_def("reports_after_daily")
    assert sensor.job_name == "reports"
    run = instance.create_run_for_job(
        defs.resolve_job_def("daily"), status=dg.DagsterRunStatus.SUCCESS
    )
    event = dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name="daily", message="done")
    context = dg.build_run_status_sensor_context(
        sensor_name="reports_after_daily",
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=run,
    )
    request = sensor(context)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == run.run_id


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
    assert [r.partition_key for r in tick(market, instance, after)] == ["2020-04-14"]


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
    expected = partition_bytes(market)
    for folder in market.paths.warehouse.glob(f"*/date={key}"):
        shutil.rmtree(folder)
    job = build_definitions(market).resolve_job_def("daily")
    assert job.execute_in_process(instance=instance, partition_key=key).success
    assert instance.get_materialized_partitions(dg.AssetKey("krnn_evaluation")) == {key}
    assert partition_bytes(market) == expected
