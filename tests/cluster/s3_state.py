"""A real S3 server, and markets whose state it holds; tests skip visibly where moto is absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import StatusReport, status_report
from pipelines.warehouse.fetched import fetched_once
from tests.pipelines.conftest import (
    REPORTS,
    TINY,
    _migrations_read_once,  # noqa: F401 - a fixture
    _pictures_drawn_once,  # noqa: F401 - a fixture
    merged,
    own_record,
    run_everything,
)

pytest.importorskip("moto", reason="the S3 server of the tests: pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="pip install 'rnn-signal-factory[s3]'")

from benchmarks.s3_requests import BUCKET, CountingServer, credentials

MODELS = {"gru": {**TINY["models"]["gru"], "n_epochs": 1}, "linear": {}}


@pytest.fixture(scope="module")
def server() -> Iterator[CountingServer]:
    """An S3 server with an empty bucket."""
    with credentials(), CountingServer() as started:
        yield started


def configuration(server: CountingServer | None, prefix: str = "state") -> dict[str, Any]:
    """A short tiny market of a network and an estimator; its state at the server, if given."""
    config = merged(TINY, {"market": {"end": "2020-04-14"}})
    config["models"] = MODELS
    config["training"]["retrain_every"] = 5
    if server is not None:
        config["state"] = f"s3://{BUCKET}/{prefix}"
        config["storage_options"] = {"endpoint_url": server.url, "region": "us-east-1"}
    return config


def opened(root: Path, server: CountingServer | None, prefix: str = "state") -> Market:
    """The market as a machine opens it whose own folder is `root`."""
    return Market(parse_config(configuration(server, prefix)), root=root)


def built(market: Market) -> Market:
    """The market with its whole graph run."""
    with own_record() as record:
        run_everything(market, record)
        run_assets(build_definitions(market), record, REPORTS)
    return market


def status(market: Market, record: dg.DagsterInstance) -> StatusReport:
    """The status of a market whose partitions were put on the record of this machine."""
    with fetched_once():  # as every command does
        sync_record(market, stages(market), record)
        return status_report(market, stages(market), record)
