"""The record by which `status` hashes only what has changed. Oracle: the calls that read files."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.errors import WarehouseError
from pipelines.instance.home import dagster_instance
from pipelines.instance.materializations import forget
from pipelines.market.market import Market
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import StatusReport, status_report
from pipelines.staleness.verified_record import Stamps
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import make_market
from tests.pipelines.verified_market import EARLY, LATE, flip, place, status, verified


@pytest.fixture
def market(recorded_market):
    """The market on record, as it was before the test."""
    return recorded_market


def partitions_read(market: Market, monkeypatch, **kwargs) -> tuple[StatusReport, set[str]]:
    """A status, and the files of the warehouse that it has read."""
    read, paths = LocalStore.read, set[str]()

    def noted(self, *parts):
        paths.add(self.path(*parts))
        return read(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "read", noted)
        report = status(market, **kwargs)
    return report, {path for path in paths if path.endswith(PART)}


def test_a_status_reads_no_file_that_has_not_changed(market, monkeypatch):
    whole, read = partitions_read(market, monkeypatch)
    assert len(read) > 1000  # nothing was verified before
    assert whole.verified is None
    verified(market)
    report, read = partitions_read(market, monkeypatch)
    assert not read
    assert report.verified is not None
    assert report.assets == whole.assets
    assert (report.predictions, report.is_current) == (whole.predictions, True)


def test_files_in_folders_of_a_bundle_have_stamps(market):
    """The states of estimators lie so: `state/0/w`."""
    key = market.plan.first_trained
    inside = market.paths.models / "lstm" / key / "state" / "0" / "w"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"one")
    before = Stamps(market, stages(market))
    inside.write_bytes(b"longer")
    changed = Stamps(market, stages(market))
    inside.rename(inside.with_name("v"))
    renamed = Stamps(market, stages(market))
    assert len({stamps.of(key) for stamps in (before, changed, renamed)}) == 3
    inside.with_name("v").unlink()
    assert Stamps(market, stages(market)).files == before.files - 1


def test_the_stored_sessions_are_those_that_the_warehouse_lists(market):
    """A folder without a file, and a copy that an operator keeps beside, are no partitions."""
    place(market, "label", EARLY).unlink()
    folder = market.paths.warehouse / "alpha158"
    (folder / f"date={EARLY}").rename(folder / f"date={EARLY}.kept")
    stored = Stamps(market, stages(market)).stored
    assert EARLY not in stored["label"] | stored["alpha158"]
    assert EARLY in stored["ohlcv"]
    assert stored == {name: frozenset(market.warehouse.sessions(name)) for name in stored}


def test_a_flip_that_keeps_the_time_is_found_by_verify_and_by_reads_only(market):
    verified(market)
    flip(path := place(market, "alpha158", EARLY), 40)
    assert status(market).is_current
    with pytest.raises(WarehouseError, match="damaged"):
        market.warehouse.read("alpha158", [EARLY], needed_by="a test")
    assert [damage.path for damage in verified(market).damages] == [str(path)]
    assert not status(market).is_current  # the verification has found it


def test_after_a_new_start_of_the_machine_everything_is_hashed(market, monkeypatch):
    """A loss of power can leave a file its size and time without its bytes."""
    verified(market)
    flip(place(market, "alpha158", EARLY), 40)
    assert status(market).is_current
    monkeypatch.setattr("pipelines.staleness.verified_record.boot_id", lambda: "another")
    assert not status(market).is_current


def test_damage_of_the_first_session_is_seen_once_it_was_verified(market):
    """No session is verified then, so nothing takes the place of the earlier record."""
    verified(market)
    flip(place(market, "ohlcv", market.sessions.first), 40)
    assert status(market).is_current
    assert len(verified(market).damages) == 1
    assert not status(market).is_current


@pytest.mark.parametrize("table", ["ohlcv", "gru_prediction", "lstm_orders"])
def test_a_file_that_changed_is_hashed_and_what_follows_compared(market, table):
    verified(market)
    path = place(market, table, LATE)
    path.write_bytes(path.read_bytes()[:-9])
    report = status(market)
    assert not report.is_current
    assert any(
        f.cause == "damaged" and f.keys == (LATE,) for a in report.assets for f in a.findings
    )
    assert report.verified is not None


@pytest.mark.thorough
def test_another_configuration_is_compared_whole(market):
    verified(market)
    changed = make_market(market.paths.root, {"features": {"label": "Ref($close, -3)/$close - 1"}})
    report = status(changed)
    assert report.verified is None
    assert {a.asset for a in report.assets if a.current == 0} >= {"label", "dataset_learn"}


@pytest.mark.thorough
def test_a_session_taken_off_the_record_is_seen(market):
    verified(market)
    with dagster_instance(market) as instance:
        forget(instance, dg.AssetKey(["tiny", "label"]), [EARLY])
        report = status_report(market, stages(market), instance)
        assert [(f.cause, f.keys) for a in report.assets for f in a.findings] == [
            ("not in Dagster's record", (EARLY,))
        ]
        sync_record(market, stages(market), instance)


def test_the_check_of_the_ui_adds_what_it_has_compared_and_a_status_writes_nothing(market):
    verified(market)
    for path in market.paths.warehouse.glob(f"*/date={LATE}/{PART}"):
        os.utime(path)  # as after a run of the session
    before = market.paths.verified.read_bytes()
    first = status(market)
    assert market.paths.verified.read_bytes() == before
    status(market, recent=10, keep_verified=True)
    assert market.paths.verified.read_bytes() != before
    again = status(market)
    assert first.verified is not None
    assert again.verified is not None
    assert again.verified[1] > first.verified[1]
    assert again.verified[0] == first.verified[0]  # everything was last verified then


@pytest.mark.parametrize("content", [b"", b"PAR1" * 20])
def test_a_damaged_record_of_verified_files_hashes_everything(market, content):
    verified(market)
    market.paths.verified.write_bytes(content)
    assert status(market).verified is None
