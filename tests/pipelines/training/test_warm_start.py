"""Chains of trainings that begin with the weights before them.

Oracle: the library's trainer, begun by hand with the parent's weights; and a chain made in another
order, whose bundles have the same fingerprints.
"""

from __future__ import annotations

import shutil

import pytest
import torch

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.operations.runs import RunFailedError
from pipelines.staleness.data_versions import StoredVersions
from pipelines.training.registry import find_bundle
from pipelines.training.train import missing_units
from pipelines.training.train_unit import anchor_data
from pipelines.training.warm_start import chain_before
from rnn_core.models import build_network
from rnn_core.training import Trainer, TrainerConfig, seeded_network
from tests.pipelines.conftest import TINY, market_of, materialize, merged
from tests.pipelines.finished_markets import copy_of
from tests.pipelines.records import own_record

WARM = {"training": {"warm_start": {"epochs": 1, "full_every": 3}, "retrain_every": 8, "seeds": 2}}


def warm(root, changes=None):
    return market_of(root, "lstm", merged(WARM, changes or {}))


def anchors_of(market):
    return list(filter(market.plan.trains, market.sessions.keys))


def bundles_of(market):
    return [find_bundle(market, "lstm", as_of) for as_of in anchors_of(market)]


def train(market, record, keys=None):
    keys = keys or anchors_of(market)
    materialize(market, ["lstm_model"], keys[0], keys[-1], record)


def reasons(market):
    """Why each anchor's bundle would be trained again; empty for one that is current."""
    now = StoredVersions(market, stages(market))
    return [now.bundle("lstm", as_of).reason for as_of in reversed(anchors_of(market))][::-1]


@pytest.fixture(scope="module")
def trained(finished, tmp_path_factory):
    """Four anchors: full, two that begin with the weights before them, full again."""
    copy_of(finished, tmp_path_factory.mktemp("warm") / "tiny")
    root = tmp_path_factory.mktemp("warm") / "tiny"
    shutil.copytree(finished.paths.root, root)
    shutil.rmtree(root / "models")
    market = warm(root)
    assert len(anchors_of(market)) == 4
    with own_record() as record:
        train(market, record)
    return market


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained.paths.root, tmp_path / "tiny")
    return warm(tmp_path / "tiny")


