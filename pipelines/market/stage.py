"""The graph as data: a `Stage` is all that the project may ask about one asset.

`assets/stages.py` fills the table, and it is the only list of assets: `status`, `demo`, `backfill`,
`refresh`, `sync`, the schedule, the catalog, the reports and Dagster's definitions read it. Rooms
below `assets` are handed the stages as an argument. Nothing here knows Dagster.

A stage says once what its partitions are made from (`Stage.inputs`): making writes the answer into
the provenance of a partition, staleness compares it with the answer of now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from pipelines.config.types import Severity
from pipelines.market.market import Market
from pipelines.warehouse.partition_file import PartitionInfo, Provenance, fingerprint
from pipelines.warehouse.schemas import Table

WHOLE = "all"  # the key of the one version of a stage without partitions


class Kind(StrEnum):
    """The kind of a stage. A model has one stage each of MODEL and PREDICTION.

    The last EVALUATION of a model is on the label that all models of the market have in common.
    """

    DATA = "data"
    FITTED = "fitted"
    MODEL = "models"
    PREDICTION = "predictions"
    EVALUATION = "evaluation"
    PORTFOLIO = "portfolio"
    REPORT = "report"


@dataclass(frozen=True)
class Absent:
    """The version of an input that is not in the warehouse; `table` names it."""

    table: str


@dataclass(frozen=True)
class Outdated:
    """The version of an input that will be made again, so that nothing was made from it.

    Attributes:
        table: the input.
        reason: why it will be made again, if the table's name does not tell a person.
    """

    table: str
    reason: str = ""


@dataclass(frozen=True)
class External:
    """The version of an input that only the source knows: a command alone compares it."""


Version: TypeAlias = str | Absent | Outdated | External
DataVersions: TypeAlias = Mapping[str, Mapping[str, Version]]
"""Table -> session -> version; `WHOLE` stands for the session of a stage without partitions."""


@dataclass(frozen=True)
class Check:
    """A check that a stage makes of every session.

    Attributes:
        name: the name in the UI, snake case.
        severity: `block`, `warn` or `off`.
        description: the figures that it compares.
    """

    name: str
    severity: Severity
    description: str


@dataclass(frozen=True)
class Finding:
    """The result of a check for one session.

    Attributes:
        check: the name of the check.
        passed: True if the session passed.
        message: what was found, what was expected and what to do.
        figures: the numbers behind the message.
    """

    check: str
    passed: bool
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnRef:
    """A column of a table, for column lineage."""

    table: str
    column: str


class Log(Protocol):
    """The log of a run."""

    def info(self, message: str, /) -> None:
        """Log information."""

    def warning(self, message: str, /) -> None:
        """Log a warning, for a person to look at."""


class Run(Protocol):
    """The work that `Stage.make` is given: some consecutive sessions of one stage.

    `make` writes each session of `keys` to the warehouse, with the provenance that `provenance`
    gives, and calls `done` for it. A stage without partitions has no keys and calls `publish` once.
    """

    @property
    def stage(self) -> Stage:
        """The stage that is made."""

    @property
    def market(self) -> Market:
        """Configuration, calendar, warehouse."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The sessions to make, in order."""

    @property
    def stays(self) -> frozenset[str]:
        """The keys whose partition stays as it was served; only their model is trained."""

    @property
    def retrains(self) -> bool:
        """True if a current bundle is trained anew."""

    @property
    def replaced(self) -> frozenset[str]:
        """All keys of the stage that are made in the run, those of other blocks too."""

    @property
    def history(self) -> frozenset[str]:
        """The keys whose bundle stays, even if its training data changed."""

    @property
    def beside(self) -> frozenset[str]:
        """The stages that this process makes in the run from now on, this one among them."""

    @property
    def log(self) -> Log:
        """The log of the run."""

    def served(self, model: str) -> Collection[str]:
        """The sessions whose predictions of a model were made in time to be traded on."""

    def provenance(self, key: str, versions: DataVersions, status: str = "ok") -> Provenance:
        """The provenance of a partition that is made from these versions."""

    def check(self, key: str, *findings: Finding) -> None:
        """Record findings of a session, before it is written.

        Raises:
            CheckFailedError: a blocking check failed.
        """

    def done(self, key: str, info: PartitionInfo, **metadata: Any) -> None:
        """Record that the partition of a session is in the warehouse."""

    def publish(self, version: str | None = None, **metadata: Any) -> None:
        """Record that a stage without partitions is made."""


