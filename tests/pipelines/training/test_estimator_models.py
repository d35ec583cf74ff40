"""Models that are no networks in a market: linear, lightgbm, and one of another package.

The finished market of LSTM, GRU and KRNN gets three more models in its YAML. Oracle: the members of
their bundles, asked by hand, and the partitions of the networks, which must not change.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.models import training_metadata
from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError, ModelNotTrainedError, NotFiniteError
from pipelines.market.market import Market
from pipelines.operations.signal import session_signal
from pipelines.reports.report_tables import shown_table
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.training.registry import NoneInForce, _load, find_bundle, in_force
from pipelines.training.train import ensure_trained
from pipelines.training.windows import training_data
from rnn_core.evaluation import rank_average
from rnn_core.models import Samples, families
from rnn_core.training import BundleError, load_bundle
from tests.pipelines.conftest import (
    REPORTS,
    TINY,
    materialize,
    merged,
    own_record,
    partition_bytes,
    run_assets,
    run_data,
)
from tests.pipelines.finished_markets import put_on_record

TREES = """
import json
import numpy as np
from ownpkg.helpers import scale


class Mean:
    '''The mean of the newest features, times a number that the seed draws.'''

    def __init__(self, factor: float = 1.0):
        if factor <= 0:
            raise ValueError(f"factor is {factor}, expected a number above 0")
        self.factor = factor

    def fit(self, train, valid, *, seed, threads):
        self.sign = scale(1.0 + seed)

    def predict(self, samples):
        return self.factor * self.sign * samples.rows().astype(float).mean(axis=1)

    def save(self, folder):
        (folder / "sign.json").write_text(json.dumps(self.sign))

    def load(self, folder):
        self.sign = json.loads((folder / "sign.json").read_text())


class NoLoad(Mean):
    load = None


class OtherFit(Mean):
    def fit(self, x, y):
        pass
"""
BOOSTED = {
    "num_leaves": 15, "lambda_l1": 0.0, "lambda_l2": 1.0, "min_data_in_leaf": 3, "seeds": 2,
    "learning_rate": 0.1, "num_boost_round": 20, "early_stopping_rounds": 5, "flatten": "window",
}  # fmt: skip
ADDED = {
    "linear": {},
    "lightgbm": BOOSTED,
    "mean": {"family": "ownpkg.trees:Mean", "factor": 2.0, "seeds": 2},
}
NETWORKS = ("lstm", "gru", "krnn")
KINDS = ("model", "prediction", "evaluation", "portfolio")


def forget():
    """Forget what this process has loaded of the package and of the bundles."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownpkg"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    families._own.clear()
    _load.cache_clear()


def open_market(root: Path, changes=None) -> Market:
    """The tiny market with the three models, as a new process opens it."""
    forget()
    # On six names a small tree may give all one score; nothing of others depends on the check.
    grown = {"models": ADDED, "checks": {"predictions": {"varied": "warn"}}}
    return Market(parse_config(merged(merged(TINY, grown), changes or {})), root=root)


def outdated(market, record):
    """Assets that are not current, with the causes."""
    report = status_report(market, stages(market), record)
    causes = {a.asset: {f.cause for f in a.findings} for a in report.assets}
    return {a: c for a, c in causes.items() if c and a not in REPORTS}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Somebody else's package, on the path."""
    root = tmp_path_factory.mktemp("path")
    folder = root / "ownpkg"
    folder.mkdir()
    for name, text in {
        "__init__": "", "trees": TREES, "helpers": "def scale(x):\n    return 2 * x\n",
    }.items():  # fmt: skip
        (folder / f"{name}.py").write_text(text)
    sys.path.insert(0, str(root))
    yield folder
    sys.path.remove(str(root))
    forget()


