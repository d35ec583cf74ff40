"""The table of the columns beside the bars, and the versions of its columns as inputs.

Each column has a version of its own: a hash of how it is read, then one of what the source gave for
the session. So what is made from one column is not stale when another comes or goes, and the
partitions of `ohlcv` are the same with and without such columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import pyarrow as pa

from pipelines.config.extra_columns import ExtraColumn
from pipelines.errors import WarehouseError
from pipelines.market.input_versions import column_input
from pipelines.market.market import Market
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import EXTRA, OHLCV, Table, extra_bars_table
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


def bars_read(columns: Sequence[str]) -> tuple[str, ...]:
    """The stage that some columns beside the bars are of, for `Stage.deps`; none for no column."""
    return (OHLCV.name,) if columns else ()


def stored_versions(
    market: Market, names: Sequence[str], keys: Sequence[str], needed_by: str
) -> dict[str, dict[str, str]]:
    """The versions of columns beside the bars at some sessions, by input and session.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        WarehouseError: a file was written when a column was read otherwise, or is damaged.
    """
    if not names:
        return {}
    table = extra_table(market.config.market.extra)
    market.warehouse.require(table.name, keys, needed_by)
    versions: dict[str, dict[str, str]] = {column_input(name): {} for name in names}
    for key in keys:
        info = market.warehouse.info(table.name, key)
        for name in names:
            made = "" if info is None else info.provenance.inputs.get(name, "")
            if not made.startswith(table.origins[name]):
                raise WarehouseError(
                    f"{needed_by} reads the column {name} of {key}, which was stored when the "
                    f"configuration did not name it or read it otherwise; materialize ohlcv from "
                    f"{keys[0]} to {keys[-1]} again"
                )
            versions[column_input(name)][key] = made
    return versions


def read_columns(
    market: Market, names: Sequence[str], keys: Sequence[str], needed_by: str
) -> Partitions | None:
    """Read columns beside the bars of some sessions, with their versions; None for no column.

    Args:
        market: the market.
        names: the columns.
        keys: the sessions.
        needed_by: the reader, for an error.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        WarehouseError: as `stored_versions`, or a file changed while it was read.
    """
    if not names:
        return None
    versions = stored_versions(market, names, keys, needed_by)
    read = market.warehouse.read(EXTRA, keys, needed_by=needed_by, columns=["instrument", *names])
    if stored_versions(market, names, keys, needed_by) != versions:
        raise WarehouseError(
            f"{needed_by}: {EXTRA} from {keys[0]} to {keys[-1]} changed while it was read; wait "
            f"for the run that writes it"
        )
    return replace(read, columns=versions)


def versions_of(*parts: Partitions | None) -> dict[str, dict[str, str]]:
    """The versions of the columns that some reads came with, by input and session."""
    merged: dict[str, dict[str, str]] = {}
    for part in parts:
        for name, versions in ({} if part is None else part.columns).items():
            merged.setdefault(name, {}).update(versions)
    return merged
