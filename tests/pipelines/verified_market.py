"""A market on record for tests of `verify` and `status`, and the means to damage a copy."""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.verify import repairs_of
from pipelines.staleness.status_report import StatusReport, status_report
from pipelines.staleness.verification import Verification, verify_market
from pipelines.warehouse.store import PART

EARLY, LATE = "2020-04-15", "2020-05-14"


def verified(market: Market) -> Verification:
    with dagster_instance(market) as instance:
        return verify_market(market, stages(market), instance)


def status(market: Market, **kwargs) -> StatusReport:
    with dagster_instance(market) as instance:
        return status_report(market, stages(market), instance, **kwargs)


def words(market: Market, found: Verification) -> list[str]:
    """The commands that repair it."""
    made = repairs_of(market, stages(market), Console(file=io.StringIO()), found.damages)
    return [repair.words for repair in made]


def place(market: Market, table: str, key: str) -> Path:
    return market.paths.warehouse / table / f"date={key}" / PART


def flip(path: Path, at: int = -100) -> None:
    """Change one byte, and neither size nor time."""
    stat, raw = path.stat(), bytearray(path.read_bytes())
    raw[at] ^= 1
    with path.open("r+b") as file:
        file.write(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
