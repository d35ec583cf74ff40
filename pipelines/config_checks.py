"""Thresholds and severities of the checks: the section `checks` of a market's YAML.

`block` keeps wrong data from flowing on, `warn` names it in the UI and the log, `off` does not
look. A threshold belongs to the check beside it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.config_types import Section, Severity


class ModelChecks(Section):
    """Whether a trained model is put in force."""

    beats_constant: Severity = "block"
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    varied: Severity = "block"
    min_spread: Annotated[float, Field(ge=0.0)] = 1e-6


class ChecksConfig(Section):
    """Checks of every stage."""

    model: ModelChecks = ModelChecks()
