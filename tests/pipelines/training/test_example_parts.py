"""The package of `examples/own_parts` in a market. Oracle: quantiles by hand."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.training.processors import load_state
from pipelines.training.registry import find_bundle
from rnn_core.own_parts import load_part
from tests.pipelines.conftest import TINY, materialize, merged, model_assets

FOLDER = Path(__file__).parents[3] / "examples" / "own_parts"


@pytest.fixture
def package(monkeypatch):
    """The package on the path; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        del sys.modules[name]


def test_its_entry_points_name_its_classes(package):
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    for group, points in project["entry-points"].items():
        for name, place in points.items():
            assert load_part(place, group).value.__name__.lower() == name.lower()


def test_a_market_runs_with_all_of_it(package, tmp_path, instance):
    config = merged(TINY, {})
    steps = config["dataset"]["infer_processors"]
    steps.insert(1, {"own_parts.procs:Winsorize": {"at": 0.1}})
    short = {"n_epochs": 2, "batch_size": 64}
    config["models"] = {
        "alstm": {"family": "own_parts.nets:ALSTM", "hidden_size": 4, "num_layers": 1, **short},
        "transformer": {
            "family": "own_parts.nets:Transformer", "d_model": 4, "num_layers": 1, **short
        },
    }  # fmt: skip
    config["portfolio"] = {
        "strategy": "own_parts.strategies:Band", "options": {"enter": 1, "leave": 2}
    }  # fmt: skip
    market = Market(parse_config(config), root=tmp_path / "tiny")
    first = market.plan.first_trained
    data = [s.name for s in stages(market) if s.tables and s.first is None]
    materialize(market, [*data, "processors"], market.sessions.first, first, instance)
    materialize(market, model_assets(market), first, first, instance)
    # The state of the winsoriser: quantiles of members' rows of the fit window.
    clip = load_state(market, market.datasets[0]).infer.processors[1]
    keys = market.datasets[0].fit_sessions()
    raw = market.warehouse.read("alpha158", keys, needed_by="the test").frame.query("member")
    for name, bounds in clip.bounds.items():
        np.testing.assert_allclose(bounds, raw[name].quantile([0.1, 0.9]), rtol=1e-6)
    for name in ("alstm", "transformer"):
        bundle = find_bundle(market, name, first)
        (order,) = market.warehouse.read_one(f"{name}_orders", first, needed_by="the test")[
            0
        ].to_pylist()
        assert (order["side"], order["rank"], order["share_of"]) == ("buy", 1, 1)
        rows = market.warehouse.read(f"{name}_prediction", [first], needed_by="the test").frame
        assert rows["score"].nunique() > 1
        window = torch.zeros(1, 5, len(bundle.columns))
        later = window.clone()
        later[:, 0] = 1.0  # the first step counts
        with torch.no_grad():
            assert bundle.network(window) != bundle.network(later)
