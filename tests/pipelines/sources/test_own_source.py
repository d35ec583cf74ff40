"""Sources of other packages. Oracle: the bars of a shipped source behind them."""

from __future__ import annotations

import importlib
import sys

import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError, SourceError
from pipelines.market.market import Market
from pipelines.sources.fetch import fetch_bars
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import TINY, make_market, materialize, merged

FEED = '''
import pandas as pd
from pipelines.config.sources import SimulatedSource
from pipelines.sources.simulated import SimulatedBars
from .broken import WRONG


class Bars:
    """Bars of somebody's feed: those of the simulated market."""

    def __init__(self, sessions, seed=3, instruments=6, key=""):
        section = SimulatedSource(kind="simulated", seed=seed, instruments=instruments,
                                  suspension_rate=0.03, split_rate=0.01)
        self._bars = SimulatedBars(section, sessions)

    def fetch(self, keys):
        return self._bars.fetch(keys)


class Timestamps(Bars):
    def fetch(self, keys):
        bars = super().fetch(keys)
        return bars.assign(date=pd.to_datetime(bars["date"]))


class Texts(Bars):
    def fetch(self, keys):
        bars = super().fetch(keys)
        return bars.assign(volume=bars["volume"].astype(str))


class Few(Bars):
    def fetch(self, keys):
        return super().fetch(keys).drop(columns="adj_ratio")


class NoFetch:
    pass


class NoKeys:
    def fetch(self):
        pass


class Refuses(Bars):
    def __init__(self, sessions):
        raise ConnectionError("no route")
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody else's feeds, on the path."""
    folder = tmp_path / "myfeeds"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "feed.py").write_text(FEED)
    (folder / "broken.py").write_text("WRONG = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    _forget()


def _forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "myfeeds"]:
        del sys.modules[name]


def config(**source):
    raw = merged(TINY, {})
    raw["market"]["source"] = {"kind": "myfeeds.feed:Bars", **source}
    return parse_config(raw)


def test_bars_come_from_the_class_that_the_yaml_names(package, tmp_path):
    own = Market(config(options={"seed": 3}), root=tmp_path / "tiny")
    keys = own.sessions.keys[:5]
    expected = fetch_bars(make_market(tmp_path / "shipped").source, keys)
    pd.testing.assert_frame_equal(fetch_bars(own.source, keys), expected)


def test_changed_code_makes_the_bars_stale_and_access_does_not(package, tmp_path, instance):
    market = Market(config(access={"key": "secret"}), root=tmp_path / "tiny")
    keys = market.sessions.keys
    materialize(market, ["ohlcv"], keys[0], keys[3], instance)

    def causes(market):
        report = status_report(market, stages(market), instance)
        bars = next(a for a in report.assets if a.asset == "ohlcv")
        return {f.why for f in bars.findings if f.keys[0] == keys[0]}

    other = Market(config(access={"key": "another"}), root=tmp_path / "tiny")
    assert causes(other) == set()
    assert "secret" not in (market.paths.warehouse / "market.json").read_text()
    (package / "broken.py").write_text("WRONG = 2\n")
    _forget()
    assert any("config" in why for why in causes(Market(config(), root=tmp_path / "tiny")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"kind": "myfeeds.feed:Brs"},
            r"source.*nothing under the name 'Brs'.*did you mean 'Bars'",
        ),
        ({"kind": "nofeeds:Bars"}, r"source.*cannot import nofeeds"),
        ({"kind": "myfeeds.feed:NoFetch"}, "has no method fetch"),
        ({"kind": "myfeeds.feed:NoKeys"}, r"has fetch\(self\), expected fetch\(self, keys\)"),
        ({"options": {"sede": 3}}, "has no argument 'sede'; did you mean 'seed'"),
        ({"options": {"seed": 3}, "access": {"seed": 4}}, "seed stands under options and under"),
        ({"optoins": {}}, "unknown key; did you mean 'options'"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_with_the_yaml(package, source, message):
    with pytest.raises(ConfigError, match=message):
        config(**source)


def test_an_unknown_kind_is_still_told_the_shipped_ones():
    raw = merged(TINY, {})
    raw["market"]["source"] = {"kind": "file"}
    with pytest.raises(ConfigError, match="did you mean 'files'"):
        parse_config(raw)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Timestamps", "Timestamps gave date as datetime64.*expected texts as 2024-01-31"),
        ("Texts", "Texts gave volume as str, expected numbers"),
        ("Few", "Few gave no column adj_ratio"),
        ("Refuses", "the source myfeeds.feed:Refuses cannot be made: ConnectionError: no route"),
    ],
)
def test_bars_that_break_the_contract_are_refused(package, tmp_path, name, message):
    market = Market(config(kind=f"myfeeds.feed:{name}"), root=tmp_path / "tiny")
    with pytest.raises(SourceError, match=message):
        fetch_bars(market.source, market.sessions.keys[:2])
