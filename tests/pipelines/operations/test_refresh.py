"""Restated bars, taken over. Oracle: a market whose source gave them from the start."""

from __future__ import annotations

import hashlib
import io

import duckdb
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.errors import ConfigError, MissingSessionsError
from pipelines.instance.home import dagster_instance
from pipelines.operations.refresh import run_refresh
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from pipelines.warehouse import revisions
from pipelines.warehouse.partition_file import verify
from tests.pipelines.conftest import (
    make_market,
    own_record,
    partition_bytes,
    run_data,
    run_everything,
)
from tests.pipelines.finished_markets import copy_of, made_on_the_evening, restated, stamps

LATE = 88  # a session after the fit window, within the windows of the last ones


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a market of which gru's last eight predictions were served."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    copy = copy_of(finished, tmp_path / "copy")
    made_on_the_evening(copy, ["gru"], copy.sessions.keys[-8:])
    with dagster_instance(copy) as instance:
        sync_record(copy, stages(copy), instance)
    return copy


def fresh(root, run):
    """The files of a market whose source gave the other bars of the late session from the start."""
    plain = make_market(root / "plain")
    source = restated(plain, plain.sessions.keys[LATE]).source
    market = make_market(root / "tiny", source=source)
    with own_record() as record:
        run(market, record)
    return partition_bytes(market)


def refresh(market, **kwargs):
    console = Console(file=io.StringIO(), width=400)
    found = run_refresh(market, console, **kwargs)
    return found, console.file.getvalue()


def of_tables(files, *kinds):
    return {path: h for path, h in files.items() if path.split("/")[0].endswith(kinds)}


DATA = ("ohlcv", "alpha158", "label", "dataset_infer", "dataset_learn", "quarantine")


def test_data_follow_the_source_and_what_was_served_stays(market, tmp_path):
    key = market.sessions.keys[LATE]
    other = restated(market, key)
    before, times = partition_bytes(market), stamps(market)
    since = market.sessions.keys[LATE - 4]
    found, said = refresh(other, since=since)
    assert found == (key,)
    assert f"restated by the source: {key} (1 sessions)" in said
    assert "--republish makes them again" in said
    assert f"rnn-pipelines backfill --start {since}" in said

    page = other.pages.read(other.served_page.name).decode()
    assert "lstm_prediction" in page.partition("Open points")[2]

    after = partition_bytes(other)
    assert of_tables(after, *DATA) == of_tables(fresh(tmp_path / "fresh", run_data), *DATA)
    kinds = ("model", "prediction", "evaluation")
    assert of_tables(after, *kinds) == of_tables(before, *kinds)
    touched = {p for p, stamp in stamps(other).items() if times[p] != stamp}
    assert not [p for p in touched if p.split("date=")[1] < since]
    # Only bars are asked for again; features and labels before the restated session kept theirs.
    assert not [p for p in touched if "ohlcv" not in p and p.split("date=")[1][:10] < key]

    with dagster_instance(other) as record:
        report = status_report(other, stages(other), record, check_source=True)
        shown = {a.asset: [str(f.cause) for f in a.findings] for a in report.assets}
    assert report.restated == ()
    assert shown["ohlcv"] == shown["dataset_infer"] == []
    assert shown["gru_prediction"] == ["served, inputs restated since"]
    assert "inputs" in shown["lstm_prediction"]

    again, said = refresh(other, since=since)
    assert again == ()
    assert "the source gives the bars that were stored" in said


