"""The precision of a training as its units and its bundle name it: the one that was computed in."""

from __future__ import annotations

import json
import shutil

import pytest

from pipelines.training.train import ensure_trained
from pipelines.training.units import UnitRefusedError, require_same, units_of
from rnn_core.models.blas import bfloat16_address
from rnn_core.training import precision
from tests.pipelines.conftest import market_of, own_record, run_data

ANCHOR = "2020-04-01"

pytestmark = pytest.mark.skipif(
    bfloat16_address() == 0, reason="torch's library exports no product of bfloat16 here"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The state of a market with all that a training reads."""
    folder = tmp_path_factory.mktemp("precision") / "tiny"
    with own_record() as record:
        run_data(market_of(folder, "lstm"), record)
    return folder


def wide_market(root, name, units=32):
    """Its market with an LSTM of so many units, in a precision."""
    changes = {
        "training": {"device": "cpu", "precision": name},
        "models": {"lstm": {"hidden_size": units, "n_epochs": 2}},
    }
    return market_of(root, "lstm", changes)


@pytest.mark.parametrize(
    ("configured", "units", "there", "computed"),
    [
        ("bfloat16", 32, True, "bfloat16"),
        ("bfloat16", 32, False, "float32"),
        ("bfloat16", 8, True, "float32"),
        ("tf32", 32, True, "float32"),
        ("float32", 32, True, "float32"),
    ],
)
def test_units_and_bundle_name_what_was_computed_in(
    root, monkeypatch, configured, units, there, computed
):
    """With and without tiles, by layers too narrow. Oracle: the manifest's field and the key."""
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: there)
    market = wide_market(root, configured, units)
    spec = market.models[0]
    (unit,) = units_of(market, spec, ANCHOR, "data")
    (single,) = units_of(wide_market(root, "float32", units), spec, ANCHOR, "data")
    assert unit.precision == computed
    assert (unit.key == single.key) == (computed == "float32")
    shutil.rmtree(market.paths.models, ignore_errors=True)  # the bundle of the case before
    ensure_trained(market, spec, ANCHOR, log=print, on_epoch=lambda unit, report: None)
    folder = market.paths.models / "lstm" / ANCHOR
    assert json.loads((folder / "manifest.json").read_text())["precision"] == computed


def test_a_processor_without_tiles_refuses_the_unit_of_one_that_has_them(root, monkeypatch):
    market = wide_market(root, "bfloat16")
    spec = market.models[0]
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    (unit,) = units_of(market, spec, ANCHOR, "data")
    require_same(market, spec, unit)
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    with pytest.raises(UnitRefusedError, match="precision is float32, planned was bfloat16"):
        require_same(market, spec, unit)
