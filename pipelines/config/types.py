"""Types that the sections of the YAML share."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rnn_core.suggestions import near_matches

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["block", "warn", "off"]  # wrong data stops here, is named, or is let pass
How = Field(exclude=True)
"""Marks a key that says how bars are got, and nothing of what they are."""


def _timezone(name: str) -> str:
    if name not in available_timezones():
        near = near_matches(name, available_timezones()) or "; expected one as America/New_York"
        raise ValueError(f"unknown time zone{near}")
    return name


TimeZone = Annotated[str, AfterValidator(_timezone)]


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


class Section(BaseModel):
    """A mapping of the YAML: an unknown key is an error, and no value changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
