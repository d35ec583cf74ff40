"""Fixtures of several modules of the room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.assets.stages import stages
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.sync import sync_record
from pipelines.warehouse import revisions
from pipelines.warehouse.portfolio_tables import ORDERS
from tests.pipelines.conftest import TINY
from tests.pipelines.finished_markets import made_on_the_evening
from tests.pipelines.saved_market import MODELS, SERVED, backup, opened


@pytest.fixture(scope="module")
def saved(finished: Market, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder `data` with a market that served, its YAML, and `backup` with its backup."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    shutil.copytree(finished.paths.root, folder / "data" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNN_DATA_DIR", str(folder / "data"))
        market = opened(folder)
        keys = market.sessions.keys[-SERVED:]
        made_on_the_evening(market, MODELS, keys)
        revisions.keep(market.warehouse.store, "gru_prediction", keys[0])
        made = market.warehouse.info("gru_orders", keys[0]).provenance
        revisions.add(market.warehouse, ORDERS.named("my_orders"), keys[0], ORDERS.empty(), made)
        with dagster_instance(market) as instance:
            sync_record(market, stages(market), instance)
        assert backup(folder)[0]
    yield folder


@pytest.fixture
def saved_copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, with the same times."""
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    monkeypatch.setenv("RNN_DATA_DIR", str(folder / "data"))
    return folder
