"""Dagster asset checks: their specs, and one result per check over the sessions of a run.

Figures in metadata have five significant digits, and a number whose plot over runs says nothing is
text. The files have all digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.errors import name_sessions
from pipelines.instance.materializations import newest_evaluation
from pipelines.market.stage import Check, Finding

_DIGITS = 5  # significant digits of a figure


def severity_of(check: Check) -> dg.AssetCheckSeverity:
    """ERROR for a check that blocks, else WARN."""
    block = check.severity == "block"
    return dg.AssetCheckSeverity.ERROR if block else dg.AssetCheckSeverity.WARN


def check_result(check: Check, found: Mapping[str, Finding]) -> dg.AssetCheckResult:
    """The result over the checked sessions of a run: the figures of one, or how many failed."""
    failures = sorted(key for key, finding in found.items() if not finding.passed)
    text = f"{len(found) - len(failures)} of {len(found)} sessions passed"
    # As text: the UI plots numbers over runs, and a plot of this count says nothing.
    metadata: dict[str, Any] = {"sessions": str(len(found))}
    if failures:
        text += f"; {name_sessions(failures)} did not: {found[failures[-1]].message}"
        metadata["failed"] = name_sessions(failures)
    elif len(found) == 1:
        metadata |= shown_figures(next(iter(found.values())).figures)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not failures,
        severity=severity_of(check),
        description=text,
        metadata=metadata,
    )


def unchecked_result(
    instance: dg.DagsterInstance, asset: dg.AssetKey, check: Check, keys: Sequence[str]
) -> dg.AssetCheckResult:
    """Repeat the newest result of a check in a run that had nothing to check.

    Dagster requires a result of every declared check, and a pass would hide an earlier failure.
    The failure of a blocking check is repeated as a warning: this run must not stop, since it did
    nothing wrong.

    Args:
        instance: Dagster's record.
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


def check_spec(check: Check, asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Dagster's spec of a check, blocking if the check's severity is `block`."""
    return dg.AssetCheckSpec(
        check.name,
        asset=asset,
        description=check.description,
        blocking=check.severity == "block",
    )


def shown_figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Round the figures of metadata to five significant digits; counts stay whole."""
    return {k: _rounded(v) if isinstance(v, float) else v for k, v in values.items()}


def _rounded(value: float) -> float:
    """Round to five significant digits, and a value with more integer digits to a whole number."""
    if math.isfinite(value) and abs(value) >= 10**_DIGITS:
        return float(round(value))
    return float(f"{value:.{_DIGITS}g}")
