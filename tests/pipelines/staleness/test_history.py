"""What was served is history, whatever is lost, restated, pinned or configured after it.

Each test lets some months go wrong in one way and then does what a person would do. Oracles: the
scores that were served, and a market that was never served and made anew.
"""

from __future__ import annotations

import io
import json
import shutil

import dagster as dg
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.automation.next_session import Outlook
from pipelines.automation.schedule import request
from pipelines.build import build_definitions
from pipelines.instance.home import dagster_instance
from pipelines.instance.run_history import failure_reason
from pipelines.operations.refresh import run_refresh
from pipelines.operations.sync import sync_record
from pipelines.reports.signal_report import as_first_made, served_figures
from pipelines.staleness import data_versions
from pipelines.staleness.served import served_sessions
from pipelines.staleness.status_report import status_report
from pipelines.training import registry
from pipelines.training.promotion import Verdict
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import key_of, make_market, market_of
from tests.pipelines.finished_markets import (
    backfill,
    copy_of,
    made_on_the_evening,
    part_of,
    restated,
)

MODELS = ("lstm", "gru", "krnn")


def bundle_path(market, model, as_of):
    return market.paths.models / model / as_of


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market: three anchors, the newest seven sessions before its end."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return copy_of(finished, tmp_path / "tiny")


