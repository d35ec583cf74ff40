"""The table of the columns beside the bars, and the versions of its columns as inputs.

Each column has a version of its own: a hash of how it is read, then one of what the source gave for
the session. So what is made from one column is not stale when another comes or goes, and the
partitions of `ohlcv` are the same with and without such columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd
import pyarrow as pa

from pipelines.config.extra_columns import ExtraColumn
from pipelines.errors import WarehouseError
from pipelines.market.input_versions import column_input
from pipelines.market.market import Market
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import Table, extra_bars_table
from pipelines.warehouse.warehouse import Partitions

_TYPES = {"number": pa.float64(), "category": pa.string()}
_ORIGIN = 16  # characters of the hash of how a column is read


def extra_table(extra: Sequence[ExtraColumn]) -> Table:
    """The table `ohlcv_extra` of a market with these columns."""
    return extra_bars_table(
        {
            one.name: (
                _TYPES[one.kind],
                f"{one.kind} of the source's column {one.column}, null where it has none",
                fingerprint(asdict(one))[:_ORIGIN],
            )
            for one in extra
        }
    )


def read_columns(
    market: Market, names: Sequence[str], keys: Sequence[str], needed_by: str
) -> Partitions:
    """Read columns beside the bars of some sessions, with their versions.

    Args:
        market: the market.
        names: the columns.
        keys: the sessions.
        needed_by: the reader, for an error.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        WarehouseError: a file is damaged, or was written when a column was read otherwise.
    """
    table = extra_table(market.config.market.extra)
    made = {key: market.warehouse.info(table.name, key) for key in keys}
    versions: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, info in made.items():
        for name in names if info is not None else ():
            version = info.provenance.inputs.get(name, "")  # type: ignore[union-attr]
            if not version.startswith(table.origins[name]):
                raise WarehouseError(
                    f"{needed_by} reads the column {name} of {key}, which was stored when the "
                    f"configuration named or read it otherwise; materialize ohlcv from {keys[0]} "
                    f"to {keys[-1]} again"
                )
            versions[name][key] = version
    read = market.warehouse.read(
        table.name, keys, needed_by=needed_by, columns=["instrument", *names]
    )
    for key, info in made.items():
        if info is None or info.digest != read.digests[key]:
            raise WarehouseError(
                f"{needed_by}: {table.name} of {key} changed while it was read; wait for the run "
                f"that writes it"
            )
    return replace(read, columns={column_input(name): versions[name] for name in names})


def beside(rows: pd.DataFrame, extra: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Add columns to the rows of their session and instrument; a row without one has NaN."""
    on = ["date", "instrument"]
    return rows.merge(extra[[*on, *names]], on=on, how="left")
