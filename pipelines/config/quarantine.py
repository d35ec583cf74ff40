"""The section `market.quarantine` of a market's YAML: what becomes of bars that break a rule.

One policy a rule: `quarantine` sets the bar aside, `accept` keeps it, with a warning in the log and
a count in the partition's metadata. What each rule says is in `quarantine.RULES`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from pipelines.bars.quarantine import OPTIONAL, RULES, Policy
from pipelines.config.types import Section
from rnn_core.suggestions import near_matches

Aside = Literal["quarantine"]


class QuarantineConfig(Section):
    """A policy a rule, and how far a close may move."""

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
    bad_adj_ratio: Policy = "quarantine"
    duplicate: Aside = "quarantine"
    contradicting_duplicate: Aside = "quarantine"
    off_calendar: Aside = "quarantine"
    future_date: Aside = "quarantine"
    jump: Policy = "accept"
    jump_limit: Annotated[float, Field(gt=0)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name, policy in given.items():
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
        return given

    @property
    def policies(self) -> dict[str, Policy]:
        """Policy by rule."""
        return {name: cast(Policy, getattr(self, name)) for name in RULES}

    @property
    def set_aside(self) -> tuple[str, ...]:
        """The rules whose bars are set aside."""
        return tuple(name for name, policy in self.policies.items() if policy == "quarantine")
