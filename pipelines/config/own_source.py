"""The section `market.source` of a source that another package brings."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipelines.config.extra_columns import WithExtra
from pipelines.config.types import How
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.suggestions import near_matches

ENTRY_POINTS = "pipelines.sources"
"""The group of entry points of sources."""


class OwnSource(WithExtra):
    """A source of another package.

    The contract: a class with `fetch`, as `pipelines.sources.base.BarSource` describes it, whose
    constructor takes the keys of `options` and `access`, and the market's sessions where it has an
    argument `sessions` (None while they are being derived from the source).

    Attributes:
        kind: `package.module:Class`, or an entry point of the group `pipelines.sources`.
        options: arguments that say what the bars are; they belong to the market's identity.
        access: arguments that say how the bars are got, as an address or a password.
    """

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
    access: Annotated[dict[str, Any], How] = Field(default_factory=dict)

    @property
    def part(self) -> OwnPart:
        """The class, imported."""
        return load_part(self.kind, ENTRY_POINTS)

    @model_validator(mode="after")
    def _keeps_the_contract(self) -> OwnSource:
        cls = self.part.value
        if not callable(getattr(cls, "fetch", None)):
            raise ValueError(
                f"{self.kind} has no method fetch(keys), which gives the bars of some sessions"
            )
        try:
            inspect.signature(cls.fetch).bind(None, [])
        except TypeError as error:
            raise ValueError(
                f"{self.kind} has fetch{inspect.signature(cls.fetch)}, expected fetch(self, keys): "
                f"{error}"
            ) from error
        parameters = inspect.signature(cls).parameters
        sessions = {"sessions": None} if "sessions" in parameters else {}
        both = sorted(self.options.keys() & self.access.keys())
        if both:
            raise ValueError(f"{', '.join(both)} stands under options and under access")
        for name in (*self.options, *self.access):
            if name not in parameters:
                raise ValueError(
                    f"{self.kind} has no argument {name!r}{near_matches(name, parameters)}"
                )
        try:
            inspect.signature(cls).bind(**sessions, **self.options, **self.access)
        except TypeError as error:
            raise ValueError(f"{self.kind}: {error} (options and access)") from error
        return self
