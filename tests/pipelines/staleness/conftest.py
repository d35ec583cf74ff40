"""Fixtures of several modules of the room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from pipelines.assets.stages import stages
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.sync import sync_record
from pipelines.warehouse import revisions
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import made_on_the_evening
from tests.pipelines.verified_market import EARLY


@pytest.fixture(scope="module")
def recorded(finished: Market, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A market on record, whose last sessions were served, with a revision."""
    root = tmp_path_factory.mktemp("verified") / "tiny"
    shutil.copytree(finished.paths.root, root)
    market = make_market(root)
    made_on_the_evening(market, ["gru"], market.sessions.keys[-3:])
    revisions.keep(market.warehouse.store, "lstm_prediction", EARLY)
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
    yield market


@pytest.fixture
def recorded_market(recorded: Market) -> Iterator[Market]:
    """The recorded market; every file of it is put back with its time."""
    root = recorded.paths.root
    before = {p: (p.read_bytes(), p.stat()) for p in root.rglob("*") if p.is_file()}
    yield make_market(root)
    for path in [p for p in root.rglob("*") if p.is_file() and p not in before]:
        path.unlink()
    for path, (content, stat) in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
