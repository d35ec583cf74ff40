"""The record of a release that gave every market a home. Oracle: Dagster's own answers before.

The earlier record is made by Dagster: assets without a market in their keys, a job `daily` in the
code location `pipelines`, its log, a check, a picture, a backfill and switches of the UI.
"""

from __future__ import annotations

import datetime as dt
import shutil

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import (
    InstigatorStatus,
)

from pipelines.cli.main import main
from pipelines.errors import ConfigError, PipelineError, WarehouseError
from pipelines.instance.earlier_home import bring_over
from pipelines.instance.home import dagster_instance, open_home, prepare_home, reading_instance
from pipelines.instance.materializations import first_made, newest_evaluation
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.run_history import failed_attempts
from pipelines.instance.schedule_switch import schedule_is_on
from tests.pipelines.conftest import TINY, key_of, make_market, merged
from tests.pipelines.ticks import switched

DAY = "2020-04-01"
PICTURE = dg.MetadataValue.md("![loss](data:image/png;base64,AA==)")
RETRIES = "\nrun_retries: {enabled: true, max_retries: 2}\n"


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")


@dg.asset(
    name="label",
    partitions_def=dg.DailyPartitionsDefinition("2020-03-01"),
    check_specs=[dg.AssetCheckSpec("finite", asset="label")],
)
def label(context):
    if context.run.tags.get("breaks"):
        raise dg.Failure("label: no bars", allow_retries=False)
    yield dg.MaterializeResult(
        metadata={"loss": PICTURE, "digest": "0123456789abcdef"},
        check_results=[dg.AssetCheckResult(check_name="finite", passed=False)],
    )


def earlier_record(market, settings=""):
    """A home of the market alone, with two runs: one that made a session and one that failed."""
    home = prepare_home(market.paths.earlier_dagster)
    with (home / "dagster.yaml").open("a") as file:
        file.write(settings)
    daily = dg.define_asset_job("daily", selection=["label"])
    job = dg.Definitions(assets=[label], jobs=[daily]).resolve_job_def("daily")
    with open_home(home) as record:
        made = job.execute_in_process(instance=record, partition_key=DAY)
        tags = {"breaks": "yes"}
        failed = job.execute_in_process(
            instance=record, partition_key="2020-04-02", tags=tags, raise_on_error=False
        )
        record.add_backfill(
            PartitionBackfill(
                market.config.name,
                BulkActionStatus.COMPLETED,
                from_failure=False,
                tags={},
                backfill_timestamp=dt.datetime(2020, 4, 2, tzinfo=dt.UTC).timestamp(),
                asset_selection=[dg.AssetKey("label")],
            )
        )
        switched(record, "daily_retraining", InstigatorStatus.RUNNING)
        switched(record, "theirs", InstigatorStatus.RUNNING, location="theirs")
        return made.run_id, failed.run_id, first_made(record, dg.AssetKey("label"))


def test_the_record_is_what_it_was_under_the_names_of_the_market(market):
    run_id, failed_id, times = earlier_record(market)
    lines = bring_over(market)
    assert "brought over" in lines[0]
    assert "2 runs" in lines[0]
    assert lines[1].endswith("tiny_daily_retraining on")
    assert not market.paths.earlier_dagster.exists()
    with dagster_instance(market) as record:
        assert record.all_asset_keys() == [key_of("label")]
        assert first_made(record, key_of("label")) == times
        (event,) = record.fetch_materializations(key_of("label"), limit=9).records
        assert event.run_id == run_id
        assert event.asset_materialization.metadata["loss"] == PICTURE
        seen = newest_evaluation(record, key_of("label"), "finite")
        assert seen is not None
        assert (seen[0], seen[1].passed) == (run_id, False)
        run = record.get_run_by_id(run_id)
        assert (run.job_name, run.status) == ("tiny_daily", dg.DagsterRunStatus.SUCCESS)
        kinds = {entry.dagster_event_type for entry in record.all_logs(run_id)}
        assert dg.DagsterEventType.STEP_SUCCESS in kinds
        keys = {
            entry.dagster_event.asset_key
            for entry in record.all_logs(run_id)
            if entry.dagster_event.asset_key
        }
        assert keys == {key_of("label")}
        attempts = failed_attempts(record, "tiny_daily", "2020-04-02")
        assert attempts is not None
        assert (attempts.run_id, attempts.reason) == (failed_id, "label: no bars")
        (backfill,) = record.get_backfills()
        assert backfill.asset_selection == [key_of("label")]
        assert schedule_is_on(record, market)
        states = record.all_instigator_state()
        assert [state.name for state in states] == ["tiny_daily_retraining"]
        assert states[0].selector.location_name == "tiny"
    assert bring_over(market) == []