@pytest.mark.thorough
def test_republished_sessions_keep_what_was_served(market, tmp_path):
    key = market.sessions.keys[LATE]
    other = restated(market, key)
    before = partition_bytes(market)
    old = market.warehouse.read("gru_prediction", [key], needed_by="t").frame
    refresh(other, since=key, republish=True)
    assert partition_bytes(other) == fresh(tmp_path / "fresh", run_everything)

    store = other.warehouse.store
    served = set(market.sessions.keys[-8:])
    kept = revisions.sessions(store, "gru_prediction")
    changed = {
        p.split("date=")[1][:10]
        for p, h in partition_bytes(other).items()
        if p.startswith("gru_prediction") and before[p] != h
    }
    assert set(kept) == changed & served
    assert key in kept
    kinds = ("book", "evaluation", "orders", "portfolio", "prediction", "trades")
    assert revisions.tables(store) == [f"gru_{kind}" for kind in kinds]
    assert revisions.numbers(store, "gru_prediction", key) == [1]
    raw = store.read(*revisions.part("gru_prediction", key, 1))
    assert hashlib.sha256(raw).hexdigest() == before[f"gru_prediction/date={key}/part-0.parquet"]
    assert verify(raw, market.warehouse.identity("gru_prediction", key))

    assert store.partitions("gru_prediction") == market.warehouse.sessions("gru_prediction")
    with duckdb.connect(str(other.paths.catalog), read_only=True) as catalog:
        rows = catalog.execute(
            "SELECT instrument, score, revision FROM gru_prediction_revisions "
            "WHERE date = ? ORDER BY instrument",
            [key],
        ).df()
        total = catalog.execute("SELECT count(*) FROM gru_prediction").fetchone()[0]
    assert rows["revision"].unique().tolist() == [1]
    assert rows["score"].tolist() == old["score"].tolist()
    keys = [k for k in other.sessions.keys if k >= other.plan.first_trained]
    read = other.warehouse.read("gru_prediction", keys, needed_by="t").frame
    assert total == len(read), "the main view shows each session once"
    with dagster_instance(other) as record:
        report = status_report(other, stages(other), record)
    assert report.is_current
    assert report.revisions["gru_prediction"] == len(kept)
    assert report.predictions["gru"]["served"] == 8, "made again, they were served all the same"


@pytest.mark.thorough
def test_a_missed_split_reaches_every_later_session(market, tmp_path, instance):
    """The factor of the split's session changes, so those of all later ones do."""
    key = market.sessions.keys[LATE]
    other = restated(market, key, split_of="S0002")
    found, _ = refresh(other, since=key)
    assert found == (key,)
    from_the_start = make_market(tmp_path / "fresh", source=other.source)
    run_data(from_the_start, instance)
    expected = of_tables(partition_bytes(from_the_start), *DATA)
    assert of_tables(partition_bytes(other), *DATA) == expected


def test_bars_of_the_fit_window_leave_the_processors_in_force(market):
    key = market.sessions.keys[45]
    state = market.warehouse.store.read("processors.json")
    _, said = refresh(restated(market, key), since=key)
    assert "the processors were fitted on what has changed since (inputs: alpha158, label)" in said
    assert market.warehouse.store.read("processors.json") == state


def test_a_day_without_bars_is_an_error(market, tmp_path):
    with pytest.raises(ConfigError, match="no session at or after 2021-01-01"):
        refresh(market, since="2021-01-01")
    empty = make_market(tmp_path / "empty")
    said = "no bars at or after 2020-05-01 to ask for.*`rnn-pipelines backfill --start 2020-"
    with pytest.raises(MissingSessionsError, match=said):
        refresh(empty, since="2020-05-01")


def test_the_same_bytes_are_kept_once(market):
    store, key = market.warehouse.store, market.sessions.keys[-1]
    assert revisions.keep(store, "gru_prediction", key) == 1
    assert revisions.keep(store, "gru_prediction", key) is None
    assert revisions.drop_unchanged(store, "gru_prediction", [key]) == [key]
    assert revisions.tables(store) == []
    with pytest.raises(FileNotFoundError):
        revisions.keep(store, "gru_prediction", "2020-01-01")


@pytest.mark.parametrize("position", [pytest.param(-1, marks=pytest.mark.thorough), -3])
def test_a_made_session_that_was_declared_closed_is_passed_over(market, position):
    """The exchange was closed after all; its bars are still in the warehouse."""
    keys = market.sessions.keys
    other = make_market(market.paths.root, {"market": {"closed": [keys[position]]}})
    _, said = refresh(other, since=keys[-5])
    left = [key for key in keys[-5:] if key != keys[position]]
    assert f"asking the source for {left[0]} … {left[-1]} (4 sessions)" in said
