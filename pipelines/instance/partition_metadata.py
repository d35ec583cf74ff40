"""Metadata of each partition of a range run, handed to Dagster in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.context.metadata_logging import (
    AssetMetadataHandle,
    OutputMetadataAccumulator,
)


def add_partition_metadata(
    context: dg.AssetExecutionContext, asset: str, metadata: Mapping[str, Mapping[str, Any]]
) -> None:
    """Give Dagster the metadata of every finished partition, for the events that it logs.

    `context.add_asset_metadata`, the public way, goes through the run's partitions and all that was
    added before on every call: 2 s for 2,520 sessions. Here they go where it puts them.

    Args:
        context: of the step.
        asset: key of the asset.
        metadata: by session.
    """
    step = context.get_step_execution_context()
    added = dict(step._metadata_accumulator.per_output_metadata)
    for key, values in metadata.items():
        handle = AssetMetadataHandle(asset_key=dg.AssetKey(asset), partition_key=key)
        added[handle] = {**added.get(handle, {}), **values}
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=added)