@pytest.fixture(scope="module")
def grown(finished, package, tmp_path_factory):
    """The finished market after its YAML got three more models, and what that made stale."""
    root = tmp_path_factory.mktemp("grown") / "tiny"
    shutil.copytree(finished.paths.root, root)
    with own_record() as record:
        market = open_market(root)
        put_on_record(market, record)
        before, stale = partition_bytes(market), outdated(market, record)
        names = [f"{m}_{k}" for k in KINDS for m in ADDED]
        first, last = market.plan.first_trained, market.sessions.keys[-1]
        materialize(market, names, first, last, record)
        from pipelines.build import build_definitions

        run_assets(build_definitions(market), record, REPORTS)
    return market, before, stale


@pytest.mark.thorough  # test_datasets adds a dataset with its model
def test_models_that_are_added_leave_the_others_current(grown):
    market, before, stale = grown
    assert stale == {f"{m}_{k}": {Cause.ABSENT} for m in ADDED for k in KINDS}
    after = partition_bytes(market)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


@pytest.mark.parametrize(("model", "members"), [("linear", 1), ("lightgbm", 2), ("mean", 2)])
def test_scores_are_those_of_the_members_on_the_rows_of_the_session(grown, model, members):
    """A pointer, scores and evaluations as of any network, made from `dataset_infer`."""
    market, _, _ = grown
    keys = market.sessions.keys
    key = keys[market.sessions.position(market.plan.first_trained) + 3]
    bundle = find_bundle(market, model, market.plan.first_trained)
    assert len(bundle.members) == members
    scored = market.warehouse.read(f"{model}_prediction", [key], needed_by="t").frame
    window = market.sessions.window(key, 5)
    rows = market.warehouse.read("dataset_infer", window, needed_by="t").frame
    table = rows.pivot_table(index="date", columns="instrument", values=list(bundle.columns))
    table = table.ffill().bfill()
    windows = np.stack(
        [table.xs(n, axis=1, level=1)[list(bundle.columns)] for n in scored["instrument"]]
    ).astype(np.float32)  # [S, 5, F]
    index = pd.MultiIndex.from_product([[pd.Timestamp(key)], scored["instrument"]])
    samples = Samples(lambda first, stop: windows[first:stop], index, bundle.columns, steps=5)
    each = [member.predict(samples) for member in bundle.members]
    np.testing.assert_allclose(scored["score"], np.mean(each, axis=0), rtol=1e-5, atol=1e-7)
    if members > 1:
        np.testing.assert_allclose(
            np.stack(scored["seed_scores"]), np.transpose(each), rtol=1e-5, atol=1e-7
        )
    evaluated = market.warehouse.read(f"{model}_evaluation", [keys[-1]], needed_by="t").frame
    assert np.isfinite(evaluated["rank_ic"]).all()


def test_a_bundle_says_what_it_was_made_by(grown):
    market, _, _ = grown
    first = market.plan.first_trained
    linear, lightgbm, mean = (find_bundle(market, m, first) for m in ADDED)
    assert linear.config["part"] == lightgbm.config["part"] == {"code_version": "1"}
    assert not {"training", "precision", "seeds"} & set(linear.config)
    assert lightgbm.config["seeds"] == [0, 1] and "precision" not in lightgbm.config
    assert lightgbm.manifest["versions"].keys() - linear.manifest["versions"].keys() == {"lightgbm"}
    part = mean.config["part"]
    assert part["module"] == "ownpkg.trees" and len(part["digest"]) == 64
    network = find_bundle(market, "gru", first)
    assert "part" not in network.config and "precision" in network.config
    run = type("Run", (), {"market": market})()
    run.log = type("Log", (), {"warning": staticmethod(lambda text: None)})
    trained = ensure_trained(market, market.models[4], first, log=print, on_epoch=print)
    assert trained.results == ()
    metadata = training_metadata(market.models[4], trained, run)
    assert {"importance", "importance_picture", "loss_curve"} <= set(metadata)
    assert (
        len(
            metadata["importance"].value.records
            if hasattr(metadata["importance"].value, "records")
            else metadata["importance"].records
        )
        == 20
    )


