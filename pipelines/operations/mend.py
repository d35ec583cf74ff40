"""Make the files beside the partitions again that are lost or damaged.

`market.json` is recorded again from the YAML where partitions say that they are this market's, and
the catalog is rebuilt. Both are made of what is there, so nothing is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.market.shown_tables import update_catalog
from pipelines.market.stage import Stage
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.market_record import FILE
from pipelines.warehouse.partition_file import read_info
from pipelines.warehouse.store import PART


def mend_files(market: Market, stages: Sequence[Stage]) -> list[str]:
    """Record the market again and rebuild the catalog, where they are lost.

    Args:
        market: the market.
        stages: its stages.

    Returns:
        Lines for a person.

    Raises:
        PipelineError: a file cannot be written.
    """
    lines, record, path = [], market.warehouse.record, market.tables.path(FILE)
    try:
        if record.is_lost() and _names_market(market):
            record.write()
            lines.append(f"{path} was lost or damaged: recorded again as the YAML has it")
        if market.tables.is_local and market.tables.tables() and update_catalog(market, stages):
            lines.append(f"the catalog {market.paths.catalog} was made again")
    except (duckdb.Error, OSError) as error:
        raise PipelineError(
            f"cannot write {path} or {market.paths.catalog}: {error}; check that the folder is "
            f"writable and the disk not full"
        ) from error
    return lines


def _names_market(market: Market) -> bool:
    """True if a partition says that it is one of the market."""
    for table in market.tables.tables():
        for key in market.warehouse.sessions(table)[:1]:
            raw = market.tables.read(table, f"date={key}", PART)
            try:
                info = read_info(pa.BufferReader(raw))
            except DamagedFileError:
                continue
            if (info.identity or {}).get("market") == market.config.name:
                return True
    return False
