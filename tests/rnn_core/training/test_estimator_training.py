"""Estimators that are no networks: their fit, their files in a bundle, their scores.

Oracle: the mean label by session, which the estimator here learns.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import ColumnSteps, TSDataSampler
from rnn_core.evaluation import calc_ic
from rnn_core.models import EstimatorFamily, LinearModel
from rnn_core.models.estimator_protocol import hyper_class, missing_methods
from rnn_core.models.families import _own, own_family
from rnn_core.training import (
    BundleError,
    bundle_fingerprint,
    fit_estimator,
    load_bundle,
    samples_of,
    save_bundle,
    score_members,
    validation_facts,
)
from tests.rnn_core.models.estimator_samples import make_samples


class Shift:
    """Scores are the first feature plus the mean label; keeps it as JSON."""

    name = "state.json"

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def fit(self, train, valid, *, seed, threads):
        self.mean = float(np.nanmean(train.label)) + seed

    def predict(self, samples):
        return self.factor * samples.rows()[:, 0] + self.mean

    def save(self, folder):
        (folder / self.name).write_text(json.dumps(self.mean))

    def load(self, folder):
        self.mean = json.loads((folder / self.name).read_text())


class Forgetful(Shift):
    def load(self, folder):
        pass


class Pickled(Shift):
    name = "state.pkl"


class Silent(Shift):
    def save(self, folder):
        pass


class Short(Shift):
    def predict(self, samples):
        return np.zeros(3)


class Centred(Shift):
    def predict(self, samples):
        scores = super().predict(samples)
        return scores - scores.mean()


class Undefined(Shift):
    def predict(self, samples):
        return np.full(len(samples), np.nan)


class Historic(Shift):
    def fit(self, train, valid, *, seed, threads):
        super().fit(train, valid, seed=seed, threads=threads)
        return pd.DataFrame({"valid_score": [0.1, 0.3], "best": [False, False]})


@pytest.fixture
def family(monkeypatch):
    """A family of one of these classes, known by the name `shift`."""

    def make(estimator=Shift):
        family = EstimatorFamily("shift", estimator, hyper_class("shift", estimator), {})
        monkeypatch.setitem(_own, "shift", family)
        return family

    return make


@pytest.fixture(scope="module")
def sampler():
    """Four features and the label over 12 sessions of 5 names, one name absent at the start."""
    source = make_samples(sessions=12, names=5)
    frame = pd.DataFrame(source.rows(), index=source.index, columns=list("abcd"))
    frame["label"] = source.label
    frame = frame.drop(index=frame.index[:3]).sort_index()
    return TSDataSampler(frame, None, None, 3, "ffill+bfill")


def test_samples_are_the_windows_of_the_sampler(sampler):
    samples = samples_of(sampler, list("abcd"), has_label=True)
    windows = sampler[:]
    assert np.array_equal(samples.windows, windows[..., :-1])
    assert np.array_equal(samples.rows(), windows[:, -1, :-1])
    assert np.array_equal(samples.label, windows[:, -1, -1])
    assert samples.index.equals(sampler.get_index())


def test_a_row_that_holds_its_window_is_cut_into_sessions(sampler):
    """Columns a, b, c, d as two features of two steps: a, b and c, d by age."""
    frame = pd.DataFrame(sampler[:][:, -1], sampler.get_index(), list("abcdl")).sort_index()
    rows = TSDataSampler(frame, None, None, 1)
    samples = samples_of(ColumnSteps(rows, 2, has_label=True), ["x", "y"], has_label=True)
    matrix = rows[:][:, 0]
    assert np.array_equal(samples.rows(), matrix[:, [1, 3]])
    assert np.array_equal(samples.rows("window"), matrix[:, [0, 2, 1, 3]])
    assert np.array_equal(samples.label, matrix[:, 4])


def test_facts_and_scores_are_the_means_over_the_members(sampler, family):
    samples = samples_of(sampler, list("abcd"), has_label=True)
    fits = [fit_estimator(family(), {}, samples, samples, seed=seed) for seed in (0, 1)]
    members = [fit.member for fit in fits]
    features = TSDataSampler(
        pd.DataFrame(samples.rows(), samples.index, list("abcd")).sort_index(),
        None, None, 3, "ffill+bfill",
    )  # fmt: skip
    scores = score_members(members, features)
    mean = float(np.nanmean(samples.label))
    expected = samples.rows()[:, 0] + np.array([[mean], [mean + 1]])
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert scores.dtype == np.float32
    facts = validation_facts(members, sampler, metric="loss", train_mean=mean)
    label = samples.label.astype(np.float64)
    score = expected.mean(axis=0)
    assert facts.score == pytest.approx(-np.mean((score - label) ** 2), rel=1e-6)
    assert facts.constant_score == pytest.approx(-np.mean((mean - label) ** 2), rel=1e-6)
    series = [pd.Series(v, samples.index) for v in (score, label)]
    assert facts.rank_ic == pytest.approx(calc_ic(*series)[1].mean(), rel=1e-9)
    # Without a history of its own, the one row is that of its rank IC.
    assert fits[0].history["valid_score"].tolist() == [pytest.approx(facts.rank_ic)]


def test_an_empty_source_has_no_scores(sampler):
    none = sampler.between(pd.Timestamp("1990-01-01"), pd.Timestamp("1990-01-01"))
    assert score_members([LinearModel(), LinearModel()], none).shape == (2, 0)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Pickled, r"save of Pickled wrote state\.pkl, a pickle, which runs code"),
        (Silent, "save of Silent wrote no file"),
        (Short, r"predict of Short gave \[3\] for 60 samples, expected a score a sample"),
        (Undefined, "60 of 60 scores of Undefined are not finite, the first at 2020-01-01 n00"),
        (Centred, "predict of Centred scores 30 samples otherwise alone than among 60"),
        (Forgetful, "Forgetful"),
        (Historic, "the history of shift has no row that is best"),
    ],
)
def test_an_estimator_that_breaks_the_contract_is_refused_by_what_it_does(
    family, estimator, message
):
    data = make_samples(sessions=12, names=5)
    with pytest.raises((ValueError, AttributeError), match=message):
        fit_estimator(family(estimator), {}, data, data)


def test_a_pickle_under_another_name_is_one(family):
    class Hidden(Shift):
        def save(self, folder):
            (folder / "state.bin").write_bytes(b"\x80\x04K\x01.")

    with pytest.raises(ValueError, match=r"wrote state\.bin, a pickle"):
        fit_estimator(family(Hidden), {}, make_samples(), None)


@pytest.fixture
def saved(family, tmp_path):
    """A bundle of two members."""
    data = make_samples(sessions=12, names=5)
    members = [fit_estimator(family(), {}, data, None, seed=s).member for s in (0, 1)]

    def save(path=tmp_path / "shift", **changes):
        arguments = {
            "family": "shift", "hyper": {"factor": 1.0}, "columns": list("abcd"), "config": {},
            "history": pd.DataFrame({"valid_score": [0.0], "best": [True]}),
            "processors_json": "[]", "manifest": {"as_of": "2024-06-28"},
        }  # fmt: skip
        save_bundle(path, members, **{**arguments, **changes})
        return path, data, members

    return save


def test_a_bundle_holds_the_files_of_every_member(saved, tmp_path):
    path, data, members = saved()
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert names == [
        "config.yaml", "history.parquet", "manifest.json", "processors.json",
        "state/0/state.json", "state/1/state.json",
    ]  # fmt: skip
    bundle = load_bundle(path)
    assert bundle.network is None and bundle.members == bundle.estimators
    for member, known in zip(bundle.members, members, strict=True):
        assert np.array_equal(member.predict(data), known.predict(data))
    again, _, _ = saved(tmp_path / "again")
    assert bundle_fingerprint(again) == bundle.fingerprint
    before = (path / "manifest.json").stat().st_mtime_ns
    saved()  # the same one stays as it is
    assert (path / "manifest.json").stat().st_mtime_ns == before
    saved(replace=True, hyper={"factor": 2.0})
    assert load_bundle(path).fingerprint != bundle.fingerprint


@pytest.mark.parametrize("name", ["state/1/state.json", "manifest.json", "config.yaml"])
def test_damage_is_named(saved, name):
    path, _, _ = saved()
    file = path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} of bundle .* (damaged|changed)"):
        load_bundle(path)
    file.unlink()
    with pytest.raises(BundleError, match=f"has no readable {name}"):
        load_bundle(path)


def test_a_manifest_cannot_name_a_file_outside_its_folder(saved):
    path, _, _ = saved()
    text = (path / "manifest.json").read_text().replace("state/1/state.json", "state/../../x.json")
    (path / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        load_bundle(path)


def test_a_load_that_fails_is_an_error_of_the_bundle(saved, family):
    path, _, _ = saved()

    class Broken(Shift):
        def load(self, folder):
            raise KeyError("tree")

    family(Broken)
    with pytest.raises(BundleError, match="load of shift failed: KeyError: 'tree'"):
        load_bundle(path)


def test_a_network_bundle_and_one_of_estimators_are_not_mixed_up(saved, family):
    path, _, _ = saved()
    from rnn_core.estimators import LSTM

    with pytest.raises(BundleError, match="was not saved by an estimator of networks"):
        LSTM.load(path)


def test_what_is_missing_of_the_contract_is_said_method_by_method():
    class Half:
        def fit(self, x, y):
            pass

        def save(self, folder):
            pass

    assert missing_methods(Half) == [
        "has fit(self, x, y), expected fit(train, valid, *, seed, threads)",
        "lacks predict(samples)",
        "lacks load(folder)",
    ]
    assert missing_methods(Shift) == missing_methods(LinearModel) == []


def test_an_absent_package_is_named_with_the_line_that_installs_it(monkeypatch):
    from rnn_core.models import ESTIMATOR_FAMILIES, LightGBMModel

    monkeypatch.setattr(LightGBMModel, "package", "no_such_package")
    with pytest.raises(ValueError, match=r"pip install 'rnn-signal-factory\[pipelines\]'"):
        ESTIMATOR_FAMILIES["lightgbm"].build()
    own = replace(ESTIMATOR_FAMILIES["lightgbm"], origin={"module": "mine"})
    assert own.package == "", "a package of somebody else's own says itself what it lacks"


def test_the_code_of_a_subclass_in_another_package_is_its_own(tmp_path, monkeypatch):
    """It inherits no `code_version`, which would stand for its source."""
    text = "from rnn_core.models import LinearModel\n\n\nclass Mine(LinearModel):\n    pass\n"
    (tmp_path / "subclassed.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    family = own_family("subclassed:Mine")
    monkeypatch.delitem(_own, "subclassed:Mine")
    assert "digest" in family.origin and family.missing_values and not family.random


def test_estimators_and_networks_have_different_bundles_of_one_format(tmp_path):
    """Torch is not asked for an estimator's weights."""
    data = make_samples()
    model = LinearModel(alpha=1.0)
    model.fit(data, None, seed=0, threads=1)
    save_bundle(
        tmp_path / "linear", [model], family="linear", hyper={"alpha": 1.0},
        columns=list("abcd"), config={}, history=pd.DataFrame({"best": [True]}),
        processors_json="[]", manifest={},
    )  # fmt: skip
    state = torch.get_rng_state()
    (loaded,) = load_bundle(tmp_path / "linear").members
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(loaded.predict(data), model.predict(data))