def test_a_new_process_finds_everything_current(grown, instance):
    market, _, _ = grown
    again = put_on_record(open_market(market.paths.root), instance)
    assert outdated(again, instance) == {}


def test_changed_code_makes_its_own_model_stale_and_is_refused_by_name(grown, package, instance):
    market, _, _ = grown
    path, text = package / "helpers.py", (package / "helpers.py").read_text()
    path.write_text(text + "\nMORE = 1\n")
    try:
        again = put_on_record(open_market(market.paths.root), instance)
        assert {a for a in outdated(again, instance) if a.endswith("_model")} == {"mean_model"}
        with pytest.raises(ModelNotTrainedError, match=r"other code of ownpkg\.trees:Mean"):
            in_force(again, "mean", again.plan.first_trained, "the test")
    finally:
        path.write_text(text)


def test_a_bundle_alone_imports_nothing(grown):
    market, _, _ = grown
    forget()
    with pytest.raises(BundleError, match="no configuration has named it"):
        load_bundle(market.paths.models / "mean" / market.plan.first_trained)
    assert "ownpkg" not in sys.modules


@pytest.mark.thorough
def test_damage_checks_and_pins_are_those_of_any_model(grown, tmp_path, instance):
    market, _, _ = grown
    root = tmp_path / "tiny"
    shutil.copytree(market.paths.root, root)
    first = market.plan.first_trained
    strict = {"checks": {"model": {"rank_ic": "block", "min_rank_ic": 1.0}}}
    found = in_force(open_market(root, strict), "linear", first, "the test")
    assert isinstance(found, NoneInForce) and "rank_ic" in str(found.passed_over)
    keys = market.sessions.keys
    pin = {"training": {"pin": {"from": keys[-3], "as_of": first}}}
    assert in_force(open_market(root, pin), "lightgbm", keys[-1], "the test").as_of == first
    state = root / "models" / "lightgbm" / first / "state" / "1" / "model.txt"
    state.write_bytes(state.read_bytes().replace(b"leaf_value=", b"leaf_valu3=", 1))
    again = put_on_record(open_market(root), instance)
    assert "lightgbm_model" in outdated(again, instance)
    with pytest.raises(BundleError, match=r"state/1/model\.txt of bundle .* is damaged"):
        find_bundle(again, "lightgbm", first)
    before = state.parents[2] / "manifest.json"
    text = before.read_text()
    ensure_trained(again, again.models[4], first, log=print, on_epoch=print)
    assert before.read_text() == text, "trained again to the same bytes"


def test_reports_hold_every_model_against_the_references(grown):
    market, _, _ = grown
    folder = market.paths.reports
    table = pd.read_csv(folder / "references.csv", index_col=0)
    pairs = set(zip(table["signal"], table["reference"], strict=True))
    others = {*NETWORKS, "mean", "ensemble"}
    expected = {(s, r) for s in others for r in ("linear", "lightgbm")}
    assert pairs == expected | {("linear", "lightgbm")}
    tests = pd.read_csv(folder / "differences.csv", index_col=0)
    comparison = pd.read_csv(folder / "comparison.csv", index_col="signal")
    for row in table.itertuples():
        mean = comparison[row.statistic][row.signal] - comparison[row.statistic][row.reference]
        assert row.difference == pytest.approx(mean, abs=1e-12)
        same = tests[(tests["a"].isin([row.signal, row.reference]))
                     & tests["b"].isin([row.signal, row.reference])
                     & (tests["statistic"] == row.statistic)].iloc[0]  # fmt: skip
        assert row.p_nw == same["p_nw"] and row.se_nw == same["se_nw"]
        assert row.boot_low <= row.difference <= row.boot_high
    assert "ridge" not in comparison.index, "a linear model on the same rows says it better"
    shown = shown_table("references.csv", table.reset_index(drop=True)).splitlines()
    assert shown[0] == "| signal | minus | of | sessions | mean difference | t | p | p (Holm) |"
    page = (folder / "report.html").read_text()
    assert "Every model against linear and lightgbm" in page and "lstm − lightgbm" in page


