"""The section `retention` of the YAML: how much of what nothing needs `prune` leaves.

Every key left out keeps everything of its kind. No value decides a byte of any result.
"""

from __future__ import annotations

from pydantic import field_validator

from pipelines.config.types import PositiveInt, Section


class RetentionConfig(Section):
    """Counts, and ages in days of the clock, or for bundles of the calendar.

    Attributes:
        bundles: the newest N bundles of each model keep their weights.
        bundle_days: so do those of the last N days before the newest closed session.
        unit_days: trainings that were cut off stay so long, with their checkpoints.
        revision_days: revisions that were never served stay so long.
        record_days: ended runs stay so long in Dagster's record, with their logs.
    """

    bundles: PositiveInt | None = None
    bundle_days: PositiveInt | None = None
    unit_days: PositiveInt | None = None
    revision_days: PositiveInt | None = None
    record_days: PositiveInt | None = None

    @property
    def keeps_all(self) -> bool:
        """True if nothing may be removed."""
        return not any(self.model_dump().values())

    @field_validator("*", mode="after")
    @classmethod
    def _is_a_length_of_time(cls, value: int | None) -> int | None:
        if value is not None and value > 36_500:
            raise ValueError(f"{value} is more than a hundred years; leave the key out to keep all")
        return value
