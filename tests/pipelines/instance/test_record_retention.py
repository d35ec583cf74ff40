"""Old runs leave the record without taking along what was made, or when.

Oracle: what the record answers about partitions, served sessions and checks before and after.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
import sqlalchemy as db
from dagster import DagsterEvent, DagsterEventType
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable

from pipelines.instance.materializations import first_made, newest_evaluation
from pipelines.instance.record_retention import old_runs, remove_runs
from pipelines.instance.record_size import record_bytes
from pipelines.staleness.served import served_sessions
from tests.pipelines.conftest import key_of, open_record
from tests.pipelines.records import on_both_records
from tests.pipelines.ticks import CRON, add_run

pytestmark = on_both_records
ASSET = key_of("lstm_prediction")
KEY, NEXT, LATER = "2020-04-01", "2020-04-02", "2020-04-03"
EVENING = dt.datetime(2020, 4, 1, 23, tzinfo=dt.UTC)
GOOD = dg.DagsterRunStatus.SUCCESS
BEFORE = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)


@pytest.fixture
def instance(tmp_path):
    """An empty Dagster record."""
    with open_record(tmp_path / "record") as record:
        yield record


def aged(instance, *runs):
    """Date the runs back by a year."""
    when = dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(days=365)
    with instance.run_storage.connect() as connection:
        ids = RunsTable.c.run_id.in_([run.run_id for run in runs])
        connection.execute(db.update(RunsTable).where(ids).values(update_timestamp=when))


def event(instance, run, kind, data, when):
    of_asset = DagsterEvent(
        event_type_value=kind.value, event_specific_data=data, job_name=run.job_name
    )
    instance.report_dagster_event(of_asset, run.run_id, timestamp=when.timestamp())


def made(instance, run, key, when):
    """The run planned, made and checked a partition."""
    planned = AssetMaterializationPlannedData(ASSET, partition=key)
    event(instance, run, DagsterEventType.ASSET_MATERIALIZATION_PLANNED, planned, when)
    done = StepMaterializationData(
        dg.AssetMaterialization(ASSET, partition=key, metadata={"by": run.run_id})
    )
    event(instance, run, DagsterEventType.ASSET_MATERIALIZATION, done, when)
    evaluation = dg.AssetCheckEvaluation(ASSET, "fresh", passed=True, metadata={"by": run.run_id})
    event(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, when)


def test_served_history_stays_on_record(market, instance):
    first, again, last = (add_run(market, instance, KEY, CRON, GOOD) for _ in range(3))
    made(instance, first, KEY, EVENING)
    for days, run in enumerate((again, last), start=30):
        made(instance, run, KEY, EVENING + dt.timedelta(days=days))
    made(instance, again, NEXT, EVENING + dt.timedelta(days=90))
    aged(instance, first, again, last)
    served = served_sessions(market, instance, "lstm_prediction")
    times = first_made(instance, ASSET)
    assert served == {KEY}

    runs = old_runs(instance, market, BEFORE)
    assert set(runs.ids) == {first.run_id, again.run_id}  # the newest of its job and outcome stays
    assert runs.bytes > 0
    assert instance.has_run(first.run_id), "nothing goes before it is asked for"
    remove_runs(instance, market, runs)

    assert not instance.has_run(first.run_id)
    assert not instance.has_run(again.run_id)
    assert instance.has_run(last.run_id)
    assert served_sessions(market, instance, "lstm_prediction") == served
    assert first_made(instance, ASSET) == times
    assert instance.get_materialized_partitions(ASSET) == {KEY, NEXT}
    # The version in between is gone, the first and the newest are there.
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=ASSET, asset_partitions=[KEY]), limit=10
    ).records
    assert [r.run_id for r in records] == [last.run_id, first.run_id]
    assert len(instance.all_logs(last.run_id)) > 0
    kinds = {entry.dagster_event_type for entry in instance.all_logs(first.run_id)}
    assert kinds <= {DagsterEventType.ASSET_MATERIALIZATION}
    with instance.run_storage.connect() as connection:
        tagged = {row[0] for row in connection.execute(db.select(RunTagsTable.c.run_id))}
    assert tagged == {last.run_id}


def test_the_newest_result_of_a_check_stays(market, instance):
    runs = [add_run(market, instance, KEY, CRON, GOOD) for _ in range(3)]
    # The newest run does not check: the result of the run before it is the newest one.
    for run in runs[:2]:
        made(instance, run, KEY, EVENING)
    aged(instance, *runs)
    before = newest_evaluation(instance, ASSET, "fresh")
    remove_runs(instance, market, old_runs(instance, market, BEFORE))
    assert newest_evaluation(instance, ASSET, "fresh") == before
    key = dg.AssetCheckKey(ASSET, "fresh")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert [record.run_id for record in history] == [runs[1].run_id]


def test_young_and_awaited_runs_and_those_of_other_markets_stay(market, instance, tmp_path):
    old = [add_run(market, instance, key, CRON) for key in (KEY, NEXT, LATER)]
    young = add_run(market, instance, KEY, CRON)
    other = instance.create_run_for_job(
        dg.GraphDefinition("theirs", node_defs=[]).to_job(), status=dg.DagsterRunStatus.FAILURE
    )
    aged(instance, *old, other)
    runs = old_runs(instance, market, BEFORE, unfinished={NEXT})
    assert set(runs.ids) == {old[0].run_id, old[2].run_id}
    assert instance.has_run(young.run_id)


def test_a_removal_that_was_cut_off_is_completed(market, instance, monkeypatch):
    runs = [add_run(market, instance, KEY, CRON, GOOD) for _ in range(3)]
    for run in runs:
        made(instance, run, KEY, EVENING)
    aged(instance, *runs)
    with monkeypatch.context() as patch:
        patch.setattr(type(instance.run_storage), "delete_run", _killed)
        with pytest.raises(KeyboardInterrupt):
            remove_runs(instance, market, old_runs(instance, market, BEFORE))
    again = old_runs(instance, market, BEFORE)
    assert set(again.ids) == {run.run_id for run in runs[:2]}
    remove_runs(instance, market, again)
    assert old_runs(instance, market, BEFORE).ids == ()
    assert first_made(instance, ASSET).keys() == {KEY}


def _killed(*args):
    raise KeyboardInterrupt


def test_the_record_becomes_smaller(market, instance, tmp_path, record_kind):
    if record_kind != "sqlite":
        pytest.skip("a database of Postgres keeps the room for later rows")
    runs = [add_run(market, instance, KEY, CRON, GOOD) for _ in range(6)]
    for run in runs:
        made(instance, run, KEY, EVENING)
    aged(instance, *runs)
    home = tmp_path / "record"
    before, found = record_bytes(home, instance), old_runs(instance, market, BEFORE)
    remove_runs(instance, market, found)
    assert record_bytes(home, instance) < before
    assert len(list((home / "events").glob("*.db"))) == 2  # the index, and the run that stays