def test_anchors_begin_with_the_weights_before_them_and_a_chain_with_fresh_ones(trained):
    first, second, third, fourth = bundles_of(trained)
    anchors = anchors_of(trained)
    parents = [bundle.manifest.get("parent") for bundle in (first, second, third, fourth)]
    assert parents == [
        None,
        {"as_of": anchors[0], "fingerprint": first.fingerprint},
        {"as_of": anchors[1], "fingerprint": second.fingerprint},
        None,
    ]
    epochs = [len(b.history) // 2 for b in (first, second, third, fourth)]  # of two seeds
    assert epochs == [2, 1, 1, 2]
    assert reasons(trained) == ["", "", "", ""]


def test_the_weights_are_those_of_the_trainer_begun_with_the_parents(trained):
    first, second, *_ = bundles_of(trained)
    spec = trained.models[0]
    data = anchor_data(trained, spec, anchors_of(trained)[1])
    for seed, (parent, child) in enumerate(zip(first.members, second.members, strict=True)):
        network = seeded_network(
            lambda: build_network("lstm", len(second.columns), spec.hyper),
            seed,
        )
        network.load_state_dict(parent.state_dict())
        config = TrainerConfig(**{**spec.training, "n_epochs": 1}, seed=seed, device="cpu")
        result = Trainer(config).fit(network, data.train, data.valid)
        expected = result.member.state_dict()
        assert not torch.equal(next(parent.parameters()), next(child.parameters()))
        for name, value in child.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_link_that_is_lost_is_made_again_and_so_is_the_chain(copy):
    """Each bundle has the bytes that it had in a chain made in one go."""
    before = [bundle.fingerprint for bundle in bundles_of(copy)]
    anchors = anchors_of(copy)
    shutil.rmtree(copy.paths.models / "lstm" / anchors[0])
    assert [bool(why) for why in reasons(copy)] == [True, True, True, False]
    with own_record() as record:
        with pytest.raises(
            RunFailedError, match=rf"chain of warm starts is broken at {anchors[0]}"
        ):
            train(copy, record, anchors[1:2])
        assert find_bundle(copy, "lstm", anchors[1]).fingerprint == before[1]
        train(copy, record, anchors[:1])
        assert reasons(copy) == ["", "", "", ""]
        for as_of in anchors[1:3]:
            shutil.rmtree(copy.paths.models / "lstm" / as_of)
            train(copy, record, [as_of])
    assert [bundle.fingerprint for bundle in bundles_of(copy)] == before


def test_a_child_of_a_parent_made_anew_is_stale(copy):
    """The parent is trained over more epochs, then the old configuration is back."""
    anchors = anchors_of(copy)
    other = warm(copy.paths.root, {"models": {"lstm": {"n_epochs": 3}}})
    with own_record() as record:
        train(other, record, anchors[:1])
        assert [bool(why) for why in reasons(other)] == [False, True, True, True]
        train(other, record)
    assert reasons(other) == ["", "", "", ""]
    manifest = find_bundle(other, "lstm", anchors[1]).manifest
    assert manifest["parent"]["fingerprint"] == find_bundle(other, "lstm", anchors[0]).fingerprint


def test_no_model_that_failed_its_checks_is_begun_with(finished, tmp_path):
    shutil.copytree(finished.paths.root, tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "models")
    strict = {"checks": {"model": {"rank_ic": "block", "min_rank_ic": 1.0}}}
    market = warm(tmp_path / "tiny", strict)
    with own_record() as record:
        train(market, record)
    assert [b.manifest.get("parent") for b in bundles_of(market)] == [None] * 4
    assert [len(b.history) // 2 for b in bundles_of(market)] == [2] * 4
    assert reasons(market) == [""] * 4


def test_what_begins_with_weights_is_planned_once_they_are_there(copy):
    spec, anchors = copy.models[0], anchors_of(copy)

    def planned():
        return [(u.as_of, u.seed) for u in missing_units(copy, spec, copy.sessions.keys)]

    assert planned() == []
    shutil.rmtree(copy.paths.models / "lstm")
    both = [(anchors[0], 0), (anchors[0], 1)]
    assert planned() == [*both, (anchors[3], 0), (anchors[3], 1)]
    with own_record() as record:
        train(copy, record, anchors[:1])
    units = missing_units(copy, spec, copy.sessions.keys)
    assert [u.as_of for u in units] == [anchors[1]] * 2 + [anchors[3]] * 2
    parent = find_bundle(copy, "lstm", anchors[0]).fingerprint
    assert [u.parent for u in units] == [parent, parent, None, None]


@pytest.mark.thorough
def test_workers_make_the_chain_of_one_process(trained, copy, monkeypatch):
    shutil.rmtree(copy.paths.models / "lstm")
    monkeypatch.setenv("RNN_TRAINING_EXECUTOR", "processes")
    with own_record() as record:
        train(copy, record)
    expected = [bundle.fingerprint for bundle in bundles_of(trained)]
    assert [bundle.fingerprint for bundle in bundles_of(copy)] == expected


def test_the_section_has_defaults_and_bounds(tmp_path):
    section = parse_config(merged(TINY, {"training": {"warm_start": True}})).training.warm_start
    assert (section.epochs, section.full_every) == (3, 12)
    for off in (False, None):
        assert (
            parse_config(merged(TINY, {"training": {"warm_start": off}})).training.warm_start
            is None
        )
    for bad in ({"epochs": 0}, {"full_every": 1}, {"epoch": 3}, 3, "yes"):
        with pytest.raises(ConfigError, match="warm_start"):
            parse_config(merged(TINY, {"training": {"warm_start": bad}}))
    market = warm(tmp_path / "tiny", {"models": {"lstm": {}}})
    assert chain_before(market, market.models[0], anchors_of(market)[2]) == tuple(
        anchors_of(market)[:2]
    )


def test_estimators_are_fitted_whole(tmp_path):
    config = merged(TINY, WARM)
    config["models"] = {"linear": {}}
    from pipelines.market.market import Market

    market = Market(parse_config(config), root=tmp_path / "tiny")
    assert chain_before(market, market.models[0], anchors_of(market)[1]) == ()
