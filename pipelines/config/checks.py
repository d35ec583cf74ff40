"""The section `checks` of the YAML: thresholds and severities of the asset checks.

`block` keeps wrong data from flowing on, `warn` names it in the UI and the log, `off` does not
look. A threshold belongs to the check beside it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.types import PositiveInt, Section, SessionCount, Severity, Share


class BarChecks(Section):
    """Checks of `ohlcv`: the share of a session's bars that arrived and that are sound."""

    coverage: Severity = "block"
    min_coverage: Share = 0.8  # of the median number of names over the sessions before
    history_sessions: SessionCount = 20
    quarantined: Severity = "warn"
    max_quarantined: Share = 0.05  # of the session's bars


class FeatureChecks(Section):
    """Checks of a session's features."""

    finite: Severity = "block"
    nan_share: Severity = "warn"
    max_nan_rise: Share = 0.25  # of a column's share of missing values, over its recent mean
    history_sessions: SessionCount = 20


class DatasetChecks(Section):
    """Checks of `dataset_learn`, the rows that matured at a session, and of a moving fit."""

    cross_section: Severity = "warn"
    min_names: PositiveInt = 2
    drift: Severity = "warn"
    max_drift: Annotated[float, Field(gt=0.0)] = 1.0  # of a column's centre, in its scale before


class ModelChecks(Section):
    """Checks that put a trained model in force or keep it out, and of a model's age."""

    beats_constant: Severity = "block"
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    rank_ic: Severity = "warn"
    min_rank_ic: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0  # of the validation, not reached
    varied: Severity = "block"
    min_spread: Annotated[float, Field(ge=0.0)] = 1e-6
    age: Severity = "warn"
    max_age_sessions: SessionCount | None = None  # None: twice the model's retrain_every


class PredictionChecks(Section):
    """Checks of a session's scores."""

    coverage: Severity = "block"
    min_coverage: Share = 0.9  # of the members with a bar
    varied: Severity = "block"
    look_ahead: Severity = "block"


class EvaluationChecks(Section):
    """Checks of evaluated scores."""

    ic_decay: Literal["warn", "off"] = "warn"
    recent_sessions: SessionCount = 60
    min_recent_rank_ic: float = 0.0  # mean rank IC over the recent sessions


class ChecksConfig(Section):
    """The checks of every asset."""

    bars: BarChecks = BarChecks()
    features: FeatureChecks = FeatureChecks()
    dataset: DatasetChecks = DatasetChecks()
    model: ModelChecks = ModelChecks()
    predictions: PredictionChecks = PredictionChecks()
    evaluation: EvaluationChecks = EvaluationChecks()
