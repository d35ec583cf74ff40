"""The bytes of a market's state by kind, for `status` and `prune`."""

from __future__ import annotations

from pipelines.instance.record_reads import Record
from pipelines.instance.record_size import record_bytes
from pipelines.market.market import Market
from pipelines.warehouse.revisions import FOLDER as REVISIONS


def state_bytes(market: Market, record: Record) -> dict[str, int]:
    """Sum up the bytes of a market's state.

    Args:
        market: the market.
        record: its Dagster record.

    Returns:
        `warehouse`, `models`, `units`, `revisions`, `reports`, and `record`, which all markets of
        the data folder share.
    """
    bundles, units = market.bundles.sizes(), market.state.below("units").sizes()
    revisions = market.tables.sizes(REVISIONS)
    return {
        "warehouse": market.tables.table_bytes(),
        "models": _sum(bundles, revisions=False),
        "units": sum(units.values()),
        "revisions": sum(revisions.values()) + _sum(bundles, revisions=True),
        "reports": sum(market.reports.sizes().values()),
        "record": record_bytes(market.paths.dagster, record),
    }


def _sum(sizes: dict[str, int], *, revisions: bool) -> int:
    """The bytes of the revisions among some files, or of the others."""
    return sum(n for name, n in sizes.items() if name.startswith(f"{REVISIONS}/") is revisions)


def bytes_in_words(count: int) -> str:
    """`12.3 MB`: thousands, as disks are sold."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
