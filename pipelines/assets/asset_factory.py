"""What every asset of the graph shares: partitions, policies, metadata and how it fails.

A body gets a `Run`: the keys to make, the market, and `done(key, …)` for each finished one. If the
body raises after some keys, those are recorded as materialized one by one before the run fails:
what was written counts, what was not does not. Metadata is per partition, since metadata of a
range run's result would be copied to every one of its keys.

A body that has findings hands them to `Run.check` before it writes. Failures are recorded with
their session; a blocking one raises, so nothing of that session is published. At the end every
check has one result for the run.
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

from pipelines.assets.check_results import (
    check_result,
    check_spec,
    severity_of,
    shown_figures,
    unchecked_result,
)
from pipelines.assets.checks import Check, Finding, blocking
from pipelines.assets.freshness import freshness_policy
from pipelines.assets.materialize import make_what_is_left
from pipelines.assets.partitions import check_sessions
from pipelines.assets.retries import retry_later
from pipelines.errors import (
    BarsNotArrivedError,
    CheckFailedError,
    PipelineError,
    SourceError,
    name_sessions,
)
from pipelines.instance.locks import writer_lock
from pipelines.instance.orphaned_runs import claim_run
from pipelines.instance.progress import progress
from pipelines.instance.run_history import waits_for_bars_tag
from pipelines.market.market import Market
from pipelines.sources.transient import is_transient
from pipelines.warehouse.partition_file import PartitionInfo, Provenance, fingerprint
from pipelines.warehouse.schemas import Table

# Single-run backfills are what the design rests on; that their parameter is in beta is known.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

OWNERS = ["team:research"]
LATE_GROUPS = {"predictions", "evaluation"}  # what the UI shows as late where the schedule is on
CONFIG_HASH = "config_hash"  # metadata of a definition: what its partitions' provenance must say


class Run:
    """One execution of one asset over one or more sessions.

    Attributes:
        market: configuration, calendar, warehouse.
        name: the asset's key.
        keys: the sessions to make, in order.
        stays: those of them whose file stays as it was served; the body makes only what it needs.
        retrains: whether a bundle is trained anew though it is current.
        history: those whose bundle stays as it served, whatever became of its training data.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        market: Market,
        name: str,
        code_version: str,
        config: Any,
        checks: Sequence[Check] = (),
    ) -> None:
        self.context = context
        self.market = market
        self.name = name
        self.keys = check_sessions(context.partition_keys, market.sessions)
        self.stays: frozenset[str] = frozenset()
        self.retrains = False
        self.history: frozenset[str] = frozenset()
        self._code_version = code_version
        self._config = fingerprint(config)
        self._done: dict[str, dict[str, Any]] = {}
        self._digests: dict[str, str] = {}
        self._checks = {check.name: check for check in checks if check.severity != "off"}
        self._found: dict[str, dict[str, Finding]] = {name: {} for name in self._checks}

    def check(self, key: str, *findings: Finding) -> None:
        """Record what was found in a session; those of checks that are off are passed over.

        Raises:
            CheckFailedError: a blocking check failed; call this before the session is written.
        """
        asked = [finding for finding in findings if finding.check in self._checks]
        for finding in asked:
            self._found[finding.check][key] = finding
            if not finding.passed:
                self.context.log.warning(f"{self.name} {key}: {finding.message}")
                self._log_failure(key, finding)
        stops = blocking(asked, list(self._checks.values()))
        if stops:
            raise CheckFailedError(
                f"{key} did not pass {', '.join(f.check for f in stops)}, and nothing of it was "
                f"written: {'; '.join(f.message for f in stops)}"
            )

    def _log_failure(self, key: str, finding: Finding) -> None:
        """A failed evaluation of one session, for the UI."""
        self.context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(self.name),
                check_name=finding.check,
                passed=False,
                severity=severity_of(self._checks[finding.check]),
                description=f"{key}: {finding.message}",
                metadata={"session": key, **shown_figures(finding.figures)},
                partition=key,
            )
        )

    def check_results(self) -> list[dg.AssetCheckResult]:
        """One result a check: over the sessions that were checked, else the newest one again."""
        instance = self.context.instance
        return [
            check_result(check, self._found[name])
            if self._found[name]
            else unchecked_result(instance, self.name, check, self.keys)
            for name, check in self._checks.items()
        ]

    def data_version(self) -> dg.DataVersion | None:
        """Of what this run wrote: the digest of one partition, or one hash over those of several.

        Dagster keeps one version a run and asset; each partition's own digest is in its metadata.
        """
        if len(self._digests) == 1:
            return dg.DataVersion(next(iter(self._digests.values())))
        return dg.DataVersion(fingerprint(self._digests)) if self._digests else None

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
            **shown_figures(metadata),
        }
        self._done[key] = values
        self._digests[key] = info.digest
        progress().advance(self.name, key)

    def hand_over(self, lineage: dg.TableColumnLineage | None = None) -> None:
        """Give Dagster the metadata of every finished partition, for the events that it logs.

        `context.add_asset_metadata`, the public way, goes through the run's partitions and all
        that was added before on every call: 2 s for 2,520 sessions. Here they go where it puts
        them, in one step.
        """
        if lineage is not None and self.keys[-1] in self._done:
            self._done[self.keys[-1]]["dagster/column_lineage"] = lineage
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
    checks: Sequence[Check] = (),
    lineage: dg.TableColumnLineage | None = None,
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
        checks: what the body checks through `Run.check`.
        lineage: columns to those they are made from; shown with the newest session of a run.
    """

    @dg.asset(
        name=name,
        group_name=group,
        deps=list(deps),
        check_specs=[check_spec(check, name) for check in checks if check.severity != "off"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version,
        description=description,
        kinds=kinds or {"python", "parquet"},
        owners=OWNERS,
        pool=pool,
        freshness_policy=freshness_policy(market) if group in LATE_GROUPS else None,
        metadata={
            "dagster/column_schema": column_schema(table),
            CONFIG_HASH: fingerprint(config),
            **(metadata or {}),
        },
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster wants it bare
        run = Run(context, market, name, code_version, config, checks)
        progress().start(name, len(run.keys))
        try:
            claim_run(context)
            run.require_closed()
            with writer_lock(market, name, run_id=context.run.run_id, on_wait=context.log.info):
                make_what_is_left(run, body)
            run.hand_over(lineage)
        except BaseException as error:  # an interruption too: what was written counts
            run.record_done()
            _raise_as_failure(context, name, error)
            raise
        finally:
            progress().finish(name)
        try:
            market.refresh_catalog()
        except (duckdb.Error, OSError) as error:
            context.log.warning(f"the catalog {market.paths.catalog} was not refreshed: {error}")
        return dg.MaterializeResult(
            check_results=run.check_results(), data_version=run.data_version()
        )

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
            claim_run(context)
            with writer_lock(market, name, run_id=context.run.run_id, on_wait=context.log.info):
                result = body(context)
            progress().advance(name, "all")
        except BaseException as error:
            _raise_as_failure(context, name, error)
            raise
        finally:
            progress().finish(name)
        return result

    return asset


def _raise_as_failure(context: dg.AssetExecutionContext, name: str, error: BaseException) -> None:
    """Turn what passes by itself into a retry and what the pipeline raised into a failure.

    Where the source does not have the bars yet the run says so by a tag, for the schedule.

    Raises:
        RetryRequested: the network or the file system failed, and not too often yet.
        Failure: the pipeline raised it on purpose; it would fail the same way again.
    """
    if is_transient(error):
        raise retry_later(context) from error
    if isinstance(error, BarsNotArrivedError):
        context.instance.add_run_tags(context.run.run_id, waits_for_bars_tag(context.run.run_id))
    if isinstance(error, PipelineError):
        raise dg.Failure(description=f"{name}: {error}", allow_retries=False) from error


def chunks(keys: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Runs of consecutive keys, so that a long range needs no more memory than a short one."""
    return [tuple(keys[i : i + size]) for i in range(0, len(keys), size)]
