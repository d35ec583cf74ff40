"""Sources within a market: configuration, identity, and sessions in the warehouse."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.build import build_definitions
from pipelines.calendar.sessions import Sessions
from pipelines.config.loader import CONFIGS, TAGGED, load_config, parse_config
from pipelines.config.sources import SimulatedSource, anchored
from pipelines.errors import ConfigError, SourceError
from pipelines.market.market import Market
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.simulated import SimulatedBars
from tests.pipelines.conftest import TINY, make_market, materialize, merged

MARKETS = (
    "us_files",
    "csi300_baostock",
    "csi300_qlib",
    "csi300_benchmarks",
    "crypto_files",
    "simulated_500",
)


def with_source(source: dict[str, Any], **market: Any) -> dict[str, Any]:
    """The tiny configuration with another source."""
    raw = merged(TINY, {"market": market})
    raw["market"]["source"] = source
    return raw


@pytest.mark.parametrize("name", MARKETS)
def test_shipped_markets_load_without_their_data(name, tmp_path, monkeypatch):
    """Definitions resolve; the error comes where bars are asked for, and names the place."""
    monkeypatch.setenv("HOME", str(tmp_path))
    market = Market(load_config(name), root=tmp_path / "state")
    assert build_definitions(market).resolve_job_def(f"{name}_daily")
    for dataset in market.datasets:
        assert len(dataset.fit_sessions(market.plan.first_trained)) > 250
    first = market.sessions.position(market.plan.first_trained)
    training = market.config.training
    assert first >= training.window_sessions, "the first model has its whole window"
    if name != "simulated_500":
        with pytest.raises(SourceError, match=str(tmp_path)):
            fetch_bars(market.source, market.sessions.keys[:1])


@pytest.mark.parametrize("name", MARKETS)
def test_every_line_of_a_shipped_market_is_explained(name):
    """Every key has a comment where it stands, or is a section whose keys have."""
    sections = {"market", "features", "dataset", "training", "evaluation", "source", "schedule",
                "col_list", "rolling"}  # fmt: skip
    for line in (CONFIGS / f"{name}.yaml").read_text().splitlines():
        content, _, comment = line.partition("  #")
        key = content.split(":")[0].strip(" -")
        if ":" in content and key and not content.lstrip().startswith("#"):
            assert comment.strip() or key in sections, line


def test_paths_count_from_the_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert anchored("bars/*.csv", tmp_path) == str(tmp_path / "bars/*.csv")
    assert anchored("~/bars", tmp_path) == "/home/me/bars"
    assert anchored("s3://bucket/bars", tmp_path) == "s3://bucket/bars"
    raw = with_source({"kind": "files", "path": "bars.csv", "basis": {"splits": "s.csv"}},
                      calendar={"file": "days.txt"}, universe={"spans": "u.txt"})  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    market = load_config(tmp_path / "mine.yaml").market
    found = (market.source.path, market.source.basis.splits, market.calendar.file,
             market.universe.spans)  # fmt: skip
    assert [str(p) for p in found] == [
        str(tmp_path / n) for n in ("bars.csv", "s.csv", "days.txt", "u.txt")
    ]


def test_how_bars_are_got_is_not_what_they_are(tmp_path):
    """A moved folder or a slower pace is the same market; another basis is another one."""

    def identity(source: dict[str, Any]) -> dict[str, Any]:
        return Market(parse_config(with_source(source)), root=tmp_path)._identity()

    files = {"kind": "files", "path": "/a/bars.csv", "basis": {"factor": "f"}}
    assert identity(files) == identity({**files, "path": "/b/bars.csv.gz", "encoding": "latin-1"})
    assert identity(files) != identity({**files, "basis": {"factor": "g"}})
    yahoo = {"kind": "yahoo", "symbols": ["A"]}
    assert identity(yahoo) == identity({**yahoo, "per_minute": 5, "symbols": ["A", "B"]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "file"}, r"market.source: .*'files'"),
        ({"kind": "files", "path": "x"}, r"market.source.basis: required"),
        ({"kind": "files", "path": "x", "basis": "raw"}, r"'raw' is no price basis; expected `adj"),
        ({"kind": "files", "path": "x", "basis": {"factor": "f", "preclose": "p"}},
         r"market.source.basis: names factor and preclose; expected exactly one"),
        ({"kind": "files", "path": "x", "basis": {"preclsoe": "p"}}, r"did you mean 'preclose'"),
        ({"kind": "files", "path": "x", "basis": {"preclose": "p", "prices": "adjusted"}},
         r"`prices: adjusted` and `inverse` belong to `factor"),
        ({"kind": "files", "path": "x", "basis": "adjusted", "columns": {"clsoe": "c"}},
         r"source.columns: 'clsoe' is no column of ours .*did you mean 'close'"),
        ({"kind": "files", "path": "x", "basis": "adjusted", "date_format": "dmy"},
         r"source.date_format: expected a form such as '%d/%m/%Y'"),
        ({"kind": "files", "path": "x", "basis": "adjusted", "name_pattern": "("},
         r"source.name_pattern: no regular expression"),
        ({"kind": "files", "path": "x", "basis": "adjusted", "name_pattern": "(.+)"},
         r"name_pattern needs from_name"),
        ({"kind": "files", "path": "x", "basis": "adjusted", "thousands": "."},
         r"thousands and decimal are both '\.'"),
        ({"kind": "files", "pth": "x", "basis": "adjusted"}, r"source.pth: .*mean 'path'"),
        ({"kind": "yahoo", "symbols": ["A"], "atempts": 1}, r"source.atempts: .*mean 'attempts'"),
        ({"kind": "simulated", "signal": 0.95}, r"source.signal: .*less than or equal to 0.9"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_named(source, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(with_source(source))


def test_the_universe_of_a_provider_needs_one():
    with pytest.raises(ConfigError, match=r"universe market 'csi300' is a file of a qlib provider"):
        parse_config(merged(TINY, {"market": {"universe": {"market": "csi300"}}}))
    with pytest.raises(ConfigError, match=r"universe.spnas: .*did you mean 'spans'"):
        parse_config(merged(TINY, {"market": {"universe": {"spnas": "x"}}}))


def test_kinds_are_known_to_messages():
    """Each tag of a union is left out of an error's path."""
    kinds = {"bokeh_sample", "simulated", "files", "qlib_bin", "sql", "yahoo", "baostock"}
    assert kinds <= TAGGED.keys()


