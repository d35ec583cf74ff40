"""A warehouse stays that of its market when releases add keys.

Oracle: `recorded_markets.json`, what an earlier release wrote into `market.json` and hashed for
`ohlcv`, a source of every kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.calendar import calendar_identity
from pipelines.config.loader import parse_config
from pipelines.config.sources import SOURCES, FilesSource, SimulatedSource, source_identity
from pipelines.errors import WarehouseError
from pipelines.market.market import Market, identity_now
from pipelines.warehouse.warehouse import Warehouse
from tests.pipelines.conftest import make_market
from tests.pipelines.sources.test_market import with_source

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "recorded_markets.json").read_text()
)
FILES = {"kind": "files", "path": "b.csv", "basis": {"factor": "f"}}


def test_every_kind_of_source_is_recorded():
    assert {entry["source"]["kind"] for entry in RECORDED.values()} <= SOURCES.keys()
    assert len({entry["source"]["kind"] for entry in RECORDED.values()}) == 7


@pytest.mark.parametrize("name", RECORDED)
def test_what_an_earlier_release_recorded_is_the_same_market(name, tmp_path):
    entry = RECORDED[name]
    section = SOURCES[entry["source"]["kind"]].model_validate(entry["source"])
    now = {
        "name": "tiny",
        "source": section.model_dump(mode="json"),
        "calendar": entry["calendar"],
        "start": "2020-01-02",
    }
    warehouse = Warehouse(tmp_path, identity_now(now), as_now=identity_now)
    (tmp_path / "market.json").write_text(json.dumps(entry["recorded"]))
    warehouse.record.require_same_market()
    assert identity_now(entry["recorded"]) == identity_now(now)


@pytest.mark.parametrize("name", RECORDED)
def test_no_stored_bars_turn_stale(name):
    """The configuration hash of `ohlcv` holds the source: a new key must leave it as it was."""
    entry = RECORDED[name]
    section = SOURCES[entry["source"]["kind"]].model_validate(entry["source"])
    assert section.model_dump(mode="json") == entry["recorded"]["source"]


@pytest.mark.parametrize(
    "reading",
    [
        {"columns": {"close": "Last"}},
        {"date_format": "%d/%m/%Y"},
        {"timezone": "Europe/Berlin"},
        {"decimal": ",", "thousands": "."},
        {"skip_lines": "^#", "encoding": "utf-16", "delimiter": ";"},
        {"path": "/elsewhere/*.csv.gz", "from_name": "instrument"},
        {"codes": "as_is", "scale": {}},
    ],
    ids=str,
)
def test_the_way_bars_are_read_makes_no_other_market(reading):
    assert identity_of(FILES | reading) == identity_of(FILES)


@pytest.mark.parametrize(
    "other",
    [
        {"basis": "adjusted"},
        {"basis": {"factor": "g"}},
        {"codes": "upper"},
        {"keep": {"type": "stock"}},
        {"scale": {"volume": 100}},
    ],
    ids=str,
)
def test_what_the_bars_are_makes_another_market(other):
    assert identity_of(FILES | other) != identity_of(FILES)


def identity_of(source):
    return source_identity(FilesSource.model_validate(source).model_dump(mode="json"))


def test_a_key_that_a_release_adds_counts_where_it_is_not_at_its_default():
    class Later(SimulatedSource):
        halts: float = 0.1

    recorded = SimulatedSource(kind="simulated", seed=3).model_dump(mode="json")
    now = Later.identity_of(recorded)
    assert now == Later.identity_of(Later(kind="simulated", seed=3).model_dump(mode="json"))
    assert now == {"kind": "simulated", "seed": 3}
    other = Later(kind="simulated", seed=3, halts=0.2)
    assert Later.identity_of(other.model_dump(mode="json")) == now | {"halts": 0.2}


def test_calendars_are_compared_without_their_defaults():
    assert calendar_identity("XNYS") == "XNYS"
    assert calendar_identity({"timezone": "UTC"}) == {}
    assert calendar_identity({"timezone": "Asia/Tokyo", "opens": "09:00"}) == {
        "timezone": "Asia/Tokyo"
    }
    data = {"from": "data", "timezone": "UTC", "min_instruments": 1}
    assert calendar_identity(data) == {"from": "data", "timezone": "UTC"}
    assert calendar_identity(data | {"min_instruments": 2}) != calendar_identity(data)


def test_the_market_is_compared_as_it_is_configured(tmp_path):
    market = make_market(tmp_path / "tiny")
    market.warehouse.record.write()
    other = with_source({"kind": "simulated", "instruments": 6, "seed": 4})
    with pytest.raises(WarehouseError, match=r"another market .*source: .*'seed': 3.* there"):
        Market(parse_config(other), root=tmp_path / "tiny").warehouse.record.require_same_market()
