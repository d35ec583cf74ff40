"""Runs of commands in the UI. Oracle: Dagster's own rule of the tags that it hides."""

from __future__ import annotations

import pytest
from dagster._core.storage.tags import TagType, get_tag_type

from pipelines.assets.materialize import CURRENT_TAG, KEEP, SERVED_TAG
from pipelines.build import build_definitions
from pipelines.instance.names import MARKET_TAG, RUN_TAG, hidden_tag, is_command
from pipelines.instance.orphaned_runs import OWNER_TAG
from pipelines.operations.runs import run_assets
from tests.pipelines.conftest import make_market


@pytest.mark.parametrize("name", ["tiny", "other"])
def test_a_run_of_a_command_has_a_job_and_shows_what_people_ask_for(tmp_path, instance, name):
    market = make_market(tmp_path / name, {"name": name})
    key = market.sessions.keys[0]
    tags = {SERVED_TAG: KEEP, RUN_TAG: "backfill"}
    run_id = run_assets(build_definitions(market), instance, ["ohlcv"], (key, key), tags=tags)
    run = instance.get_run_by_id(run_id)
    assert run.job_name == f"{name}_backfill"
    origin = run.remote_job_origin.repository_origin  # the timeline of the UI groups runs by it
    assert origin.get_label() == f"__repository__@{name}"
    assert is_command(market, run)
    own = {tag for tag in run.tags if "rnn" in tag}
    shown = {tag for tag in own if get_tag_type(tag) is not TagType.HIDDEN}
    assert shown == {RUN_TAG, MARKET_TAG}
    assert run.tags[RUN_TAG] == f"{name} backfill {key}"
    assert own - shown == {OWNER_TAG, CURRENT_TAG, SERVED_TAG}


def test_a_run_that_the_ui_launches_is_no_command(instance, tmp_path):
    """A failed one is told to people, as no terminal says it."""
    market = make_market(tmp_path / "tiny")
    job = build_definitions(market).resolve_job_def("tiny_backfill")
    assert not is_command(market, instance.create_run_for_job(job))
    daily = build_definitions(market).resolve_job_def("tiny_daily")
    tags = {RUN_TAG: "tiny daily 2020-01-02"}
    assert not is_command(market, instance.create_run_for_job(daily, tags=tags))


def test_the_tags_of_earlier_releases_are_understood():
    assert hidden_tag({"rnn/owner": "a"}, OWNER_TAG) == "a"
    assert hidden_tag({"rnn/owner": "a", OWNER_TAG: "b"}, OWNER_TAG) == "b"
    assert hidden_tag({"rnn/market": "sample"}, OWNER_TAG) is None
