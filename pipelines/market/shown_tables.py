"""The tables of a market that its catalog shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.market.books import book_stages
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.warehouse.catalog import refresh_catalog


def update_catalog(market: Market, stages: Sequence[Stage]) -> bool:
    """Show tables in the catalog that have appeared since the catalog was built.

    Returns:
        True if it was rebuilt.

    Raises:
        duckdb.Error: the catalog cannot be built.
        OSError: the catalog cannot be written.
    """
    return refresh_catalog(market.paths.catalog, market.tables, **catalog_tables(stages))


def catalog_tables(stages: Sequence[Stage]) -> dict[str, Any]:
    """The tables by model that a catalog has views over, as `refresh_catalog` takes them."""
    return {
        "predictions": {m: s.name for m, s in by_model(stages, Kind.PREDICTION).items()},
        "evaluations": {m: s.name for m, s in by_model(stages, Kind.EVALUATION).items()},
        "books": tuple(book_stages(stages)),
    }
