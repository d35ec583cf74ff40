"""Checks as Dagster knows them: what is declared, and one result a check over a run's sessions.

Metadata is for the eye: figures have five significant digits, and a number whose plot over runs
would say nothing is given as text. The files have all digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.checks import Check, Finding
from pipelines.errors import name_sessions

_DIGITS = 5  # significant ones of a figure


def severity_of(check: Check) -> dg.AssetCheckSeverity:
    """An error where a failure stops the session, else a warning."""
    block = check.severity == "block"
    return dg.AssetCheckSeverity.ERROR if block else dg.AssetCheckSeverity.WARN


def check_result(
    check: Check, found: Mapping[str, Finding], keys: Sequence[str]
) -> dg.AssetCheckResult:
    """A check over all sessions of a run: the figures of one, or how many failed."""
    failed = sorted(key for key, finding in found.items() if not finding.passed)
    said = f"{len(found) - len(failed)} of {len(found)} sessions passed"
    # As text: the UI plots numbers over runs, and how many sessions a run had says nothing.
    metadata: dict[str, Any] = {"sessions": str(len(found))}
    if failed:
        said += f"; {name_sessions(failed)} did not: {found[failed[-1]].message}"
        metadata["failed"] = name_sessions(failed)
    elif not found:
        said = f"nothing to check in {name_sessions(keys)}"
    elif len(found) == 1:
        metadata |= shown_figures(next(iter(found.values())).figures)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not failed,
        severity=severity_of(check),
        description=said,
        metadata=metadata,
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