def test_two_markets_share_a_record_and_are_told_apart(market):
    second = make_market(market.paths.root.with_name("second"), {"name": "second"})
    ids = {}
    for each in (market, second):
        ids[each.config.name], *_ = earlier_record(each)
    for each in (market, second):
        bring_over(each)
    with dagster_instance(second) as record:
        assert set(record.all_asset_keys()) == {key_of("label"), key_of("label", "second")}
        for name, run_id in ids.items():
            (event,) = record.fetch_materializations(key_of("label", name), limit=9).records
            assert event.run_id == run_id
            assert failed_attempts(record, f"{name}_daily", "2020-04-02").count == 1


def test_a_move_that_was_cut_off_begins_anew(market, monkeypatch):
    _, _, times = earlier_record(market)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.instance.earlier_home.copy_switches", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bring_over(market)
    assert market.paths.earlier_dagster.is_dir()
    bring_over(market)
    with dagster_instance(market) as record:
        assert len(record.get_runs()) == 2
        assert first_made(record, key_of("label")) == times
        assert len(record.fetch_materializations(key_of("label"), limit=9).records) == 1


def test_commands_ask_for_the_move_first(market):
    earlier_record(market)
    for opened in (dagster_instance, reading_instance):
        said = "is in .*tiny/dagster, .*`rnn-pipelines sync` brings it over to .*dagster"
        with pytest.raises(WarehouseError, match=said), opened(market):
            pytest.fail("its record is elsewhere")


def test_an_owners_settings_are_taken_over_with_their_comments(market):
    earlier_record(market, f"\n# Mine.{RETRIES}")
    bring_over(market)
    text = (market.paths.dagster / "dagster.yaml").read_text()
    assert f"# Mine.{RETRIES}" in text
    assert str(market.paths.earlier_dagster) not in text
    with dagster_instance(market) as record:
        assert record.run_retries_max_retries == 2


def second_of(market, settings):
    second = make_market(market.paths.root.with_name("second"), {"name": "second"})
    earlier_record(market, RETRIES)
    earlier_record(second, settings)
    bring_over(market)
    return second


def test_keys_that_two_owners_set_differently_stop_the_move(market):
    second = second_of(market, RETRIES.replace("2", "3") + "\nnux: {enabled: true}\n")
    before = (market.paths.dagster / "dagster.yaml").read_bytes()
    said = r"second/dagster/dagster.yaml and .*/dagster.yaml set run_retries differently"
    with pytest.raises(ConfigError, match=said):
        bring_over(second)
    assert second.paths.earlier_dagster.is_dir()
    assert (market.paths.dagster / "dagster.yaml").read_bytes() == before
    with dagster_instance(market) as record:
        assert record.all_asset_keys() == [key_of("label")]


def test_keys_of_two_owners_that_agree_are_put_together(market):
    second = second_of(market, RETRIES)
    path = second.paths.earlier_dagster / "dagster.yaml"
    text = path.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 3")
    path.write_text(text + "code_servers: {local_startup_timeout: 99}\n")
    bring_over(second)
    keys = yaml.safe_load((market.paths.dagster / "dagster.yaml").read_text())
    assert keys["concurrency"]["runs"]["max_concurrent_runs"] == 3
    assert keys["code_servers"] == {"local_startup_timeout": 99}
    assert keys["run_retries"] == {"enabled": True, "max_retries": 2}
    assert str(market.paths.dagster) in keys["event_log_storage"]["config"]["base_dir"]