def test_the_ensemble_stays_that_of_the_others(grown, finished):
    market = open_market(grown[0].paths.root)
    assert market.ensemble_models == (*NETWORKS, "mean")
    assert finished.ensemble_models == NETWORKS and finished.reference_models == ()
    only = Market(parse_config({**TINY, "models": {"linear": {}, "lightgbm": BOOSTED}}))
    assert only.ensemble_models == ("linear", "lightgbm")
    key = market.sessions.keys[-1]
    signal = session_signal(market, stages(market), key)
    scores = {
        m: market.warehouse.read(f"{m}_prediction", [key], needed_by="t").frame
        for m in (*NETWORKS, "mean")
    }
    mean = rank_average([s.set_index(["date", "instrument"])["score"] for s in scores.values()])
    shown = signal.scores[signal.scores["model"] == "ensemble"].set_index("instrument")["score"]
    assert shown.to_dict() == pytest.approx(mean.droplevel(0).to_dict(), abs=1e-12)
    assert "linear, lightgbm: held against it, no part of the ensemble" in signal.notes


@pytest.mark.thorough
def test_features_may_be_missing_for_those_that_say_so(tmp_path, instance):
    """Without Fillna, a GRU is refused and a linear model is trained and serves."""
    changes = {"dataset": {"infer_processors": TINY["dataset"]["infer_processors"][:2]}}
    config = merged(TINY, changes)
    config["models"] = {"linear": {}, "gru": config["models"]["gru"]}
    market = Market(parse_config(config), root=tmp_path / "tiny")
    first = market.plan.first_trained
    run_data(market, instance, first)
    dataset = market.datasets[0]
    with pytest.raises(NotFiniteError):
        training_data(market, dataset, first, "the test")
    materialize(market, ["linear_model", "linear_prediction"], first, first, instance)
    rows = market.warehouse.read("linear_prediction", [first], needed_by="t").frame
    assert np.ptp(rows["score"]) > 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"lr": 0.1}, "linear: lr is a setting of the trainer of networks, and linear is no network"
         "; accepted: alpha, flatten, family, dataset, retrain_every$"),
        ({"precision": "float32"}, "linear: precision is a setting of the trainer of networks"),
        ({"seeds": 2}, "linear: seeds makes no sense for linear"),
        ({"alhpa": 1.0}, "unknown key 'alhpa'; did you mean 'alpha'"),
        ({"alpha": -1.0}, "alpha is -1.0, expected a finite number above 0"),
        ({"flatten": "first"}, "flatten is 'first', expected 'last' or 'window'"),
        ({"family": "lightgbm", "n_epochs": 5}, "lightgbm is no network; accepted: num_l.*seeds"),
        ({"family": "lightgbm", "num_leaves": 2.5}, "num_leaves is 2.5 of type float"),
        ({"family": "lightbgm"}, "unknown family 'lightbgm'; did you mean 'lightgbm'"),
        ({"family": "ownpkg.trees:NoLoad"}, r"and no estimator: it lacks load\(folder\) "),
        ({"family": "ownpkg.trees:OtherFit"}, r"it has fit\(self, x, y\), expected fit\(train, va"),
        ({"family": "ownpkg.trees:Mean", "factor": -1.0}, "factor is -1.0, expected a number"),
    ],
)  # fmt: skip
def test_an_entry_that_does_not_fit_is_refused_with_the_yaml(package, entry, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(TINY, {"models": {"linear": entry}}))


def test_an_absent_extra_is_named_with_the_line_that_installs_it(monkeypatch):
    from rnn_core.models import LightGBMModel

    monkeypatch.setattr(LightGBMModel, "package", "lightgbm_that_is_not_there")
    with pytest.raises(ConfigError, match=r"lightgbm: .*pip install 'rnn-signal-factory\[pipelin"):
        parse_config(merged(TINY, {"models": {"lightgbm": {}}}))
