"""`demo --fresh`: what it deletes, what it keeps. Oracle: the files of the state before."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pipelines.config.loader import parse_config
from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.operations import demo, verify
from pipelines.operations.demo import run_demo
from tests.pipelines.conftest import TINY, make_market, merged
from tests.pipelines.dirty_market import clean_bars
from tests.pipelines.finished_markets import copy_of, put_on_record

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


def test_brackets_of_a_path_are_no_markup(tmp_path):
    """A command that is pasted names the very file."""
    market = make_market(tmp_path / "tiny", named="/markets/[old]/us.yaml")
    console = Console(file=io.StringIO(), width=60)
    demo._show_results(market, console, 1.0)
    said = "`rnn-pipelines status --config '/markets/[old]/us.yaml'` says what has no rows"
    assert said in console.file.getvalue()


def test_the_verification_of_a_large_market_says_how_far_it_is(
    finished, tmp_path, instance, monkeypatch
):
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    console = Console(file=io.StringIO(), width=400)
    monkeypatch.setattr(verify, "_LINE_EVERY", 0.0)
    demo._verify(market, instance, console)
    *lines, last = console.file.getvalue().splitlines()
    assert all(" of " in line and line.endswith(" left") for line in lines) and lines
    assert last.endswith("nothing is damaged or missing")
