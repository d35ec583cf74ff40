"""Types that the sections of the YAML share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from rnn_core.suggestions import near_matches

PositiveInt = Annotated[int, Field(gt=0, le=10_000_000)]
SessionCount = Annotated[int, Field(gt=0, le=100_000)]
"""A number of sessions: four centuries of them at most."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["block", "warn", "off"]  # wrong data stops here, is named, or is let pass
How = Field(exclude=True)
"""Marks a key that says how bars are got, and nothing of what they are."""
Reading = "reading"
"""Marks a key that says how what is got is read: it decides bars, and names no other market."""


def known_timezone(name: str) -> str:
    """The name of a time zone.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in available_timezones():
        near = near_matches(name, available_timezones()) or "; expected one as America/New_York"
        raise ValueError(f"unknown time zone{near}")
    return name


TimeZone = Annotated[str, AfterValidator(known_timezone)]


class Epoch(NamedTuple):
    """A count since 1970-01-01 UTC: its unit as Arrow writes it, and how many make a second."""

    unit: str
    per_second: int


EPOCHS = {
    "epoch_s": Epoch("s", 1),
    "epoch_ms": Epoch("ms", 10**3),
    "epoch_us": Epoch("us", 10**6),
    "epoch_ns": Epoch("ns", 10**9),
}
EPOCH = "epoch"
"""The form of moments whose unit differs by row: each tells it by its magnitude."""


def _plain_types(annotation: Any) -> set[Any]:
    """The types that a value of an annotation may have, those of a union each."""
    inside = get_args(annotation)
    return set().union(*map(_plain_types, inside)) if inside else {annotation}


class Section(BaseModel):
    """A mapping of the YAML: an unknown key is an error, and no value changes after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `yes` and `true` where a number is wanted, which pydantic reads as 1."""
        wanted = _plain_types(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in wanted and wanted & {int, float}:
            raise ValueError("expected a number")
        return value

    @classmethod
    def identity_of(cls, dumped: Mapping[str, Any]) -> dict[str, Any]:
        """Select the values of a dump that make a market this one and no other.

        Keys at their default say nothing, so that a key which a release adds makes no other market
        of what an earlier one recorded. Keys marked `How` or `Reading` do not count either.

        Args:
            dumped: plain values as this or an earlier release dumped them.
        """
        chosen: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if field.exclude or Reading in field.metadata or key not in dumped:
                continue
            value = dumped[key]
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                chosen[key] = field.annotation.identity_of(value)
            elif field.is_required() or value != field.get_default(call_default_factory=True):
                chosen[key] = value
        return chosen
