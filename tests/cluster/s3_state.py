"""A real S3 server, and markets whose state it holds; tests skip visibly where moto is absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import StatusReport, status_report
from pipelines.warehouse.fetched import fetched_once
from tests.cluster import short_market

pytest.importorskip("moto", reason="the S3 server of the tests: pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="pip install 'rnn-signal-factory[s3]'")

from benchmarks.s3_requests import BUCKET, CountingServer, credentials


@pytest.fixture(scope="module")
def server() -> Iterator[CountingServer]:
    """An S3 server with an empty bucket."""
    with credentials(), CountingServer() as started:
        yield started


def configuration(server: CountingServer, prefix: str = "state") -> dict[str, Any]:
    """The short market with its state at the server."""
    options = {"endpoint_url": server.url, "region": "us-east-1"}
    return short_market.configuration(f"s3://{BUCKET}/{prefix}", options)


def opened(root: Path, server: CountingServer, prefix: str = "state") -> Market:
    """The short market as a machine opens it whose own folder is `root`."""
    return Market(parse_config(configuration(server, prefix)), root=root)


def status(market: Market, record: dg.DagsterInstance) -> StatusReport:
    """The status of a market whose partitions were put on the record of this machine."""
    with fetched_once():  # as every command does
        sync_record(market, stages(market), record)
        return status_report(market, stages(market), record)
