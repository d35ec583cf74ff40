"""What every asset of the graph shares: partitions, policies, metadata and how it fails.

A body gets a `Run`: the keys to make, the market, and `done(key, …)` for each finished one. If the
body raises after some keys, those are recorded as materialized one by one before the run fails:
what was written counts, what was not does not. Metadata is per partition, since metadata of a
range run's result would be copied to every one of its keys.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb
from dagster._core.execution.context.metadata_logging import (
    AssetMetadataHandle,
    OutputMetadataAccumulator,
)

from pipelines.errors import PipelineError, SourceError, name_sessions
from pipelines.market import Market
from pipelines.partition_file import PartitionInfo, Provenance, fingerprint
from pipelines.partitions import check_sessions
from pipelines.progress import progress
from pipelines.schemas import Table

# Single-run backfills are what the design rests on; that their parameter is in beta is known.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

OWNERS = ["team:research"]
CONFIG_HASH = "config_hash"  # metadata of a definition: what its partitions' provenance must say


class Run:
    """One execution of one asset over one or more sessions.

    Attributes:
        market: configuration, calendar, warehouse.
        name: the asset's key.
        keys: the sessions to make, in order.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        market: Market,
        name: str,
        code_version: str,
        config: Any,
    ) -> None:
        self.context = context
        self.market = market
        self.name = name
        self.keys = check_sessions(context.partition_keys, market.sessions)
        self._code_version = code_version
        self._config = fingerprint(config)
        self._done: dict[str, dict[str, Any]] = {}

    def require_closed(self) -> None:
        """Refuse sessions that are not over: their bars are not final.

        Raises:
            SourceError: naming them.
        """
        last = self.market.last_closed()
        early = [key for key in self.keys if key > last]
        if early:
            raise SourceError(
                f"{name_sessions(early)} not over yet: the newest closed session of "
                f"{self.market.sessions.calendar} is {last}; end the range there"
            )

    def provenance(self, inputs: Mapping[str, str], status: str = "ok") -> Provenance:
        """The provenance of a partition of this asset."""
        return Provenance(self.name, self._code_version, self._config, dict(inputs), status)

    def done(self, key: str, info: PartitionInfo, **metadata: Any) -> None:
        """One partition is in the warehouse: keep its metadata and show progress."""
        values = {
            "dagster/row_count": info.rows,
            "session": key,
            "status": info.provenance.status,
            "digest": info.digest[:16],
            **metadata,
        }
        self._done[key] = values
        progress().advance(self.name, key)

    def hand_over(self) -> None:
        """Give Dagster the metadata of every finished partition, for the events that it logs.

        `context.add_asset_metadata`, the public way, goes through the run's partitions and all
        that was added before on every call: 2 s for 2,520 sessions. Here they go where it puts
        them, in one step.
        """
        step = self.context.get_step_execution_context()
        added = dict(step._metadata_accumulator.per_output_metadata)
        for key, values in self._done.items():
            handle = AssetMetadataHandle(asset_key=dg.AssetKey(self.name), partition_key=key)
            added[handle] = {**added.get(handle, {}), **values}
        step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=added)

    def record_done(self) -> None:
        """Log a materialization for each finished partition, where the run will fail."""
        for key, metadata in self._done.items():
            self.context.log_event(
                dg.AssetMaterialization(asset_key=self.name, partition=key, metadata=metadata)
            )


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns for the UI."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                str(c.type),
                description=c.description,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in table.columns
        ]
    )


def session_asset(
    market: Market,
    body: Callable[[Run], None],
    *,
    name: str,
    table: Table,
    group: str,
    deps: Sequence[str],
    code_version: str,
    config: Any,
    partitions_def: dg.PartitionsDefinition[str],
    description: str,
    kinds: set[str] | None = None,
    pool: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """An asset with a partition a session.

    Args:
        market: the market.
        body: makes the partitions of a `Run` and calls `done` for each.
        name: key of the asset and folder of its table.
        table: the columns.
        group: group in the lineage.
        deps: keys of the assets that it reads, identity mapping.
        code_version: bumped by hand when the body's results change.
        config: just the configuration that the body uses; its hash goes into the provenance.
        partitions_def: the market's sessions.
        description: what it holds, for the UI.
        kinds: engines shown as badges.
        pool: concurrency pool.
        metadata: more metadata of the definition.
    """

    @dg.asset(
        name=name,
        group_name=group,
        deps=list(deps),
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version,
        description=description,
        kinds=kinds or {"python", "parquet"},
        owners=OWNERS,
        pool=pool,
        metadata={
            "dagster/column_schema": column_schema(table),
            CONFIG_HASH: fingerprint(config),
            **(metadata or {}),
        },
    )
    def asset(context: dg.AssetExecutionContext) -> None:
        run = Run(context, market, name, code_version, config)
        progress().start(name, len(run.keys))
        try:
            run.require_closed()
            body(run)
            run.hand_over()
        except PipelineError as error:
            run.record_done()
            raise dg.Failure(description=f"{name}: {error}", allow_retries=False) from error
        except BaseException:  # an interruption too: what was written counts
            run.record_done()
            raise
        finally:
            progress().finish(name)
        try:
            market.refresh_catalog()
        except (duckdb.Error, OSError) as error:
            context.log.warning(f"the catalog {market.paths.catalog} was not refreshed: {error}")

    return asset


def market_asset(
    market: Market,
    body: Callable[[dg.AssetExecutionContext], dg.MaterializeResult[Any]],
    *,
    name: str,
    group: str,
    deps: Sequence[str],
    code_version: str,
    description: str,
    kinds: set[str] | None = None,
) -> dg.AssetsDefinition:
    """An asset without partitions: the fitted processors and the reports."""

    @dg.asset(
        name=name,
        group_name=group,
        deps=list(deps),
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version,
        description=description,
        kinds=kinds or {"python"},
        owners=OWNERS,
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        progress().start(name, 1)
        try:
            result = body(context)
            progress().advance(name, "all")
        except PipelineError as error:
            raise dg.Failure(description=f"{name}: {error}", allow_retries=False) from error
        finally:
            progress().finish(name)
        return result

    return asset


def nan_share(values: Any) -> float:
    """Share of missing values of a numeric block, rounded for display."""
    import numpy as np

    array = np.asarray(values, dtype="float32")
    return round(float(np.isnan(array).mean()), 6) if array.size else 0.0


def chunks(keys: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Runs of consecutive keys, so that a long range needs no more memory than a short one."""
    return [tuple(keys[i : i + size]) for i in range(0, len(keys), size)]
