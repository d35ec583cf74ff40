"""The section `ensemble` of the YAML: the average of the models as a model of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from pipelines.config.types import PositiveInt, Section


class EnsembleSettings(Section):
    """The rank average of the models of the default label, as assets of its own.

    Attributes:
        method: of the average.
        weights: `equal`, or `trailing_ic`: the mean rank IC of the last `sessions` evaluations of
            each model that had matured, never below 0; equal while there are too few.
        sessions: of `trailing_ic`.
        min_sessions: the fewest evaluations that decide weights.
    """

    method: Literal["rank_average"] = "rank_average"
    weights: Literal["equal", "trailing_ic"] = "equal"
    sessions: PositiveInt = 60
    min_sessions: PositiveInt = 20

    @model_validator(mode="after")
    def _of_trailing_ic(self) -> EnsembleSettings:
        ignored = sorted(self.model_fields_set & {"sessions", "min_sessions"})
        if ignored and self.weights == "equal":
            raise ValueError(
                f"{', '.join(ignored)}: of weights trailing_ic only, and weights is equal; leave "
                f"it out, or set weights: trailing_ic"
            )
        if self.min_sessions > self.sessions:
            raise ValueError(
                f"min_sessions {self.min_sessions} exceeds sessions {self.sessions}, so the "
                f"weights would be equal for ever; lower it"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys of later releases say nothing at their default."""
        dumped: dict[str, Any] = dump(self)
        if self.weights == "equal":
            return {"method": dumped["method"]}
        return dumped
