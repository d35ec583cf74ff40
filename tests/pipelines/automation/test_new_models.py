"""A model added to a market at work. Oracle: tomorrow's signals of the others come as before."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest

from pipelines.automation.new_models import newcomers
from pipelines.market.stage import Kind, Stage
from tests.pipelines.conftest import key_of, make_market, open_record
from tests.pipelines.finished_markets import copy_of, put_on_record
from tests.pipelines.ticks import NEW_YORK, defs_of, keys_of, mark_done, tick

FOURTH = {"family": "gru", "hidden_size": 4, "num_layers": 1, "n_epochs": 1, "batch_size": 64}
ADDED = {"models": {"gru2": FOURTH}}
NIGHT = dt.datetime(2020, 5, 16, 0, 30, tzinfo=NEW_YORK)  # the session of 2020-05-15 is due
HINT = "`rnn-pipelines backfill --start 2020-04-01 --end 2020-05-15` makes what it lacks"


@pytest.fixture
def instance(tmp_path):
    """An empty Dagster record."""
    with open_record(tmp_path / "record") as record:
        yield record


def record(instance, stage, key):
    made = dg.AssetMaterialization(asset_key=key_of(stage), partition=key)
    instance.report_runless_asset_event(made)


def test_the_newest_session_is_asked_for_first_and_leaves_out_what_cannot_be_served(
    tmp_path, instance
):
    """2020-05-15 is no anchor, and the anchor before it has no bundle of the new model."""
    market = make_market(tmp_path / "tiny", ADDED)
    mark_done(instance, market.sessions.keys[:-1])
    (run,) = tick(market, instance, NIGHT)
    assert run.partition_key == "2020-05-15"
    names = {key.path[-1] for key in run.asset_selection}
    daily = defs_of(market).resolve_job_def("tiny_daily").asset_layer.selected_asset_keys
    left_out = {key.path[-1] for key in daily} - names
    assert left_out == {"gru2_model", "gru2_prediction", "gru2_evaluation", "gru2_portfolio"}
    assert run.tags["rnn/attempt"] == "1 of 6"


@pytest.mark.parametrize("how", ["every session trains", "the anchor was trained"])
def test_it_joins_as_soon_as_it_can_be_served(tmp_path, instance, how):
    every = {"training": {"retrain_every": 1}} if how == "every session trains" else {}
    market = make_market(tmp_path / "tiny", ADDED | every)
    mark_done(instance, market.sessions.keys[:-1])
    if not every:
        bundle = market.paths.models / "gru2" / market.plan_of("gru2").anchor("2020-05-15")
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
    (run,) = tick(market, instance, NIGHT)
    daily = defs_of(market).resolve_job_def("tiny_daily").asset_layer.selected_asset_keys
    assert run.partition_key == "2020-05-15"
    left_out = {key.path[-1] for key in daily} - {key.path[-1] for key in run.asset_selection}
    assert left_out == {"gru2_portfolio"}, "its book has no session to go on from"


def test_what_to_run_is_said_until_its_past_is_there(tmp_path, instance):
    market = make_market(tmp_path / "tiny", ADDED)
    keys = market.sessions.keys
    mark_done(instance, keys)
    assert tick(market, instance, NIGHT).skip_message == (
        "every closed session is done, the newest is 2020-05-15; gru2 has no evaluation yet, "
        f"which holds nothing back: {HINT}"
    )
    record(instance, "gru2_evaluation", keys[-2])
    assert keys_of(tick(market, instance, NIGHT)) == [keys[-1]], "from then on it counts"
    record(instance, "gru2_evaluation", keys[-1])
    said = tick(market, instance, NIGHT).skip_message
    assert "; gru2_portfolio has no session yet, " in said
    assert f"gru2 has no evaluation before {keys[-2]}, which" in said
    for key in (k for k in keys if k >= "2020-04-01"):
        record(instance, "gru2_evaluation", key)
        record(instance, "gru2_portfolio", key)
    done = "every closed session is done, the newest is 2020-05-15"
    assert tick(market, instance, NIGHT).skip_message == done


def test_the_books_of_an_upgraded_market_wait_for_a_backfill_and_hold_nothing_back(
    tmp_path, instance
):
    """Evaluations are on record as an earlier release left them; no book has a session."""
    market = make_market(tmp_path / "tiny")
    first = market.sessions.position(market.plan.first_trained)
    for key in market.sessions.keys[first:-1]:
        for model in ("lstm", "gru", "krnn"):
            record(instance, f"{model}_evaluation", key)
    (run,) = tick(market, instance, NIGHT)
    assert run.partition_key == "2020-05-15"
    daily = defs_of(market).resolve_job_def("tiny_daily").asset_layer.selected_asset_keys
    left_out = {key.path[-1] for key in daily} - {key.path[-1] for key in run.asset_selection}
    assert left_out == {"lstm_portfolio", "gru_portfolio", "krnn_portfolio"}


@pytest.mark.thorough
def test_a_run_without_it_makes_the_session_of_the_others(finished, tmp_path, instance):
    market = make_market(copy_of(finished, tmp_path / "tiny").paths.root, ADDED)
    put_on_record(market, instance)
    key = "2020-05-15"
    path = market.paths.warehouse / "lstm_evaluation" / f"date={key}"
    for file in path.iterdir():
        file.unlink()
    put_on_record(market, instance)
    (asked,) = tick(market, instance, NIGHT)
    job = defs_of(market).resolve_job_def("tiny_daily")
    assert not job.execute_in_process(
        instance=instance, partition_key=key, raise_on_error=False
    ).success, "the whole job needs a bundle that is not there"
    run = job.execute_in_process(
        instance=instance, partition_key=key, asset_selection=asked.asset_selection
    )
    assert run.success
    assert "gru2" in tick(market, instance, NIGHT).skip_message


@pytest.mark.parametrize(
    "done",
    [
        {"a_evaluation": (), "b_evaluation": ()},
        {"a_evaluation": ("1",), "b_evaluation": ()},  # its first session failed for b
        {"a_evaluation": ("1", "2"), "b_evaluation": ("1",)},
    ],
)
def test_a_market_that_begins_has_no_newcomers(done):
    stages = {
        name: Stage(name, Kind.EVALUATION, make=pytest.fail, code_version="1", model=name[0])
        for name in done
    }
    found = newcomers(["1", "2", "3"], {stages[name]: keys for name, keys in done.items()})
    assert (found.without, found.note("3", "rnn-pipelines {}".format)) == ((), "")
