"""One execution of a stage: the work that `make` is given, and the results that it leaves.

`Run` is frozen and names the sessions to make; `Results` collects findings and finished partitions
for Dagster. If `make` raises after some sessions, those at the head of the range are handed to
Dagster all the same, so that the stages which read them go on, and the others are recorded as
materialized one by one: every written session counts. Metadata is per partition, since Dagster
would copy the metadata of a range run's result to every key of the range.

`make` hands the findings of a session to `Run.check` before it writes. Failures are recorded with
their session; a blocking one raises, so nothing of that session is published. At the end every
check has one result for the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import dagster as dg

from pipelines.assets.check_results import (
    check_result,
    severity_of,
    shown_figures,
    unchecked_result,
)
from pipelines.assets.checks import blocking
from pipelines.errors import CheckFailedError
from pipelines.instance.partition_metadata import add_partition_metadata, end_range_at
from pipelines.instance.progress import progress
from pipelines.market.market import Market
from pipelines.market.reads import AskedVersions, read_words
from pipelines.market.stage import DataVersions, Finding, Log, Stage
from pipelines.staleness.served import Served
from pipelines.warehouse.partition_file import PartitionInfo, Provenance, fingerprint


class Results:
    """The findings, the finished partitions and the published version of one run of a stage.

    Args:
        context: the context of the Dagster step.
        stage: the stage.
        keys: every session that was asked for.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, stage: Stage, keys: tuple[str, ...]
    ) -> None:
        self._context, self._stage, self._keys = context, stage, keys
        self._checks = {check.name: check for check in stage.checks if check.severity != "off"}
        self._findings: dict[str, dict[str, Finding]] = {name: {} for name in self._checks}
        self._metadata: dict[str, dict[str, Any]] = {}
        self._reads: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._published: dict[str, Any] = {}
        self._version: str | None = None

    @property
    def run_id(self) -> str:
        """The id of the Dagster run."""
        return self._context.run.run_id

    def check(self, key: str, *findings: Finding) -> None:
        """Record the findings of a session; findings of checks that are off are ignored."""
        enabled = [finding for finding in findings if finding.check in self._checks]
        for finding in enabled:
            self._findings[finding.check][key] = finding
            if not finding.passed:
                self._context.log.warning(f"{self._stage.name} {key}: {finding.message}")
                self._log_failure(key, finding)
        stops = blocking(enabled, list(self._checks.values()))
        if stops:
            raise CheckFailedError(
                f"{key} did not pass {', '.join(f.check for f in stops)}, and nothing of it was "
                f"written: {'; '.join(f.message for f in stops)}",
                session=key,
            )

    def _log_failure(self, key: str, finding: Finding) -> None:
        """Log a failed evaluation of one session, for the UI."""
        self._context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=self._context.asset_key,
                check_name=finding.check,
                passed=False,
                severity=severity_of(self._checks[finding.check]),
                description=f"{key}: {finding.message}",
                metadata={"session": key, **shown_figures(finding.figures)},
                partition=key,
            )
        )

    def note_reads(self, key: str, reads: str) -> None:
        """Keep what the partition of a session is made from, in words, for its metadata."""
        self._reads[key] = reads

    def done(self, key: str, info: PartitionInfo, metadata: Mapping[str, Any]) -> None:
        """Keep the metadata of a partition that is in the warehouse, and show progress."""
        self._metadata[key] = {
            "dagster/row_count": info.rows,
            "session": key,
            "status": info.provenance.status,
            "digest": info.digest[:16],
            **({"reads": self._reads[key]} if self._reads.get(key) else {}),
            **shown_figures(metadata),
        }
        self._digests[key] = info.digest
        progress().advance(self._stage.name, key, info.rows)

    def publish(self, version: str | None, metadata: Mapping[str, Any]) -> None:
        """Keep the version and the metadata of a stage without partitions."""
        self._version, self._published = version, dict(metadata)

    @property
    def head(self) -> tuple[str, ...]:
        """The finished sessions up to the first that is not."""
        return tuple(takewhile(self._metadata.__contains__, self._keys))

    def record_done(self, *, but: Collection[str] = ()) -> None:
        """Log a materialization for each finished partition that is not handed over.

        Args:
            but: the sessions that are handed over.
        """
        for key, metadata in self._metadata.items():
            if key in but:
                continue
            self._context.log_event(
                dg.AssetMaterialization(
                    asset_key=self._context.asset_key, partition=key, metadata=metadata
                )
            )

    def hand_over(self, lineage: dg.TableColumnLineage | None) -> dg.MaterializeResult[Any]:
        """The result of the run for Dagster, with the metadata of the sessions at its head.

        Dagster reads column lineage from the newest materialization: only the last session has it.
        A check that stopped the run at a later session must not stop the stages that read the
        head: its failure is a warning here, beside the error of the step.
        """
        metadata = {key: self._metadata[key] for key in self.head}
        if self.head and lineage is not None:
            metadata[self.head[-1]]["dagster/column_lineage"] = lineage
        add_partition_metadata(self._context, metadata)
        is_whole = len(metadata) == len(self._keys)
        if not is_whole:
            end_range_at(self._context, self._keys[0], self.head[-1])
        return dg.MaterializeResult(
            metadata=self._published or None,
            check_results=self.check_results(stops=is_whole),
            data_version=self._data_version(),
        )

    def check_results(self, *, stops: bool) -> list[dg.AssetCheckResult]:
        """One result of every check, which Dagster requires even of a step that makes nothing.

        Args:
            stops: True if a failure of a blocking check stops the stages that read this one.
        """
        instance = self._context.instance
        return [
            check_result(check if stops else replace(check, severity="warn"), findings)
            if (findings := self._findings[name])
            else unchecked_result(instance, self._context.asset_key, check, self._keys)
            for name, check in self._checks.items()
        ]

    def _data_version(self) -> dg.DataVersion | None:
        """The digest of one partition, or one hash over the digests of several.

        Dagster keeps one version a run and asset; each partition's own digest is in its metadata.
        """
        if self._version is not None:
            return dg.DataVersion(self._version)
        if len(self._digests) == 1:
            return dg.DataVersion(next(iter(self._digests.values())))
        return dg.DataVersion(fingerprint(self._digests)) if self._digests else None


