"""A damaged file of bars is named and made again like any other. Oracle: the bytes before."""

from __future__ import annotations

import re

import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.errors import WarehouseError
from pipelines.operations.runs import RunFailedError, run_assets
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.staleness.survey import survey
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import (
    DATA_ASSETS,
    make_market,
    materialize,
    model_assets,
    partition_bytes,
)
from tests.pipelines.finished_markets import (
    backfill,
    copy_of,
    put_on_record,
    recorded_copy_of,
    restated,
)

TABLES = ("ohlcv", "ohlcv_quarantine")
JUMP_ASIDE = {"market": {"quarantine": {"jump": "quarantine"}}}
one_table = pytest.mark.parametrize(
    "table", [TABLES[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in TABLES[1:])]
)


def flip(market, table, key):
    """Change one bit of a partition's rows."""
    path = market.paths.warehouse / table / f"date={key}" / PART
    raw = bytearray(path.read_bytes())
    raw[100] ^= 4
    path.write_bytes(raw)


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of a finished market, on record in its own home."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return recorded_copy_of(finished, tmp_path / "copy")


@pytest.fixture(params=[{}, JUMP_ASIDE], ids=["jump accepted", "jump set aside"])
def bars(request, tmp_path, instance):
    """A market with its bars alone; where jumps are set aside, closes enter a session too."""
    market = make_market(tmp_path / "bars", request.param)
    materialize(market, ["ohlcv"], market.sessions.first, market.sessions.keys[-1], instance)
    return market


@pytest.mark.parametrize("table", TABLES)
def test_status_names_it(finished, tmp_path, instance, table):
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    key = market.sessions.keys[70]
    flip(market, table, key)
    found = {a.asset: a.findings for a in status_report(market, stages(market), instance).assets}
    (finding,) = found["ohlcv"]
    assert (finding.cause, finding.keys) == (Cause.DAMAGED, (key,))
    assert finding.detail == ("" if table == "ohlcv" else table)


@one_table
def test_a_backfill_heals_it(copy, finished, table):
    """Two of them, and what was made from them is not made again where it is the same."""
    keys = copy.sessions.keys
    for key in (keys[70], keys[73]):
        flip(copy, table, key)
    work = backfill(copy, start=keys[68], end=keys[75])[0]
    assert work is not None
    assert partition_bytes(copy) == partition_bytes(finished)


@pytest.mark.thorough
@pytest.mark.parametrize("table", TABLES)
def test_a_daily_run_of_the_session_heals_it(copy, finished, instance, table):
    key = copy.sessions.keys[70]
    flip(copy, table, key)
    run_assets(build_definitions(copy), instance, [*DATA_ASSETS, *model_assets(copy)], (key, key))
    assert partition_bytes(copy) == partition_bytes(finished)


@one_table
def test_it_heals_whatever_later_sessions_build_on(bars, instance, table):
    """The damaged session alone, one after the other, though both later ones are damaged too."""
    keys, before = bars.sessions.keys, partition_bytes(bars)
    for key in (keys[40], keys[41], keys[60]):
        flip(bars, table, key)
    for key in (keys[40], keys[41], keys[60]):
        materialize(bars, ["ohlcv"], key, key, instance)
    assert partition_bytes(bars) == before


@pytest.mark.thorough
def test_bars_restated_beneath_the_damage_are_refused_as_ever(bars, instance):
    """What left the damaged session is unknown; those after it say what they were made from."""
    keys, before = bars.sessions.keys, partition_bytes(bars)
    aside = JUMP_ASIDE if bars.config.market.quarantine.jump == "quarantine" else {}
    source = restated(bars, keys[40], split_of="S0002").source
    other = make_market(bars.paths.root, aside, source=source)
    flip(other, "ohlcv", keys[40])
    damaged = partition_bytes(other)
    with pytest.raises(RunFailedError, match=f"what enters .* change.*run the range {keys[40]}"):
        materialize(other, ["ohlcv"], keys[40], keys[40], instance)
    assert partition_bytes(other) == damaged != before
    materialize(other, ["ohlcv"], keys[40], keys[-1], instance)
    found = survey(other, stages(other), instance, {"ohlcv": keys}, served=None)
    assert found.reasons["ohlcv"] == {}


def test_damage_before_a_range_does_not_block_the_look_at_it(bars, instance):
    keys = bars.sessions.keys
    flip(bars, "ohlcv", keys[40])
    found = survey(bars, stages(bars), instance, {"ohlcv": keys[41:]}, served=None)
    assert Cause.DAMAGED not in {why.cause for why in found.reasons["ohlcv"].values()}


def test_the_advice_names_an_asset(bars):
    key = bars.sessions.keys[40]
    flip(bars, "ohlcv_quarantine", key)
    with pytest.raises(WarehouseError, match=re.escape(f"; materialize ohlcv of {key} again")):
        bars.warehouse.read("ohlcv_quarantine", [key], needed_by="test")
