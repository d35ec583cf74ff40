"""A pin touches the sessions that it changes and no other. Oracle: the plan's anchors by hand.

The tiny market trains at its first trained session and every 12 sessions after it, so sessions
between two anchors already serve the model of the first.
"""

from __future__ import annotations

import pytest

from pipelines.assets.stages import stages
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import REPORTS, make_market, market_of, materialize, model_assets
from tests.pipelines.finished_markets import copy_of, part_of, put_on_record

KINDS = ("model", "prediction", "evaluation", "portfolio")


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def pinned(market, since, as_of):
    """The market with a rollback."""
    return make_market(market.paths.root, {"training": {"pin": {"from": since, "as_of": as_of}}})


def not_current(market, instance):
    """Sessions by asset with partitions that are not current, and the causes."""
    assets = [
        asset
        for asset in status_report(market, stages(market), instance).assets
        if asset.findings and asset.asset not in REPORTS
    ]
    found = {a.asset: [k for f in a.findings for k in f.keys] for a in assets}
    return found, {f.cause for a in assets for f in a.findings}


def test_a_pin_to_the_model_in_force_changes_nothing(copy, instance):
    """Up to the second anchor the first model serves anyway."""
    keys = copy.sessions.keys
    first = keys.index(copy.plan.first_trained)
    pin = {"from": keys[first + 5], "as_of": keys[first]}
    span = {"end": keys[first + 11]}
    same = make_market(copy.paths.root, {"market": span, "training": {"pin": pin}})
    found, _ = not_current(same, instance)
    assert not set(found) & set(model_assets(copy))


def test_a_pin_makes_stale_what_it_changes_and_nothing_before(copy, instance):
    """Pinned to the first model from the second anchor's third session on."""
    keys = copy.sessions.keys
    first = keys.index(copy.plan.first_trained)
    since = keys[first + 14]
    other = pinned(copy, since, keys[first])
    found, causes = not_current(other, instance)
    assert set(found) == {f"{m}_{kind}" for m in ("lstm", "gru", "krnn") for kind in KINDS}
    assert causes == {Cause.INPUTS}
    changed = [key for key in keys if key >= since]
    for model in ("lstm", "gru", "krnn"):
        assert sorted(found[f"{model}_model"]) == changed
        assert sorted(found[f"{model}_prediction"]) == changed
        assert sorted(found[f"{model}_portfolio"]) == changed
        assert sorted(found[f"{model}_evaluation"]) == changed[copy.datasets[0].label_lag :]


def test_taking_it_away_goes_back_without_training(finished, tmp_path, instance):
    copy = put_on_record(part_of(finished, tmp_path / "copy", "gru"), instance)
    keys = copy.sessions.keys
    first = keys.index(copy.plan.first_trained)
    pin = {"from": keys[-3], "as_of": keys[first]}
    other = market_of(copy.paths.root, "gru", {"training": {"pin": pin}})
    weights = {p: p.stat().st_mtime_ns for p in copy.paths.models.rglob("weights.safetensors")}
    materialize(other, model_assets(other), keys[-3], keys[-1], instance)
    assert not_current(other, instance) == ({}, set())
    found, _ = not_current(copy, instance)
    assert sorted(found["gru_model"]) == list(keys[-3:])
    materialize(copy, model_assets(copy), keys[-3], keys[-1], instance)
    assert not_current(copy, instance) == ({}, set())
    assert weights == {p: p.stat().st_mtime_ns for p in weights}
