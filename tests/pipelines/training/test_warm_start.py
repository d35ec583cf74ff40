"""Chains of trainings that begin with the weights before them.

Oracle: the library's trainer, begun by hand with the parent's weights; and a chain made in another
order, whose bundles have the same fingerprints.
"""

from __future__ import annotations

import shutil

import pytest
import torch

from pipelines.assets.materialize import CURRENT_TAG, RETRAIN
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.operations.runs import RunFailedError, run_assets
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.training import registry
from pipelines.training.registry import bundle_folder, find_bundle
from pipelines.training.train import missing_units
from pipelines.training.train_unit import anchor_data
from pipelines.training.warm_start import Parent, chain_before, parent_of, parent_words
from rnn_core.models import build_network
from rnn_core.training import Trainer, TrainerConfig, seeded_network
from rnn_core.training.bundle_files import prune_bundle
from tests.pipelines.conftest import TINY, market_of, materialize, merged
from tests.pipelines.finished_markets import made_on_the_evening, put_on_record
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


@pytest.mark.thorough
def test_a_link_that_is_lost_is_made_again_and_its_chain_is_the_same(copy):
    """Each bundle has the bytes that it had in a chain made in one go."""
    before = [bundle.fingerprint for bundle in bundles_of(copy)]
    anchors = anchors_of(copy)
    shutil.rmtree(copy.paths.models / "lstm" / anchors[0])
    assert [bool(why) for why in reasons(copy)] == [True, True, True, False]
    with own_record() as record:
        train(copy, record, anchors[:1])
        assert reasons(copy) == ["", "", "", ""]
        for as_of in anchors[1:3]:
            shutil.rmtree(copy.paths.models / "lstm" / as_of)
            train(copy, record, [as_of])
    assert [bundle.fingerprint for bundle in bundles_of(copy)] == before


def test_a_broken_chain_is_named_and_goes_on_from_the_newest_whole_link(copy):
    first, second, third, _ = anchors_of(copy)
    spec, models = copy.models[0], copy.paths.models / "lstm"
    whole = find_bundle(copy, "lstm", first).fingerprint
    for as_of in (second, third):
        shutil.rmtree(models / as_of)
    parent = parent_of(copy, spec, third)
    assert parent == Parent(first, whole)
    words = parent_words(copy, spec, third, parent)
    assert words == (
        f"the weights of {first}: the chain is broken at {second}, whose bundle is not there"
    )
    with own_record() as record:
        train(copy, record, [third])
        assert find_bundle(copy, "lstm", third).manifest["parent"] == parent.to_dict()
        # The link in between is made after all: what began elsewhere is stale, and made anew.
        assert [bool(why) for why in reasons(copy)] == [False, True, True, False]
        train(copy, record, [second])
        assert [bool(why) for why in reasons(copy)] == [False, False, True, False]
        train(copy, record)
    assert reasons(copy) == ["", "", "", ""]
    shutil.rmtree(models / first)
    assert parent_of(copy, spec, second) is None
    words = parent_words(copy, spec, second, None)
    assert words.startswith(f"fresh weights: the chain is broken at {first}")


def test_what_was_served_with_another_configuration_begins_no_chain(copy):
    """Its bundle stays as it is, and what follows is made once and is current from then on."""
    first, second, third, _ = anchors_of(copy)
    keys = copy.plan.sessions_of(first)
    with own_record() as record:
        materialize(copy, ["lstm_prediction"], keys[0], keys[-1], record)
    made_on_the_evening(copy, ["lstm"], keys)
    with own_record() as record:
        put_on_record(copy, record)
        other = warm(copy.paths.root, {"models": {"lstm": {"lr": 0.02}}})
        served = Served(other, stages(other), record)
        assert served.gave("lstm", first) and not served.leaves_to_make("lstm", first)
        train(other, record, [second, third])
        now = StoredVersions(other, stages(other), served)
        assert [now.bundle("lstm", as_of).reason for as_of in (third, second)] == ["", ""]
    assert "parent" not in find_bundle(other, "lstm", second).manifest
    assert find_bundle(other, "lstm", third).manifest["parent"]["as_of"] == second


@pytest.mark.thorough
def test_weights_that_were_pruned_are_asked_for_with_the_command_that_makes_the_chain(copy):
    first, second, third, _ = anchors_of(copy)
    fingerprints = [bundle.fingerprint for bundle in bundles_of(copy)]
    for as_of in (first, second):
        prune_bundle(bundle_folder(copy, "lstm", as_of))
    registry._load.cache_clear()  # of another process's weights
    assert reasons(copy) == ["", "", "", ""]
    shutil.rmtree(copy.paths.models / "lstm" / third)
    with own_record() as record:
        again = f"backfill --start {first} --end {second} --select lstm_model --force"
        with pytest.raises(RunFailedError, match=f"{again}.*trains its chain again"):
            train(copy, record, [third])
        forced = {CURRENT_TAG: RETRAIN}
        run_assets(build_definitions(copy), record, ["lstm_model"], (first, second), tags=forced)
        train(copy, record, [third])
    assert [bundle.fingerprint for bundle in bundles_of(copy)] == fingerprints


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


@pytest.mark.thorough
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
    for bad in ({"epochs": 0}, {"full_every": 1}, {"epoch": 3}, 3, [1], "yes"):
        with pytest.raises(ConfigError, match="warm_start"):
            parse_config(merged(TINY, {"training": {"warm_start": bad}}))
    market = warm(tmp_path / "tiny", {"models": {"lstm": {}}})
    assert chain_before(market, market.models[0], anchors_of(market)[2]) == tuple(
        anchors_of(market)[:2]
    )


def test_only_anchors_of_the_plan_have_links_before_them(tmp_path):
    """Bundles of a rhythm or a first session of before may lie anywhere."""
    market = warm(tmp_path / "tiny")
    anchors, keys = set(anchors_of(market)), market.sessions.keys
    for key in keys:
        before = chain_before(market, market.models[0], key)
        assert set(before) <= anchors
        assert all(link < key for link in before)
        assert not before or key in anchors


def test_estimators_are_fitted_whole(tmp_path):
    config = merged(TINY, WARM)
    config["models"] = {"linear": {}}
    market = Market(parse_config(config), root=tmp_path / "tiny")
    assert chain_before(market, market.models[0], anchors_of(market)[1]) == ()
