"""The section `market.quarantine` of the YAML: the rules for bars, and a policy for each.

`quarantine` sets the bar aside, `accept` keeps it, with a warning in the log and a count in the
partition's metadata. `RULES` is the one table of rules; `bars/quarantine.py` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pipelines.config.types import Section
from rnn_core.suggestions import near_matches

Aside = Literal["quarantine"]
Policy = Literal["quarantine", "accept"]


@dataclass(frozen=True)
class Rule:
    """A rule that a bar may break.

    Attributes:
        says: what a bar that breaks it is.
        why_aside: why such a bar can only be set aside; empty where it may be accepted.
    """

    says: str
    why_aside: str = ""


RULES: Mapping[str, Rule] = {
    "no_instrument": Rule("the row names no instrument", "a bar is stored under its instrument"),
    "missing_price": Rule(
        "a price is missing or not finite", "a bar is stored with all of its four prices"
    ),
    "non_positive_price": Rule(
        "a price is zero or negative", "returns and logarithms need positive prices"
    ),
    "high_below_low": Rule("high lies below low"),
    "low_above_body": Rule("low lies above open or close"),
    "high_below_body": Rule("high lies below open or close"),
    "zero_volume": Rule("nothing was traded"),
    "missing_volume": Rule("volume is missing or not finite", "a bar is stored with its volume"),
    "negative_volume": Rule("volume is negative", "averages weighted by it have no meaning"),
    "negative_amount": Rule("amount is negative"),
    "vwap_outside": Rule("the vwap that the data states lies outside low and high"),
    "bad_adj_ratio": Rule("adj_ratio is no positive number; if accepted, it counts as 1"),
    "duplicate": Rule(
        "a copy of a bar that is kept", "an instrument has one bar a session, and that is kept"
    ),
    "contradicting_duplicate": Rule(
        "one of several different bars of one instrument and session",
        "an instrument has one bar a session, and which is right cannot be known",
    ),
    "off_calendar": Rule(
        "dated on a day that is no session",
        "bars are stored by session; if the day was one, name it under market.extra_sessions",
    ),
    "future_date": Rule(
        "dated after the present day", "nothing is stored before its session is over"
    ),
    "infinite_extra": Rule(
        "a column of source.columns.extra is infinite; if accepted, it counts as missing"
    ),
    "jump": Rule("the adjusted close moved further than jump_limit since the bar before"),
}
OPTIONAL = tuple(name for name, rule in RULES.items() if not rule.why_aside)
"""The rules whose bars may be accepted."""


class QuarantineConfig(Section):
    """A policy for every rule, and the largest move of a close that is no jump."""

    no_instrument: Aside = "quarantine"
    missing_price: Aside = "quarantine"
    non_positive_price: Aside = "quarantine"
    high_below_low: Policy = "quarantine"
    low_above_body: Policy = "quarantine"
    high_below_body: Policy = "quarantine"
    zero_volume: Policy = "quarantine"
    missing_volume: Aside = "quarantine"
    negative_volume: Aside = "quarantine"
    negative_amount: Policy = "quarantine"
    vwap_outside: Policy = "quarantine"
    bad_adj_ratio: Policy = "quarantine"
    duplicate: Aside = "quarantine"
    contradicting_duplicate: Aside = "quarantine"
    off_calendar: Aside = "quarantine"
    future_date: Aside = "quarantine"
    infinite_extra: Policy = "accept"
    jump: Policy = "accept"
    jump_limit: Annotated[float, Field(gt=0)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name, policy in values.items():
            if name == "jump_limit":
                continue
            if name not in RULES:
                near = near_matches(str(name), RULES)  # `; did you mean …`, or nothing
                raise ValueError(
                    f"{name!r} is no rule{near}; the rules are {', '.join(RULES)}, and beside them "
                    f"stands jump_limit"
                )
            if policy not in ("quarantine", "accept"):
                raise ValueError(
                    f"{name}: {policy!r} is no policy; expected quarantine (set aside) or accept "
                    f"(kept as a bar, and counted)"
                )
            if policy == "accept" and RULES[name].why_aside:
                raise ValueError(
                    f"{name}: accept is not possible: {RULES[name].why_aside}; leave it out. "
                    f"accept goes with {', '.join(OPTIONAL)}"
                )
        return values

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the newest rules at their default, so that no older partition becomes stale."""
        values: dict[str, Any] = dump(self)
        for name in ("vwap_outside", "infinite_extra"):
            if values.get(name) == type(self).model_fields[name].default:
                del values[name]
        return values

    @property
    def policies(self) -> dict[str, Policy]:
        """Policy by rule."""
        return {name: cast(Policy, getattr(self, name)) for name in RULES}

    @property
    def set_aside(self) -> tuple[str, ...]:
        """The rules whose bars are set aside."""
        return tuple(name for name, policy in self.policies.items() if policy == "quarantine")
