"""What the sections of a market's YAML share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["block", "warn", "off"]  # wrong data stops here, is named, or is let pass


class Section(BaseModel):
    """A mapping of the YAML: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
