"""Causes of staleness: one comparison for commands and running assets.

A partition is current if its files are stored and intact, name the stage's present code version and
configuration, and were made from the inputs that are stored now (`Stage.inputs`). Restated bars are
known to the source only (`bar_versions.restated_sessions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.market.stage import Absent, External, Outdated, Stage, Version
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.table_versions import TableVersions
from pipelines.warehouse.schemas import Table


class Cause(StrEnum):
    """A cause for which a partition is not current, worst first; an empty one may be current."""

    ABSENT = "absent"
    DAMAGED = "damaged"
    CODE = "code version"
    CONFIGURATION = "configuration"
    RESTATED = "bars restated in the source since"
    INPUTS = "inputs"
    UNRECORDED = "not in Dagster's record"
    WAITS = "waits for its bars"
    SERVED = "served, inputs restated since"
    EMPTY = "no rows"


@dataclass(frozen=True)
class Reason:
    """A cause and its detail: versions, upstream tables, a bundle.

    Attributes:
        beside: True if only columns with versions of their own would be made otherwise: the table
            that other stages read stays as it is.
    """

    cause: Cause
    detail: str = ""
    beside: bool = False

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else str(self.cause)


_SAID = {
    "bundle": "another model is in force",
    "passed_over": "another model is in force",
    "members": "universe",
    "entering": "bars of sessions before",
    "previous": "the book of the session before",
}
"""Words for inputs whose name alone does not tell a person what has changed."""


def why_not_current(stage: Stage, key: str, now: StoredVersions) -> Reason | None:
    """The reason for which a partition would be made again; None if it is current.

    Args:
        stage: the stage.
        key: the session; `WHOLE` of a stage without partitions.
        now: the versions of the market as it is.
    """
    table = now.table(stage.name)
    info = table.info(key)
    if info is None:
        return _lost(table, key)
    provenance = info.provenance
    if provenance.code_version != stage.code_version:
        return Reason(Cause.CODE, f"{provenance.code_version}, now {stage.code_version}")
    if provenance.config != stage.config_hash:
        return Reason(Cause.CONFIGURATION)
    for beside in (now.table(other.name) for other in stage.tables[1:] if not other.origins):
        found = beside.info(key)
        if found is None:
            return _lost(beside, key, beside.name)
        if replace(found.provenance, status=provenance.status) != provenance:
            return Reason(Cause.INPUTS, f"{beside.name} is of another version")
    expected = stage.inputs(key, now)
    absent_input = next((v for v in expected.values() if isinstance(v, Absent)), None)
    if absent_input is not None:
        return Reason(Cause.INPUTS, f"{absent_input.table} is not there")
    names = sorted(
        name
        for name in {*expected, *provenance.inputs}
        if not _is_same(expected.get(name), provenance.inputs.get(name))
    )
    if not names:
        own = (table for table in stage.tables if table.origins)
        return next((why for t in own if (why := _columns_differ(t, key, now))), None)
    details = (_said(stage, name, expected.get(name)) for name in names)
    return Reason(Cause.INPUTS, ", ".join(dict.fromkeys(details)))


def _columns_differ(table: Table, key: str, now: StoredVersions) -> Reason | None:
    """The reason of a table beside whose columns are absent, or were read otherwise."""
    beside = now.table(table.name)
    info = beside.info(key)
    if info is None:
        return replace(_lost(beside, key, table.name), beside=True)
    made = info.provenance.inputs
    odd = {
        name for name, origin in table.origins.items() if not made.get(name, "").startswith(origin)
    }
    odd |= made.keys() - table.origins.keys()
    if not odd:
        return None
    return Reason(Cause.CONFIGURATION, f"columns {', '.join(sorted(odd))}", beside=True)


def _lost(table: TableVersions, key: str, name: str = "") -> Reason:
    """The reason of a partition whose file is absent or not the one that was written there."""
    error = table.damaged.get(key)
    details = (name, "" if error is None else error.brief)
    cause = Cause.ABSENT if error is None else Cause.DAMAGED
    return Reason(cause, ": ".join(text for text in details if text))


def _is_same(expected: Version | None, made: str | None) -> bool:
    """True if a partition was made from the version that it would be made from now."""
    return isinstance(expected, External) or expected == made


def _said(stage: Stage, name: str, version: Version | None) -> str:
    """Words for an input: the stage's name, or the reason why the input is outdated."""
    if isinstance(version, Outdated) and version.reason:
        return version.reason
    of_model = f"{stage.model}_{name}"
    return of_model if of_model in stage.deps else _SAID.get(name, name)
