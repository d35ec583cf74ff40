"""`status` as a check of the UI. Oracle: what was taken away or changed by hand."""

from __future__ import annotations

import shutil

import dagster as dg
import pytest

from pipelines.assets.asset_factory import asset_of
from pipelines.assets.partitions import partitions_definition
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.staleness import up_to_date_check
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import key_of, make_market
from tests.pipelines.finished_markets import copy_of, put_on_record

RECENT = 20


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def evaluated(market, instance):
    """The report and its check, materialized."""
    table = stages(market)
    report = next(stage for stage in table if stage.name == "signal_report")
    days = partitions_definition(market.sessions, closed=True)
    assets = [
        asset_of(market, report, table, days),
        up_to_date_check.up_to_date_check(market, table, report.name),
    ]
    upstream = [dg.AssetSpec(key) for key in assets[0].dependency_keys]
    done = dg.materialize([*upstream, *assets], instance=instance, selection=assets)
    assert done.success
    (found,) = done.get_asset_check_evaluations()
    return found


def test_a_finished_market_passes(copy, instance):
    found = evaluated(copy, instance)
    assert found.passed
    assert found.description == f"everything is current up to {copy.sessions.keys[-1]}"


@pytest.mark.thorough
def test_what_is_missing_is_named_and_the_report_is_made_all_the_same(copy, instance):
    key = copy.sessions.keys[-3]
    shutil.rmtree(copy.paths.warehouse / "label" / f"date={key}")
    found = evaluated(copy, instance)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "label 1, dataset_learn 1, " in found.description
    assert "rnn-pipelines status has the command" in found.description
    rows = [r.data for r in found.metadata["not current"].records]
    (label,) = (row for row in rows if row["asset"] == "label")
    assert label == {"asset": "label", "partitions": 1, "sessions": f"{key} (1)", "why": "absent"}


def test_what_is_missing_long_ago_is_named_what_is_stale_there_is_not(copy, instance):
    """Outside the newest sessions no file is opened: absence is seen, a changed input is not."""
    keys = copy.sessions.keys
    old = keys[keys.index(copy.datasets[0].fit_sessions()[-1]) + 3]
    shutil.rmtree(copy.paths.warehouse / "label" / f"date={old}")
    report = status_report(copy, stages(copy), instance, recent=RECENT)
    found = {a.asset: a.findings for a in report.assets if a.findings}
    assert [(f.cause, f.keys) for f in found.pop("label")] == [(Cause.ABSENT, (old,))]
    assert found == {}
    whole = {a.asset for a in status_report(copy, stages(copy), instance).assets if a.findings}
    assert {"label", "dataset_learn"} <= whole  # what was made from it
    counted = {a.asset: a.sessions for a in report.assets}
    assert counted["ohlcv"] == RECENT
    assert counted["label"] == RECENT + 1


def test_served_history_is_nothing_to_do(copy, instance):
    """Sessions that stay as they are do not fail the check."""
    report = status_report(copy, stages(copy), instance, recent=RECENT)
    assert up_to_date_check.status_result(report).passed
    other = make_market(copy.paths.root, {"models": {"gru": {"lr": 0.01}}})
    stale = up_to_date_check.status_result(
        status_report(other, stages(other), instance, recent=RECENT)
    )
    assert not stale.passed
    assert stale.description.startswith(
        f"not current up to {copy.sessions.keys[-1]}: gru_model {RECENT}, "
    )


def test_it_stands_on_the_report_in_the_job_reports_and_not_in_daily(market):
    defs = build_definitions(market)
    key = dg.AssetCheckKey(key_of("signal_report"), "up_to_date")
    assert key in defs.resolve_job_def("tiny_reports").asset_layer.asset_graph.asset_check_keys
    daily = defs.resolve_job_def("tiny_daily").asset_layer
    assert key not in daily.asset_graph.asset_check_keys
    spec = defs.resolve_asset_graph().get_check_spec(key)
    assert not spec.blocking
    assert "`" not in spec.description
