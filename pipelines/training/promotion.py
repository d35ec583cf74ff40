"""Decide whether a trained model may be put in force, by its validation facts and thresholds.

The facts are in the bundle's manifest, the thresholds in the section `checks.model`. The verdict is
a function of both and is computed whenever a partition points to a model, so another threshold
needs no training. A rejected model keeps its bundle, with the reasons in its manifest; the last
good one stays in force (`registry.in_force`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config.checks import ModelChecks


@dataclass(frozen=True)
class Verdict:
    """The reasons against a model.

    Attributes:
        blocking: reasons that keep it out of force; empty if it may be put in force.
        warnings: reasons that are only named.
    """

    blocking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def model_verdict(checks: ModelChecks, manifest: Mapping[str, Any]) -> Verdict:
    """Compare a model's validation facts with the thresholds.

    Finite weights are not checked here: a bundle with others cannot be saved.

    Args:
        checks: thresholds and severities.
        manifest: the bundle's manifest, with `valid_score`, `constant_score`, `score_spread` and
            `valid_rank_ic`; a bundle that was saved before the last was measured passes its check.
    """
    score, constant, spread = (
        manifest[name] for name in ("valid_score", "constant_score", "score_spread")
    )
    rank_ic = manifest.get("valid_rank_ic", math.inf)
    margin = f" by more than {checks.margin:g}" if checks.margin else ""
    mean = "undefined on every session" if rank_ic is None else f"{rank_ic:.4f}"
    findings = (
        (
            checks.beats_constant,
            score > constant + checks.margin,
            f"beats_constant: the validation score {score:.6f} does not beat that of a constant, "
            f"{constant:.6f}{margin}",
        ),
        (
            checks.rank_ic,
            rank_ic is not None and rank_ic > checks.min_rank_ic,
            f"rank_ic: the mean rank IC of the validation sessions is {mean}, expected more than "
            f"{checks.min_rank_ic:g}",
        ),
        (
            checks.varied,
            not spread < checks.min_spread,
            f"varied: the scores of the validation rows spread by {spread:.2g}, less than "
            f"{checks.min_spread:g}",
        ),
    )
    return Verdict(
        tuple(text for severity, passed, text in findings if severity == "block" and not passed),
        tuple(text for severity, passed, text in findings if severity == "warn" and not passed),
    )
