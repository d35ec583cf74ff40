"""A market with a network and a processor of another package."""

from __future__ import annotations

import importlib
import shutil
import sys

import pytest

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError, ModelNotTrainedError
from pipelines.market.market import Market
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.training.registry import _load, find_bundle, in_force
from rnn_core.data.processors import chain
from rnn_core.models import families
from rnn_core.training import BundleError, load_bundle
from tests.pipelines.conftest import TINY, materialize, merged, model_assets, own_record
from tests.pipelines.finished_markets import put_on_record
from tests.rnn_core.test_own_parts import package, write_package  # noqa: F401 - a fixture

PLUS = {"mypkg.procs:Plus": {"by": 0.5}}


def open_market(root):
    """The tiny market with a GRU and somebody else's network, as a new process opens it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    families._own.clear()
    chain._own.clear()
    _load.cache_clear()
    config = merged(TINY, {})
    infer = [*config["dataset"]["infer_processors"], PLUS]
    config["dataset"]["infer_processors"] = infer
    tiny = {"family": "mypkg.nets:Tiny", "width": 2, "n_epochs": 2, "batch_size": 64}
    config["models"] = {"gru": config["models"]["gru"], "tiny": tiny}
    return Market(parse_config(config), root=root)


def outdated(market, record):
    """Assets with stored partitions that are not current."""
    report = status_report(market, stages(market), record)
    causes = {a.asset: {f.cause for f in a.findings} - {Cause.ABSENT} for a in report.assets}
    return {a for a, cause in causes.items() if cause and not a.endswith("_report")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the market with its first two trained sessions, by a package of equal code."""
    root = tmp_path_factory.mktemp("built")
    write_package(root)
    with pytest.MonkeyPatch.context() as patch, own_record() as record:
        patch.syspath_prepend(root)
        market = open_market(root / "tiny")
        first = market.plan.first_trained
        last = market.sessions.keys[market.sessions.position(first) + 1]
        data = [s.name for s in stages(market) if s.tables and s.first is None]
        materialize(market, [*data, "processors"], market.sessions.first, last, record)
        materialize(market, model_assets(market), first, last, record)
    return market.paths.root


@pytest.fixture
def made(built, package, tmp_path, instance):  # noqa: F811
    """A copy of it on record, its code in the package of the test."""
    shutil.copytree(built, tmp_path / "tiny")
    return put_on_record(open_market(tmp_path / "tiny"), instance)


def test_own_parts_are_trained_kept_and_served_like_shipped_ones(made, package, instance):  # noqa: F811
    market = open_market(made.paths.root)
    assert outdated(market, instance) == set()
    first = market.plan.first_trained
    bundle = find_bundle(market, "tiny", first)
    assert bundle.family == "mypkg.nets:Tiny" and bundle.config["part"]["module"] == "mypkg.nets"
    assert type(bundle.network).__name__ == "Tiny"
    assert "part" not in find_bundle(market, "gru", first).config
    rows = market.warehouse.read("tiny_prediction", [first], needed_by="the test").frame
    assert rows["score"].nunique() > 1


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        pytest.param("helpers", {"tiny_model"}, marks=pytest.mark.thorough),
        ("procs", {"processors", "dataset_infer", "dataset_learn", "gru_model", "tiny_model"}),
        pytest.param("beside", set(), marks=pytest.mark.thorough),
    ],
)
def test_changed_code_makes_stale_what_it_made(made, package, instance, module, stale):  # noqa: F811
    path = package / f"{module}.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    found = outdated(open_market(made.paths.root), instance)
    kinds = ("prediction", "evaluation", "portfolio")
    followers = {f"{model}_{kind}" for model in ("tiny", "gru") for kind in kinds}
    assert found - followers == stale


def test_a_bundle_of_other_code_is_refused_by_name(made, package):  # noqa: F811
    path = package / "helpers.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    market = open_market(made.paths.root)
    first = market.plan.first_trained
    with pytest.raises(ModelNotTrainedError, match=r"trained with other code of mypkg\.nets:Tiny"):
        in_force(market, "tiny", first, "the test")
    assert in_force(market, "gru", first, "the test").as_of == first


def test_a_bundle_alone_imports_nothing(made, package):  # noqa: F811
    path = made.paths.models / "tiny" / made.plan.first_trained
    families._own.clear()
    with pytest.raises(BundleError, match="no configuration has named it"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"models": {"tiny": {"family": "mypkg.nets:TwoScores"}}},
            r"tiny: .*maps windows \[2, 4, 3\] to \[2, 3\]",
        ),
        ({"models": {"tiny": {"family": "mypkg.nets:Tiny", "widht": 2}}}, "did you mean 'width'"),
        ({"models": {"tiny": {"family": "mypkg.nets:Tyni"}}}, r"tiny\.family: mypkg\.nets has"),
        (
            {"models": {"tiny": {"family": "transformer"}}},
            "unknown family 'transformer'.*package.module:Class",
        ),
        (
            {"dataset": {"infer_processors": [{"mypkg.procs:Plus": {"bye": 1}}]}},
            "has no argument 'bye'.*did you mean 'by'",
        ),
        ({"dataset": {"infer_processors": ["mypkg.procs:NoCall"]}}, "lacks __call__"),
        (
            {"dataset": {"infer_processors": ["Winsorize"]}},
            "unknown processor 'Winsorize'.*of your",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_refused_with_the_yaml(package, change, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(TINY, change))
