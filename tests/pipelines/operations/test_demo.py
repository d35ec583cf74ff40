"""`demo --fresh`: what it deletes, what it keeps. Oracle: the files of the state before."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pipelines.config.loader import parse_config
from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.operations import demo
from pipelines.operations.demo import run_demo
from tests.pipelines.conftest import TINY, make_market, merged
from tests.pipelines.dirty_market import clean_bars

FROM_DATA = {"from": "data", "timezone": "America/New_York"}


@pytest.fixture
def stages(monkeypatch):
    """The markets that the stages were run for; nothing is run."""
    seen = []
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(demo, "_run_stages", lambda market, *rest: seen.append(market))
    monkeypatch.setattr(demo, "_verify", lambda *rest: None)  # of what is not made here
    return seen


def fresh(market):
    run_demo(market, Console(file=io.StringIO(), width=400), fresh=True)


def test_a_calendar_derived_from_the_data_is_derived_again(tmp_path, stages):
    clean_bars(tmp_path).to_parquet(tmp_path / "bars.parquet", index=False)
    raw = merged(TINY, {"market": {"calendar": FROM_DATA}})
    raw["market"]["source"] = {
        "kind": "files", "path": str(tmp_path / "bars.parquet"), "basis": {"ratio": "adj_ratio"},
    }  # fmt: skip
    market = Market(parse_config(raw), root=tmp_path / "tiny")
    ledger = json.loads(market.paths.calendar.read_text())
    left = market.paths.models / "lstm" / "old"
    left.mkdir(parents=True)
    fresh(market)
    assert json.loads(market.paths.calendar.read_text()) == ledger
    assert not left.exists()
    assert stages[0].sessions == market.sessions


def test_a_source_that_was_given_stays(tmp_path, stages):
    market = make_market(tmp_path / "tiny", source=make_market(tmp_path / "other").source)
    fresh(market)
    assert stages[0].source is market.source


def test_a_warehouse_elsewhere_is_not_deleted_and_nothing_else_is(tmp_path, stages):
    market = make_market(tmp_path / "tiny", {"warehouse": str(tmp_path / "wh")})
    kept = market.paths.root / "models"
    kept.mkdir(parents=True)
    with pytest.raises(PipelineError, match=r"lies elsewhere: .*/wh; nothing was deleted\. Remove"):
        fresh(market)
    assert kept.is_dir()
    assert stages == []
    inside = make_market(tmp_path / "tiny", {"warehouse": str(market.paths.root / "wh")})
    fresh(inside)
    assert not kept.exists()
    assert len(stages) == 1
