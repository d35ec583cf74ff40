"""Two markets and a broken one in one UI. Oracle: their YAMLs, and the warehouse of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from pipelines.instance.market_list import keep_config
from pipelines.market.paths import Paths
from tests.pipelines.conftest import TINY, merged
from tests.ui.browser import chromium, missing
from tests.ui.conftest import environment_of
from tests.ui.dev import ASKED_FOR, NOT_ASKED_FOR, Dev, command, running

NEEDED = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(not ASKED_FOR, reason=NOT_ASKED_FOR),
]
SEEDS = {"tiny": 3, "second": 5}  # of their simulated bars
LAST = "2020-01-08"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The UI over a folder with two markets that have bars, and one whose YAML is wrong."""
    folder = tmp_path_factory.mktemp("markets")
    data = folder / "data"
    for name, seed in SEEDS.items():
        raw = merged(TINY, {"name": name, "market": {"source": {"seed": seed}}})
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(raw))
        span = ("--start", "2020-01-02", "--end", LAST, "--select", "ohlcv")
        command(environment_of(data), "backfill", *span, "--config", str(config))
    broken = folder / "broken.yaml"
    broken.write_text("name: broken\nmarket: {calender: XNYS}\n")
    keep_config(Paths(data / "broken"), broken)
    with running(folder, environment_of(data), folder / "dev.log", market="tiny") as dev:
        yield dev


def test_every_market_is_a_location_and_a_broken_one_shows_its_error(dev):
    locations = dev.locations()
    assert sorted(locations) == ["broken", "second", "tiny"]
    kinds = {name: entry["locationOrLoadError"]["__typename"] for name, entry in locations.items()}
    assert kinds == {
        "broken": "PythonError",
        "second": "RepositoryLocation",
        "tiny": "RepositoryLocation",
    }
    assert "unknown key" in str(locations["broken"]["locationOrLoadError"]["causes"])


def test_a_run_of_one_market_leaves_the_other_as_it_was(dev, tmp_path_factory):
    before = {name: len(dev.made("ohlcv", market=name)) for name in SEEDS}
    assert set(before.values()) == {5}
    key = "2020-01-09"
    backfill = dev.backfill(["ohlcv"], [key])
    dev.succeeded(dev.first_run_of(backfill))
    assert [made.partition for made in dev.made("ohlcv", [key])] == [key]
    assert dev.made("ohlcv", [key], market="second") == []


@pytest.mark.browser
@pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))
def test_the_pages_tell_the_markets_apart(dev, tmp_path_factory):
    with chromium(dev.url, tmp_path_factory.mktemp("profile")) as browser:
        browser.open("/locations", "broken", "second", "tiny", "Failed", "View error")
        browser.press("View error")
        browser.see("market.calender (line 2): unknown key")
        browser.save("broken_market")
        browser.open("/automation", "second_daily_retraining", "tiny_daily_retraining")
        browser.open("/assets/second/ohlcv?view=partitions", "Materialized (5)")