def test_regimes_of_the_simulated_market():
    """None: the bits as without the option. With: calm and turbulent stretches, prefix-stable."""
    sessions = Sessions.of("XNYS", dt.date(2018, 1, 2), dt.date(2020, 12, 31))

    def bars(keys, **options) -> pd.DataFrame:
        settings = SimulatedSource(kind="simulated", instruments=40, seed=4, **options)
        return SimulatedBars(settings, Sessions("XNYS", "UTC", keys)).fetch(keys)

    calm, turning = bars(sessions.keys), bars(sessions.keys, regime_rate=0.02)
    pd.testing.assert_frame_equal(calm, bars(sessions.keys, regime_rate=0.0), check_exact=True)
    head = turning[turning["date"] <= sessions.keys[299]].reset_index(drop=True)
    pd.testing.assert_frame_equal(head, bars(sessions.keys[:300], regime_rate=0.02))
    span = (turning["high"] / turning["low"] - 1).groupby(turning["date"]).median()
    spread = span.rolling(20).mean().dropna()
    assert spread.max() / spread.min() > 1.8
    steady = (calm["high"] / calm["low"] - 1).groupby(calm["date"]).median().rolling(20).mean()
    assert steady.max() / steady.min() < 1.4


def write_bars(path: Path, market: Market) -> pd.DataFrame:
    """The simulated bars of a market with a cumulative factor, as a file."""
    bars = market.source.fetch(market.sessions.keys)
    bars["factor"] = bars.groupby("instrument")["adj_ratio"].cumprod()
    bars.drop(columns="adj_ratio").to_parquet(path, index=False)
    return bars


