"""The key `market.source.basis`: how splits and dividends show in the bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    model_validator,
)

from pipelines.config.types import (
    How,
    Section,
)

_Way = Literal["adjusted", "ratio", "factor", "adj_close", "preclose", "events"]
_WAYS: tuple[_Way, ...] = get_args(_Way)[:-1]  # those with a key of their own


class Basis(Section):
    """The price basis: how splits and dividends show in the data; exactly one way is named.

    `adjusted`: prices are adjusted already. A column: `ratio` is our adj_ratio itself, `factor` a
    cumulative factor (adjusted = price × factor; `inverse`: price ÷ factor), `adj_close` the
    adjusted close, `preclose` the previous close restated to the bar's basis. Files: `splits`
    (date, instrument, ratio) and `dividends` (date, instrument, amount per share).
    """

    adjusted: Literal[True] | None = None
    ratio: str | None = None
    factor: str | None = None
    adj_close: str | None = None
    preclose: str | None = None
    splits: Annotated[Path | None, How] = None
    dividends: Annotated[Path | None, How] = None
    prices: Literal["traded", "adjusted"] = "traded"
    inverse: bool = False
    tolerance: Annotated[float, Field(ge=0.0, lt=0.1)] = 1e-6

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> Any:
        """The schema of the section, and its short form."""
        return {"anyOf": [{"const": "adjusted"}, handler.resolve_ref_schema(handler(core))]}

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if value == "adjusted":
            return {"adjusted": True}
        if isinstance(value, str):
            raise ValueError(
                f"{value!r} is no price basis; expected `adjusted`, or one of {{factor: COLUMN}}, "
                f"{{adj_close: COLUMN}}, {{preclose: COLUMN}}, {{ratio: COLUMN}}, "
                f"{{splits: FILE, dividends: FILE}}"
            )
        return value

    @model_validator(mode="after")
    def _one(self) -> Basis:
        ways: list[str] = [way for way in _WAYS if getattr(self, way) is not None]
        if self.splits is not None or self.dividends is not None:
            ways.append("splits and dividends")
        if len(ways) != 1:
            raise ValueError(
                f"names {' and '.join(ways) or 'no price basis'}; expected exactly one of "
                f"adjusted, ratio, factor, adj_close, preclose, or splits and dividends"
            )
        if (self.prices == "adjusted" or self.inverse) and self.factor is None:
            raise ValueError("`prices: adjusted` and `inverse` belong to `factor: COLUMN`")
        return self

    @property
    def kind(self) -> _Way:
        """The way that is named."""
        return next((way for way in _WAYS if getattr(self, way) is not None), "events")

    @property
    def column(self) -> str | None:
        """The column of the data that carries the basis."""
        return self.ratio or self.factor or self.adj_close or self.preclose
