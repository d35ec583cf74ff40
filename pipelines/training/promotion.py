"""Whether a trained model may be put in force: its validation facts against the YAML's thresholds.

The facts are in the bundle's manifest, the thresholds in the section `checks.model`. The verdict is
a function of both and is asked for whenever a model is pointed to, so another threshold needs no
training. A model that may not be put in force keeps its bundle, with the reasons in its manifest;
the last good one stays (`registry.in_force`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config.checks import ModelChecks


@dataclass(frozen=True)
class Verdict:
    """Reasons against a model.

    Attributes:
        blocking: why it is not put in force; empty where it may be.
        warnings: what is only named.
    """

    blocking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def model_verdict(checks: ModelChecks, manifest: Mapping[str, Any]) -> Verdict:
    """What the checks make of a model's validation facts.

    That all weights are finite is not asked here: a bundle with others cannot be saved.

    Args:
        checks: thresholds and severities.
        manifest: of the bundle, with `valid_score`, `constant_score`, `score_spread` and
            `valid_rank_ic`; a bundle that was saved before the last was measured is not judged
            by it.
    """
    score, constant = manifest["valid_score"], manifest["constant_score"]
    found = []
    if not score > constant + checks.margin:
        margin = f" by more than {checks.margin:g}" if checks.margin else ""
        found.append(
            (
                checks.beats_constant,
                f"beats_constant: the validation score {score:.6f} does not beat that of a "
                f"constant, {constant:.6f}{margin}",
            )
        )
    rank_ic = manifest.get("valid_rank_ic", math.inf)
    if rank_ic is None or not rank_ic > checks.min_rank_ic:
        was = "undefined on every session" if rank_ic is None else f"{rank_ic:.4f}"
        found.append(
            (
                checks.rank_ic,
                f"rank_ic: the mean rank IC of the validation sessions is {was}, expected more "
                f"than {checks.min_rank_ic:g}",
            )
        )
    if manifest["score_spread"] < checks.min_spread:
        found.append(
            (
                checks.varied,
                f"varied: the scores of the validation rows spread by "
                f"{manifest['score_spread']:.2g}, less than {checks.min_spread:g}",
            )
        )
    return Verdict(
        tuple(reason for severity, reason in found if severity == "block"),
        tuple(reason for severity, reason in found if severity == "warn"),
    )