@pytest.fixture
def alone(finished, tmp_path, monkeypatch):
    """The same with its GRU alone, where a test needs no more."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return part_of(finished, tmp_path / "tiny", "gru")


def anchors(market):
    return [key for key in market.sessions.keys if market.plan.trains(key)]


def serve(market, keys, models=MODELS):
    """Predictions of these sessions were made on their evening; all is on record."""
    made_on_the_evening(market, models, keys)
    with dagster_instance(market) as record:
        sync_record(market, stages(market), record)


def unmake(market, keys):
    """Sessions that were never run."""
    for table in market.paths.warehouse.iterdir():
        for key in keys:
            shutil.rmtree(table / f"date={key}", ignore_errors=True)


def daily(market, key, tags=None):
    """The job of a session; why it failed, empty where it did not."""
    job = build_definitions(market).resolve_job_def("tiny_daily")
    with dagster_instance(market) as record:
        result = job.execute_in_process(
            instance=record, partition_key=key, tags=tags, raise_on_error=False
        )
        return "" if result.success else failure_reason(record, result.run_id)


def scores(market, key, model="gru"):
    return market.warehouse.read(f"{model}_prediction", [key], needed_by="t").frame


def fingerprint_of(bundle):
    return json.loads((bundle / "manifest.json").read_text())["fingerprint"]


def served(market, model="gru"):
    with dagster_instance(market) as record:
        return served_sessions(market, record, f"{model}_prediction")


def causes(market, asset):
    with dagster_instance(market) as record:
        report = status_report(market, stages(market), record)
    (found,) = (a for a in report.assets if a.asset == asset)
    return {key: finding.why for finding in found.findings for key in finding.keys}, report


@pytest.mark.parametrize(
    "by", ["the schedule", pytest.param("a backfill", marks=pytest.mark.thorough)]
)
def test_a_lost_record_does_not_turn_history_into_hindsight(alone, by):
    """The next run, before anyone thinks of `sync`, records the files at their own times."""
    market, keys = alone, alone.sessions.keys[-4:]
    serve(market, keys, ["gru"])
    assert served(market) == set(keys)
    shutil.rmtree(market.paths.dagster)
    assert served(market) == set(keys), "by their files"
    if by == "a backfill":
        backfill(market, start=keys[0], end=keys[-1])
    else:
        asked = request(Outlook(keys[-1], (keys[-1],)), market.config.schedule)
        assert daily(market, keys[-1], asked.tags) == ""
    assert served(market) == set(keys)
    with dagster_instance(market) as record:
        sync_record(market, stages(market), record)
    assert served(market) == set(keys)


def test_a_served_anchor_without_its_bundle_is_trained_again(alone):
    """It blocks the sessions that follow, is named by `status`, and made by a backfill."""
    market = alone
    anchor, last = anchors(market)[-1], market.sessions.keys[-1]
    keys = [key for key in market.sessions.keys if anchor <= key < last]
    unmake(market, [last])
    serve(market, keys, ["gru"])
    before = fingerprint_of(bundle_path(market, "gru", anchor))
    shutil.rmtree(bundle_path(market, "gru", anchor))
    found, report = causes(market, "gru_model")
    assert not report.is_current
    assert f"the gru bundle of {anchor} is not there" in str(found[anchor])
    assert f"materialize gru_model of {anchor} first" in daily(market, last)
    pointer = market.warehouse.info("gru_model", anchor).digest
    backfill(market, start=anchor, end=last)
    assert fingerprint_of(bundle_path(market, "gru", anchor)) == before, "the same data and seed"
    assert market.warehouse.info("gru_model", anchor).digest == pointer
    assert set(scores(market, last)["fingerprint"]) == {before}
    assert causes(market, "gru_model")[1].is_current


@pytest.mark.thorough
def test_taking_a_pin_away_trains_the_anchors_that_passed_under_it(market):
    _, second, third = anchors(market)
    keys, last = market.sessions.keys, market.sessions.keys[-1]
    since = keys[keys.index(third) - 4]
    under = [key for key in keys if since <= key < last]
    pinned = make_market(market.paths.root, {"training": {"pin": {"from": since, "as_of": second}}})
    unmake(market, [key for key in keys if key >= since])
    for model in MODELS:
        shutil.rmtree(bundle_path(market, model, third))
    backfill(pinned, start=since, end=under[-1])
    shutil.rmtree(market.paths.dagster)
    serve(pinned, under)
    assert "there is none" in daily(market, last)
    backfill(market, start=since, end=last)
    assert scores(market, last)["as_of"].astype(str).unique().tolist() == [third]
    assert scores(market, under[-1])["as_of"].astype(str).unique().tolist() == [second]
    assert causes(market, "gru_model")[1].is_current


@pytest.mark.thorough
def test_another_configuration_trains_a_served_anchor_for_those_that_follow(market):
    anchor, last = anchors(market)[-1], market.sessions.keys[-1]
    keys = [key for key in market.sessions.keys if anchor <= key < last]
    unmake(market, [last])
    serve(market, keys)
    old = fingerprint_of(bundle_path(market, "gru", anchor))
    other = make_market(market.paths.root, {"models": {"gru": {"hidden_size": 6}}})
    assert f"materialize gru_model of {anchor} again first" in daily(other, last)
    backfill(other, start=anchor, end=last)
    new = fingerprint_of(bundle_path(market, "gru", anchor))
    assert set(scores(market, last)["fingerprint"]) == {new} != {old}
    assert set(scores(market, keys[-1])["fingerprint"]) == {old}, "served"
    kept = market.paths.models / ".revisions" / "gru" / anchor / old[:16]
    assert fingerprint_of(kept) == old, "the bundle behind what was served is still there"


@pytest.mark.thorough
def test_a_bundle_that_served_outlives_restated_bars(market):
    """Its anchor was backfilled, the sessions after it were served: the usual life after `demo`."""
    anchor, keys = anchors(market)[-1], market.sessions.keys
    serve(market, [key for key in keys if key > anchor])
    before = fingerprint_of(bundle_path(market, "gru", anchor))
    day = keys[keys.index(anchor) - 6]
    other = restated(market, day)
    run_refresh(other, Console(file=io.StringIO()), since=day)
    backfill(other, start=anchors(market)[0], end=keys[-1])
    assert fingerprint_of(bundle_path(market, "gru", anchor)) == before
    assert set(scores(market, keys[-1])["fingerprint"]) == {before}
    assert causes(other, "gru_model")[1].is_current
    backfill(other, start=anchor, end=keys[-1], republish=True)
    assert fingerprint_of(bundle_path(market, "gru", anchor)) != before
    kept = market.paths.models / ".revisions" / "gru" / anchor / before[:16]
    assert fingerprint_of(kept) == before


@pytest.mark.thorough
def test_a_pin_reaches_backfilled_sessions_though_its_model_was_served(market):
    first, keys = anchors(market)[0], market.sessions.keys
    serve(market, [key for key in keys if first <= key < anchors(market)[1]])
    pinned = make_market(
        market.paths.root, {"training": {"pin": {"from": keys[-3], "as_of": first}}}
    )
    backfill(pinned, start=keys[-3], end=keys[-1])
    for key in keys[-3:]:
        assert scores(market, key)["as_of"].astype(str).unique().tolist() == [first]


@pytest.mark.thorough
def test_another_attempt_of_the_schedule_leaves_what_was_served(market):
    """One model failed in the evening; by the next morning the vendor has corrected a bar."""
    day = market.sessions.keys[-3]
    serve(market, market.sessions.keys[-6:], ["lstm", "gru"])
    shutil.rmtree(market.paths.warehouse / "krnn_evaluation" / f"date={day}")
    before = scores(market, day)
    other = restated(market, day)
    asked = request(Outlook(day, (day,)), other.config.schedule)
    assert daily(other, day, asked.tags) == ""
    assert scores(market, day).equals(before)
    assert not scores(market, day, "krnn").empty


def test_the_ic_of_served_days_is_that_of_what_was_served(alone):
    """Published again with another learning rate, in hindsight."""
    market, keys = alone, alone.sessions.keys
    serve(market, keys[-6:], ["gru"])

    def figures(market):
        sessions = [k for k in keys if k >= keys[keys.index(market.plan.first_trained) + 2]]
        rows = market.warehouse.read("gru_evaluation", sessions, needed_by="t").frame
        rows = rows.set_index("date")
        return served_figures(as_first_made(market, "gru_evaluation", rows), served(market)), rows

    before, _ = figures(market)
    changes = {"models": {"gru": {"lr": 0.05, "n_epochs": 3}}}
    other = market_of(market.paths.root, "gru", changes)
    backfill(
        other, start=market.plan.first_trained, end=keys[-1], select="gru_model+", republish=True
    )
    after, rows = figures(other)
    assert after == before
    assert before["served_days"] == 4
    assert served_figures(rows, served(market)) != before, "the table holds those of hindsight"


@pytest.mark.thorough
def test_a_lost_prediction_made_again_was_not_served(market):
    day = market.sessions.keys[-4]
    serve(market, market.sessions.keys[-6:])
    path = market.paths.warehouse / "gru_prediction" / f"date={day}" / PART
    raw = bytearray(path.read_bytes())
    raw[20] ^= 255
    path.write_bytes(bytes(raw))
    backfill(market, start=day, end=day)
    assert not scores(market, day).empty
    assert served(market) == set(market.sessions.keys[-6:]) - {day}
    assert day in served(market, "lstm")


def test_publishing_the_same_bytes_again_changes_no_time(alone):
    """Else a lost record would take them for backfilled ones."""
    market, keys = alone, alone.sessions.keys[-4:]
    serve(market, keys, ["gru"])
    backfill(
        market, start=keys[0], end=keys[-1], select="gru_prediction", force=True, republish=True
    )
    shutil.rmtree(market.paths.dagster)
    assert served(market) == set(keys)


@pytest.fixture
def bad(monkeypatch):
    """Sessions whose models fail a blocking check."""
    found: set[str] = set()

    def verdict(checks, manifest):
        return Verdict(("bad",)) if manifest["as_of"] in found else Verdict()

    for module in (registry, data_versions):
        if hasattr(module, "model_verdict"):
            monkeypatch.setattr(module, "model_verdict", verdict)
    return found


@pytest.mark.thorough
def test_the_last_good_model_stays_though_the_rhythm_has_changed(market, bad):
    """The new rhythm has no anchor where the good model was trained."""
    third = anchors(market)[-1]
    key = market.sessions.keys[market.sessions.position(third) + 1]
    unmake(market, [k for k in market.sessions.keys if k >= key])
    other = make_market(market.paths.root, {"training": {"retrain_every": 5}})
    assert other.plan.trains(key)
    assert not other.plan.trains(third)
    bad.add(key)
    assert daily(other, key) == ""
    assert scores(market, key)["as_of"].astype(str).unique().tolist() == [third]


@pytest.mark.thorough
def test_a_model_of_other_windows_never_serves(market, bad):
    """The new model of longer windows is bad, and the older ones saw shorter ones: no scores."""
    third = anchors(market)[-1]
    unmake(market, [key for key in market.sessions.keys if key >= third])
    for model in MODELS:
        shutil.rmtree(bundle_path(market, model, third))
    longer = make_market(market.paths.root, {"dataset": {"step_len": 9}})
    bad.add(third)
    assert daily(longer, third) == ""
    assert scores(market, third).empty
    assert "no model" in market.warehouse.info("gru_model", third).provenance.status
    after = market.sessions.keys[market.sessions.position(third) + 1]
    assert daily(longer, after) == "", "and so does the next day"
    assert scores(market, after).empty


def test_a_pin_to_a_model_of_other_windows_is_refused(market):
    first, key = anchors(market)[0], market.sessions.keys[-1]
    changes = {"dataset": {"step_len": 9}, "training": {"pin": {"from": key, "as_of": first}}}
    why = daily(make_market(market.paths.root, changes), key)
    assert f"serves the gru model of {first}, which was trained with another step_len" in why
    assert "name another session in training.pin" in why


@pytest.mark.thorough
def test_a_refit_reaches_a_served_anchor(market):
    """Its bundle knows another processor state and cannot score the features of now."""
    anchor, keys = anchors(market)[-1], market.sessions.keys
    last = keys[-1]
    unmake(market, [last])
    serve(market, [key for key in keys if anchor <= key < last])
    other = make_market(market.paths.root, {"dataset": {"fit_end": "2020-03-16"}})
    with dagster_instance(other) as record:
        job = build_definitions(other).resolve_job_def("tiny_refit")
        assert job.execute_in_process(instance=record).success
    backfill(other, start=keys[0], end=last)
    assert not scores(market, last).empty
    assert set(scores(market, last)["fingerprint"]) == {
        fingerprint_of(bundle_path(market, "gru", anchor))
    }
    assert causes(other, "gru_model")[1].is_current


def test_the_record_of_a_partition_has_the_time_of_its_file(market, instance):
    """A run that keeps what is there says when it was made, not when it looked."""
    key = market.sessions.keys[-1]
    path = market.paths.warehouse / "gru_prediction" / f"date={key}" / PART
    job = build_definitions(market).resolve_job_def("tiny_daily")
    assert job.execute_in_process(instance=instance, partition_key=key).success
    wanted = dg.AssetRecordsFilter(asset_key=key_of("gru_prediction"), asset_partitions=[key])
    times = [r.timestamp for r in instance.fetch_materializations(wanted, limit=9).records]
    assert len(times) == 2
    assert min(times) == pytest.approx(path.stat().st_mtime, abs=0.01)