def test_a_market_in_files_has_the_partitions_of_its_origin(tmp_path, instance):
    """`ohlcv` from a file equals `ohlcv` from the source that the file was written from."""
    origin = make_market(tmp_path / "origin")
    bars = write_bars(tmp_path / "bars.parquet", origin)
    source = {
        "kind": "files",
        "path": str(tmp_path / "bars.parquet"),
        "basis": {"factor": "factor"},
    }
    copy = Market(parse_config(with_source(source)), root=tmp_path / "copy")
    keys = origin.sessions.keys[:30]
    for market, days in ((origin, keys), (copy, keys[:20]), (copy, keys[20:])):
        materialize(market, ["ohlcv"], days[0], days[-1], instance)
    ours, theirs = (m.warehouse.read("ohlcv", keys, needed_by="test").frame for m in (copy, origin))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-11)
    assert (bars["adj_ratio"] != 1.0).sum() > 3


def test_restated_history_leaves_old_partitions_as_they_are(tmp_path, instance):
    """The vendor rescales all adjusted closes at the next dividend: the next session continues."""
    origin = make_market(tmp_path / "origin")
    bars = write_bars(tmp_path / "x.parquet", origin)
    keys, path = origin.sessions.keys[:12], tmp_path / "bars.parquet"
    source = {"kind": "files", "path": str(path), "basis": {"adj_close": "adj_close"}}
    market = Market(parse_config(with_source(source)), root=tmp_path / "market")

    def published(until: str) -> None:
        rows = bars[bars["date"] <= until].copy()
        newest = rows.groupby("instrument")["factor"].transform("last")
        rows["adj_close"] = rows["close"] * rows["factor"] / newest
        rows.drop(columns=["factor", "adj_ratio"]).to_parquet(path, index=False)

    published(keys[9])
    materialize(market, ["ohlcv"], keys[0], keys[9], instance)
    before = market.warehouse.digests("ohlcv", keys[:10], needed_by="test")
    event = bars["date"] == keys[10]
    bars.loc[bars["date"] >= keys[10], "factor"] *= 1.02
    bars.loc[event, "adj_ratio"] *= 1.02
    published(keys[11])
    materialize(market, ["ohlcv"], keys[10], keys[11], instance)
    assert market.warehouse.digests("ohlcv", keys[:10], needed_by="test") == before
    factors = market.warehouse.read("ohlcv", keys, needed_by="test").frame
    base = bars[bars["date"].isin(keys)].sort_values(["date", "instrument"])
    pd.testing.assert_series_equal(
        factors["adj_factor"], base["factor"].reset_index(drop=True), rtol=1e-9, check_names=False
    )
    materialize(market, ["ohlcv"], keys[8], keys[11], instance)
    assert market.warehouse.digests("ohlcv", keys[:10], needed_by="test") == before


def test_a_session_that_is_late_is_left_out_and_holds_back_none(tmp_path, instance):
    origin = make_market(tmp_path / "origin")
    write_bars(tmp_path / "bars.parquet", origin)
    keys = origin.sessions.keys
    rows = pd.read_parquet(tmp_path / "bars.parquet")
    rows[rows["date"] <= keys[4]].to_parquet(tmp_path / "bars.parquet", index=False)
    source = {
        "kind": "files",
        "path": str(tmp_path / "bars.parquet"),
        "basis": {"factor": "factor"},
    }
    market = Market(parse_config(with_source(source)), root=tmp_path / "market")
    materialize(market, ["ohlcv"], keys[0], keys[5], instance)
    assert market.warehouse.sessions("ohlcv") == list(keys[:5])
