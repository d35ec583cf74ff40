"""`demo --fresh` asks before it deletes. Oracle: the files of the market before."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance.home import dagster_instance
from pipelines.instance.locks import writer_lock
from pipelines.instance.names import MARKET_TAG
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.record_copy import forget_market
from pipelines.operations import demo, fresh
from pipelines.operations.demo import run_demo
from tests.pipelines.conftest import key_of, make_market
from tests.pipelines.finished_markets import copy_of, made_on_the_evening, recorded_copy_of
from tests.pipelines.processes import Forked, wait_until

SETTINGS = "run_retries: {enabled: true}\n"
GONE = 2**22 + 1  # above the largest process id of Linux
HOLD = """
import sys, time
from pathlib import Path
from pipelines.instance.locks import writer_lock
from pipelines.instance.ui_lock import claim_ui
from tests.pipelines.conftest import key_of, make_market
market = make_market(Path(sys.argv[1]))
ui = sys.argv[2] == "ui"
claim = claim_ui(market.paths.dagster, 3999)
with claim if ui else writer_lock(market, "gru_model", run_id="1a2b3c4d5e"):
    Path(sys.argv[3]).touch()
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def no_graph(monkeypatch):
    """Nothing is run: what is deleted is the question."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(demo, "_run_stages", lambda *rest: None)
    monkeypatch.setattr(demo, "_verify", lambda *rest: None)  # of what is not made here
    monkeypatch.setattr(demo, "mark_warm_up", lambda *rest: None)
    monkeypatch.setattr(demo, "_show_results", lambda *rest: None)


@pytest.fixture
def market(finished, tmp_path):
    """A copy of a finished market on record, whose DAGSTER_HOME has a file of its owner."""
    market = recorded_copy_of(finished, tmp_path / "data" / "tiny")
    (market.paths.dagster / "workspace.yaml").write_text(SETTINGS)
    return market


def files(market) -> set[Path]:
    return set(market.paths.root.rglob("*.parquet"))


def start(market, **options) -> str:
    console = Console(file=io.StringIO(), width=400)
    run_demo(market, console, **options)
    return console.file.getvalue()


def refused(market, match: str, **options) -> None:
    """The command says why, and every file of the market is there still."""
    before = files(market)
    assert before
    with pytest.raises(PipelineError, match=match) as caught:
        start(market, fresh=True, **options)
    assert "othing was deleted" in str(caught.value)
    assert files(market) == before


def test_what_nobody_uses_is_deleted_and_the_owners_files_stay(market):
    market.paths.config.write_text('{"config": "tiny.yaml"}')
    start(market, fresh=True)
    assert files(market) == set()
    assert (market.paths.dagster / "workspace.yaml").read_text() == SETTINGS
    folders = sorted(path.name for path in market.paths.root.parent.iterdir())
    assert folders == [".locks", "dagster", "tiny"]
    assert [path.name for path in market.paths.root.iterdir()] == ["config.json"]


def test_the_record_of_the_market_goes_and_that_of_others_stays(market):
    other = key_of("ohlcv", "other")
    with dagster_instance(market) as instance:
        made = dg.AssetMaterialization(other, partition="2020-01-02")
        instance.report_runless_asset_event(made)
        run, theirs = (
            instance.create_run_for_job(
                market_job(), status=dg.DagsterRunStatus.SUCCESS, tags={MARKET_TAG: name}
            )
            for name in ("tiny", "other")
        )
        assert instance.get_materialized_partitions(key_of("ohlcv"))
    start(market, fresh=True)
    with dagster_instance(market) as instance:
        assert instance.all_asset_keys() == [other]
        assert instance.get_materialized_partitions(key_of("ohlcv")) == set()
        assert instance.get_materialized_partitions(other) == {"2020-01-02"}
        assert not instance.has_run(run.run_id)
        assert instance.has_run(theirs.run_id)


def test_a_market_whose_name_differs_by_one_letter_keeps_its_record(tmp_path):
    """LIKE takes an underscore for any character, and a record tells what was served."""
    market = make_market(tmp_path / "data" / "ti_y", {"name": "ti_y"})
    with dagster_instance(market) as instance:
        for name in ("ti_y", "tiny"):
            made = dg.AssetMaterialization(dg.AssetKey([name, "ohlcv"]), partition="2020-01-02")
            instance.report_runless_asset_event(made)
        forget_market(market, instance)
        assert instance.all_asset_keys() == [key_of("ohlcv")]
        assert instance.get_materialized_partitions(key_of("ohlcv")) == {"2020-01-02"}


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        pytest.param(
            "ui",
            r"a UI of .*/data runs already: process PID, http://127.0.0.1:3999; end it first",
            marks=pytest.mark.thorough,
        ),
        ("writer", r"process PID \(run 1a2b3c4d, gru_model\) is at work on tiny: wait for its end"),
    ],
)
def test_who_works_on_the_market_is_named(market, tmp_path, holds, said):
    """The holder of a lock is another process, and no longer in the way once it is killed."""
    holder = Forked(HOLD, market.paths.root, holds, tmp_path / "held")
    try:
        wait_until(holder, "its lock", (tmp_path / "held").exists)
        refused(market, said.replace("PID", str(holder.pid)))
    finally:
        holder.kill()
        holder.wait()
    with writer_lock(make_market(market.paths.root.parent / "other"), "gru_model"):
        start(market, fresh=True)
    assert files(market) == set()


@pytest.mark.parametrize(
    ("status", "tags"),
    [("STARTED", {}), ("NOT_STARTED", {"dagster/partition": "2020-05-15"})],
)
def test_a_live_run_is_named_and_a_dead_one_is_not(market, tags, status):
    with dagster_instance(market) as instance:
        run = instance.create_run_for_job(
            market_job(),
            status=dg.DagsterRunStatus[status],
            tags={**tags, MARKET_TAG: "tiny", OWNER_TAG: owner()},
        )
    refused(market, f"run {run.run_id[:8]} is working.* in the market tiny.*end it in the UI")
    with dagster_instance(market) as instance:
        gone = owner().replace(f":{os.getpid()}:", f":{GONE}:")
        instance.add_run_tags(run.run_id, {OWNER_TAG: gone})
    start(market, fresh=True)
    assert files(market) == set()


def market_job() -> dg.JobDefinition:
    @dg.job
    def nothing():
        pass

    return nothing


@pytest.fixture
def served(finished, tmp_path):
    """A market of which two sessions of one model were served."""
    market = copy_of(finished, tmp_path / "data" / "tiny")
    made_on_the_evening(market, ["gru"], market.sessions.keys[-2:])
    return market


def test_what_was_served_is_history(served):
    refused(served, "was served, .*: gru_prediction 2020-05-14, 2020-05-15. Nothing was deleted")
    with pytest.raises(PipelineError, match="--discard-served goes with --fresh"):
        start(served, discard_served=True)
    start(served, fresh=True, discard_served=True)
    assert files(served) == set()


def test_a_model_that_left_the_yaml_was_served_all_the_same(served):
    config = served.config.model_copy(
        update={"models": {n: m for n, m in served.config.models.items() if n != "gru"}}
    )
    without = type(served)(config, root=served.paths.root)
    assert [spec.name for spec in without.models] == ["lstm", "krnn"]
    refused(without, "gru_prediction 2020-05-14, 2020-05-15")


def test_a_kept_revision_is_history(market):
    """A served partition whose present file was made late."""
    table = market.paths.warehouse / "gru_prediction" / "date=2020-05-15"
    kept = market.paths.warehouse / ".revisions" / "gru_prediction" / table.name
    kept.mkdir(parents=True)
    shutil.copy2(table / "part-0.parquet", kept / "rev-1.parquet")
    refused(market, "gru_prediction 2020-05-15")


def test_a_folder_that_cannot_be_moved_stays(market, monkeypatch):
    def fail(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", fail)
    refused(market, r"cannot move .*/tiny aside: .*busy; nothing was deleted")


def test_a_killed_deletion_is_completed(market):
    """The next command leaves what another process deletes."""
    folder = market.paths.root
    aside = folder.with_name(f".tiny.{GONE}.0123abcd.tmp")
    theirs = folder.with_name(f".tiny.{os.getpid()}.0123abcd.tmp")
    folder.rename(aside)
    theirs.mkdir()
    start(market)
    assert not aside.exists()
    assert theirs.is_dir()


def test_an_owners_file_of_an_earlier_home_is_kept_for_the_move(market):
    """A deletion of a release that kept the home in the market's folder was killed."""
    aside = market.paths.root.with_name(f".tiny.{GONE}.0123abcd.tmp")
    (aside / "dagster").mkdir(parents=True)
    (aside / "dagster" / "workspace.yaml").write_text("load_from: []\n")
    with pytest.raises(WarehouseError, match="`rnn-pipelines sync` brings it over"):
        start(market)
    kept = market.paths.earlier_dagster / "workspace.yaml"
    assert kept.read_text() == "load_from: []\n"
    assert not aside.exists()


def test_a_folder_that_is_a_link_stays_one(market, tmp_path):
    disk = tmp_path / "disk"
    market.paths.root.rename(disk)
    market.paths.root.symlink_to(disk)
    start(market, fresh=True)
    assert market.paths.root.is_symlink()
    assert files(market) == set()
    assert disk.is_dir()


def test_what_cannot_be_deleted_is_told(market, monkeypatch):
    monkeypatch.setattr(fresh.shutil, "rmtree", lambda path, **options: None)
    assert ".tmp cannot be deleted whole: do it yourself" in start(market, fresh=True)
    assert files(market) == set()


def test_a_damaged_record_is_named_and_nothing_deleted(market):
    """It cannot say who is at work."""
    before = files(market)
    (market.paths.dagster / "history" / "runs.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(WarehouseError, match=r"record in .*dagster is damaged: file is not a data"):
        start(market, fresh=True)
    assert files(market) == before