def no_inputs(key: str, versions: DataVersions) -> dict[str, Version]:
    """The inputs of a stage that is compared with nothing."""
    return {}


@dataclass(frozen=True, eq=False)
class Stage:
    """One asset of the graph: everything that the rest of the project may ask about it.

    Attributes:
        name: the asset's key.
        kind: what it makes.
        model: the model that it belongs to.
        dataset: the dataset that it belongs to.
        tables: schemas of its partitions, by the name of the table's folder; the first is what
            other stages read. A stage without partitions has none.
        deps: names of the stages that it reads.
        previous: True if it reads its own partition of the session before, which Dagster is not
            told.
        first: the first session that it has; none before is missing, and no report before it is.
            None for the market's first.
        code_version: bumped by hand when the results of `make` change.
        config: just the configuration that decides its bytes; its hash goes into the provenance.
        inputs: the versions that the partition of a session is made from, by name.
        make: makes the sessions of a run.
        checks: the checks that `make` hands to `Run.check`.
        lineage: for each column, the columns that it is made from.
        recorded: reads the provenance of a stage without partitions: the fitted state, or the
            record beside a report. It returns None if the stage was never made. Without this
            function such a stage is never compared.
        group: its group in the UI (default: the kind).
        description: what it holds, for the UI.
        kinds: engines shown as badges in the UI.
        pool: the concurrency pool that it takes a slot of.
        metadata: more metadata of the definition.
    """

    name: str
    kind: Kind
    make: Callable[[Run], None]
    code_version: str
    model: str | None = None
    dataset: str | None = None
    tables: tuple[Table, ...] = ()
    deps: tuple[str, ...] = ()
    previous: bool = False
    first: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[str, DataVersions], Mapping[str, Version]] = no_inputs
    checks: tuple[Check, ...] = ()
    lineage: Mapping[str, tuple[ColumnRef, ...]] | None = None
    recorded: Callable[[Market], PartitionInfo | None] | None = None
    group: str = ""
    description: str = ""
    kinds: tuple[str, ...] = ("python", "parquet")
    pool: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def config_hash(self) -> str:
        """The hash of the configuration that the provenance of its partitions must hold."""
        return fingerprint(self.config)

    @property
    def is_source(self) -> bool:
        """True if it takes its data from outside: only the source knows when it is restated."""
        return bool(self.tables) and not self.deps

    @property
    def is_compared(self) -> bool:
        """True if it can be found missing or stale."""
        return bool(self.tables) or self.recorded is not None

    def due(self, sessions: Sequence[str]) -> tuple[str, ...]:
        """The sessions that the stage has a partition of, `WHOLE` of one without partitions.

        Args:
            sessions: sessions, in order.
        """
        keys = tuple(key for key in sessions if self.first is None or key >= self.first)
        return keys if self.tables or not keys else (WHOLE,)


def by_model(stages: Sequence[Stage], kind: Kind) -> dict[str, Stage]:
    """The stage of a kind of each model that has one; of several evaluations the common one."""
    return {stage.model: stage for stage in stages if stage.kind is kind and stage.model}


def last_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages that end the daily graph: partitioned, and no partitioned stage reads them."""
    read = {name for stage in stages if stage.tables for name in stage.deps}
    return tuple(stage for stage in stages if stage.tables and stage.name not in read)


def downstream(stages: Sequence[Stage], names: Collection[str]) -> set[str]:
    """The names of the stages that read some stages, directly or through others.

    Args:
        stages: upstream first.
        names: the stages that are read; not in the answer.
    """
    readers: set[str] = set()
    for stage in stages:
        if {*stage.deps} & {*names, *readers}:
            readers.add(stage.name)
    return readers - set(names)
