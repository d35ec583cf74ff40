"""Checks as Dagster knows them: what is declared, and one result a check over a run's sessions.

Metadata is for the eye: figures have five significant digits, and a number whose plot over runs
would say nothing is given as text. The files have all digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.errors import name_sessions
from pipelines.instance.materializations import newest_evaluation
from pipelines.market.stage import Check, Finding

_DIGITS = 5  # significant ones of a figure


def severity_of(check: Check) -> dg.AssetCheckSeverity:
    """An error where a failure stops the session, else a warning."""
    block = check.severity == "block"
    return dg.AssetCheckSeverity.ERROR if block else dg.AssetCheckSeverity.WARN


def check_result(check: Check, found: Mapping[str, Finding]) -> dg.AssetCheckResult:
    """A check over all sessions of a run that were checked: one's figures, or how many failed."""
    failed = sorted(key for key, finding in found.items() if not finding.passed)
    said = f"{len(found) - len(failed)} of {len(found)} sessions passed"
    # As text: the UI plots numbers over runs, and how many sessions a run had says nothing.
    metadata: dict[str, Any] = {"sessions": str(len(found))}
    if failed:
        said += f"; {name_sessions(failed)} did not: {found[failed[-1]].message}"
        metadata["failed"] = name_sessions(failed)
    elif len(found) == 1:
        metadata |= shown_figures(next(iter(found.values())).figures)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not failed,
        severity=severity_of(check),
        description=said,
        metadata=metadata,
    )


def unchecked_result(
    instance: dg.DagsterInstance, asset: str, check: Check, keys: Sequence[str]
) -> dg.AssetCheckResult:
    """The result of a check in a run that had nothing to check: what is known stays as it is.

    Dagster requires a result of every declared check. One that passed would turn a failure green
    by a run that found everything current, so the newest evaluation is repeated. It must not stop
    this run, which did nothing wrong: a failure of a check that blocks is repeated as a warning.

    Args:
        instance: the record.
        asset: key of the asset.
        check: the check.
        keys: the sessions of the run.
    """
    newest = newest_evaluation(instance, asset, check.name)
    if newest is None:
        return dg.AssetCheckResult(
            check_name=check.name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"not checked: nothing of {name_sessions(keys)} was made by this run, and "
            f"no earlier result is on record; the next run that makes a session checks it",
        )
    run_id, known = newest
    stops = check.severity == "block" and not known.passed
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=known.passed,
        severity=dg.AssetCheckSeverity.WARN if stops else known.severity,
        description=known.description,
        metadata={"checked in run": run_id[:8], **known.metadata},
    )


def check_spec(check: Check, asset: str) -> dg.AssetCheckSpec:
    """A check as the UI knows it: blocking where a failure stops what follows."""
    return dg.AssetCheckSpec(
        check.name,
        asset=asset,
        description=check.description,
        blocking=check.severity == "block",
    )


def shown_figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with numbers as a person reads them: five significant digits, counts whole."""
    return {k: _rounded(v) if isinstance(v, float) else v for k, v in values.items()}


def _rounded(value: float) -> float:
    """To five significant digits; what has more in front of the point is made whole."""
    if math.isfinite(value) and abs(value) >= 10**_DIGITS:
        return float(round(value))
    return float(f"{value:.{_DIGITS}g}")