def test_another_storage_is_not_put_over_a_record(market):
    """It would hide the record of the market that was brought over before."""
    second = second_of(market, "")
    path = second.paths.earlier_dagster / "dagster.yaml"
    path.write_text("storage: {sqlite: {base_dir: /elsewhere}}\n")
    with pytest.raises(ConfigError, match="set storage differently"):
        bring_over(second)


def test_one_database_of_both_homes_is_changed_in_place(market, tmp_path):
    """An owner's `storage` stands in both files, as Postgres would."""
    home = market.paths.earlier_dagster
    home.mkdir(parents=True)
    text = f"storage: {{sqlite: {{base_dir: {tmp_path / 'database'}}}}}\n"
    (home / "dagster.yaml").write_text(text)
    run_id, _, times = earlier_record(market)
    bring_over(market)
    assert (market.paths.dagster / "dagster.yaml").read_text() == text
    with dagster_instance(market) as record:
        assert record.all_asset_keys() == [key_of("label")]
        assert first_made(record, key_of("label")) == times
        assert record.get_run_by_id(run_id).job_name == "tiny_daily"
        assert schedule_is_on(record, market)


def test_a_run_at_work_is_waited_for(market):
    earlier_record(market)
    with open_home(market.paths.earlier_dagster) as record:
        record.add_run_tags(record.get_runs()[0].run_id, {OWNER_TAG: owner()})
        bring_over(market)  # it has ended, so its owner does not count
    shutil.rmtree(market.paths.dagster)
    earlier_record(market)
    with open_home(market.paths.earlier_dagster) as record:
        run = record.get_runs()[0]
        job = dg.Definitions(jobs=[dg.define_asset_job("daily")], assets=[label])
        live = record.create_run_for_job(
            job.resolve_job_def("daily"),
            status=dg.DagsterRunStatus.STARTED,
            tags={OWNER_TAG: owner()},
        )
        assert run.run_id != live.run_id
    with pytest.raises(PipelineError, match=f"run {live.run_id[:8]} is working"):
        bring_over(market)
    assert market.paths.earlier_dagster.is_dir()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load_from: [{python_file: {relative_path: mine.py}}]\n", "write an absolute path"),
        ("load_from: [{python_file: mine.py}]\n", "write an absolute path"),
    ],
)
def test_code_locations_by_relative_paths_are_named(market, text, said):
    earlier_record(market)
    (market.paths.earlier_dagster / "workspace.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        bring_over(market)
    (market.paths.earlier_dagster / "workspace.yaml").write_text("load_from: []\n")
    bring_over(market)
    assert (market.paths.dagster / "workspace.yaml").read_text() == "load_from: []\n"


def test_sync_brings_every_market_over_and_records_the_warehouse(
    finished, tmp_path, monkeypatch, capsys
):
    """One command for all markets whose YAML is known, and once by name for the others."""
    data = tmp_path / "data"
    monkeypatch.setenv("RNN_DATA_DIR", str(data))
    monkeypatch.setenv("RNN_CONFIG", "")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(merged(TINY, {"name": "second"})))
    shutil.copytree(finished.paths.root, data / "tiny")
    market = make_market(data / "tiny")
    earlier_record(market)
    assert main(["status", "--config", str(tmp_path / "tiny.yaml")]) == 1
    assert "brings it over" in capsys.readouterr().err
    assert main(["sync"]) == 1
    assert "`rnn-pipelines sync --config YAML` says once" in capsys.readouterr().err
    assert main(["sync", "--config", str(tmp_path / "tiny.yaml")]) == 0
    said = capsys.readouterr().out
    assert "brought over" in said
    assert "put on record: ohlcv 94" in said
    assert main(["status"]) == 0
