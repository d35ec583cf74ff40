"""Feature functions in a market. Oracle: the same market with the feature as an expression."""

from __future__ import annotations

import importlib
import sys

import pytest

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.onboarding.yaml_validation import problems_of
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import TINY, materialize, merged

MODULE = """
import numpy as np


class Gap:
    fields = ("open", "close")
    look_back = 1

    def __call__(self, panel):
        close = panel.fields["close"]
        before = np.full(close.shape, np.nan)
        before[:, 1:] = close[:, :-1]
        return panel.fields["open"] / before - 1


class Tomorrow(Gap):
    def __call__(self, panel):
        return -np.flip(super().__call__(panel), axis=1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of somebody else's, on the path; it is forgotten afterwards."""
    path = tmp_path / "marketfeats.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("marketfeats", None)


def make(root, gap):
    """The tiny market with two features, one of them given."""
    formulas = {"GAP": gap, "RET": "$close/Ref($close, 1) - 1"}
    changes = {"features": {"set": {"features": formulas}}, "dataset": {"infer_processors": []}}
    return Market(parse_config(merged(TINY, changes)), root=root)


def test_a_function_is_a_feature_and_its_code_an_input(module, tmp_path, instance):
    """Its column is that of the expression, and changed code makes it stale, and no label."""
    market, plain = (
        make(tmp_path / name, gap)
        for name, gap in (
            ("own", "marketfeats:Gap"), ("plain", "$open/Ref($close, 1) - 1"),
        )
    )  # fmt: skip
    keys = market.sessions.keys[:15]
    for one in (market, plain):
        materialize(one, ("ohlcv", "alpha158", "label"), keys[0], keys[-1], instance)
    rows = [m.warehouse.read("alpha158", keys, needed_by="test").frame for m in (market, plain)]
    assert rows[0].equals(rows[1])

    def stale(market):
        report = status_report(market, stages(market), instance)
        return {
            asset.asset: {str(f.cause) for f in asset.findings if keys[3] in f.keys}
            for asset in report.assets
            if asset.asset in ("ohlcv", "alpha158", "label")
        }

    assert stale(make(tmp_path / "own", "marketfeats:Gap"))["alpha158"] == set()
    module.write_text(f"{MODULE}\n# another version\n")
    changed = stale(make(tmp_path / "own", "marketfeats:Gap"))
    assert changed == {"ohlcv": set(), "alpha158": {"configuration"}, "label": set()}


def test_validate_names_a_function_that_looks_ahead(module, tmp_path):
    market = make(tmp_path / "own", "marketfeats:Tomorrow")
    (problem,) = [one for one in problems_of(market).problems if "marketfeats" in one]
    assert problem.startswith("features.set: GAP: marketfeats:Tomorrow looks ahead: its value of S")
    assert not [
        one
        for one in problems_of(make(tmp_path / "good", "marketfeats:Gap")).problems
        if "marketfeats" in one
    ]


def test_a_function_that_breaks_its_contract_is_an_error_of_the_yaml(module, tmp_path):
    module.write_text(MODULE.replace("look_back = 1", "look_back = '1'"))
    with pytest.raises(ConfigError, match=r"features\.set: .*marketfeats:Gap has look_back = '1'"):
        make(tmp_path / "own", "marketfeats:Gap")
    module.write_text(MODULE.replace('"open", "close"', '"open", "pe"'))
    sys.modules.pop("marketfeats")
    with pytest.raises(ConfigError, match=r"features.set: no field \$pe in adjusted bars"):
        make(tmp_path / "own", "marketfeats:Gap")