@dataclass(frozen=True)
class Run:
    """Some consecutive sessions of one stage to be made; see `pipelines.market.stage.Run`.

    Attributes:
        market: configuration, calendar, warehouse.
        stage: the stage.
        keys: the sessions to make, in order.
        log: the log of the run.
        results: collects findings and finished partitions.
        predictions_served: the sessions of each model that were served.
        stays: the keys whose partition stays as it was served.
        retrains: True if a current bundle is trained anew.
        history: the keys whose bundle stays, even if its training data changed.
        beside: the stages that this process makes in the run from now on, this one among them.
        replaced: all keys of the stage that are made in the run, those of other blocks too.
    """

    market: Market
    stage: Stage
    keys: tuple[str, ...]
    log: Log
    results: Results
    predictions_served: Served
    stays: frozenset[str] = field(default_factory=frozenset)
    retrains: bool = False
    history: frozenset[str] = field(default_factory=frozenset)
    beside: frozenset[str] = field(default_factory=frozenset)
    replaced: frozenset[str] = field(default_factory=frozenset)

    def served(self, model: str) -> set[str]:
        """The sessions whose predictions of a model were made in time to be traded on."""
        return self.predictions_served.sessions(model)

    def provenance(self, key: str, versions: DataVersions, status: str = "ok") -> Provenance:
        """The provenance of a partition that is made from these versions."""
        inputs: dict[str, str] = {}
        asked = AskedVersions(versions)
        for name, version in self.stage.inputs(key, asked).items():
            if not isinstance(version, str):
                raise AssertionError(f"{self.stage.name} {key} is made from {name}: {version}")
            inputs[name] = version
        self.results.note_reads(key, read_words(asked.reads))
        stage = self.stage
        return Provenance(stage.name, stage.code_version, stage.config_hash, inputs, status)

    def check(self, key: str, *findings: Finding) -> None:
        """Record findings of a session, before it is written.

        Raises:
            CheckFailedError: a blocking check failed.
        """
        self.results.check(key, *findings)

    def done(self, key: str, info: PartitionInfo, **metadata: Any) -> None:
        """Record that the partition of a session is in the warehouse."""
        self.results.done(key, info, metadata)

    def publish(self, version: str | None = None, **metadata: Any) -> None:
        """Record that a stage without partitions is made."""
        self.results.publish(version, metadata)
