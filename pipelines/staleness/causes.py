"""Why a partition is not current: one comparison that commands and running assets share.

A partition is current if its file is there and intact, names the asset's present code version and
configuration, and was made from what is there now (`input_versions.py`). Bars are compared with
nothing upstream here: only the source knows them (`bar_inputs.restated_sessions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipelines.market import input_versions
from pipelines.staleness.data_versions import Snapshot
from pipelines.training.processors import STATE_FILE


class Cause(StrEnum):
    """Why a partition is not current, worst first."""

    ABSENT = "absent"
    DAMAGED = "damaged"
    CODE = "code version"
    CONFIGURATION = "configuration"
    RESTATED = "bars restated in the source since"
    INPUTS = "inputs"
    UNRECORDED = "not in Dagster's record"
    SERVED = "served, inputs restated since"


@dataclass(frozen=True)
class Reason:
    """A cause, and what it concerns: the versions, the upstream tables, the bundle."""

    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else str(self.cause)


def why_not_current(
    name: str, key: str, code_version: str | None, config: str, now: Snapshot
) -> Reason | None:
    """Why a partition would be made again; None if it is current.

    Args:
        name: the asset.
        key: the session.
        code_version: the asset's present one.
        config: hash of the configuration that it uses.
        now: the market.
    """
    table = now[name]
    info = table.info(key)
    if info is None:
        damage = table.damaged.get(key)
        return Reason(Cause.ABSENT) if damage is None else Reason(Cause.DAMAGED)
    made = info.provenance
    if made.code_version != code_version:
        return Reason(Cause.CODE, f"{made.code_version}, now {code_version}")
    if made.config != config:
        return Reason(Cause.CONFIGURATION)
    if name == "ohlcv":
        members = now.members(key)
        if members is None:
            damage = now["ohlcv_quarantine"].damaged.get(key)
            return Reason(Cause.ABSENT if damage is None else Cause.DAMAGED, "ohlcv_quarantine")
        if made.inputs["members"] != members:
            return Reason(Cause.INPUTS, "universe")
        return None if now.is_chained(key) else Reason(Cause.INPUTS, "bars of sessions before")
    try:
        expected = expected_inputs(name, key, now)
    except KeyError as error:
        return Reason(Cause.INPUTS, f"{error.args[0]} is not there")
    differ = sorted(k for k in {*expected, *made.inputs} if expected.get(k) != made.inputs.get(k))
    if not differ:
        return None
    return Reason(Cause.INPUTS, ", ".join(dict.fromkeys(_named(name, key, p, now) for p in differ)))


def _named(name: str, key: str, part: str, now: Snapshot) -> str:
    """An input as a person knows it: the table's name, or what is wrong with the bundle."""
    model = name.rsplit("_", 1)[0]
    if part == "bundle":
        return now.model(model, key).reason or "another model is in force"
    if part == "passed_over":
        return "another model is in force"
    return f"{model}_{part}" if part in ("model", "prediction") else part


def expected_inputs(name: str, key: str, now: Snapshot) -> dict[str, str]:
    """The inputs that a partition downstream of `ohlcv` would be made from now.

    Raises:
        KeyError: something that it reads is absent; the table's name is its argument.
    """
    market = now.market
    if name == "alpha158":
        return input_versions.alpha158_inputs(market, key, now)
    if name == "label":
        return input_versions.label_inputs(market, key, now)
    if name == "dataset_infer":
        return input_versions.dataset_infer_inputs(key, now, now.processors_hash)
    if name == "dataset_learn":
        return input_versions.dataset_learn_inputs(market, key, now, now.processors_hash)
    model, kind = name.rsplit("_", 1)
    if kind == "prediction":
        return input_versions.prediction_inputs(market, model, key, now)
    if kind == "evaluation":
        return input_versions.evaluation_inputs(market, model, key, now)
    return now.model(model, key).inputs


def why_not_fitted(now: Snapshot) -> Reason | None:
    """Why the processors would be fitted again; None if they are current."""
    state = now.processors
    if state is None:
        there = now.market.warehouse.store.exists(STATE_FILE)
        return Reason(Cause.CONFIGURATION if there else Cause.ABSENT)
    try:
        expected = input_versions.processors_inputs(now.market, now)
    except KeyError as error:
        return Reason(Cause.INPUTS, f"{error.args[0]} of the fit window is not all there")
    differ = sorted(k for k in expected | state.inputs if expected.get(k) != state.inputs.get(k))
    return Reason(Cause.INPUTS, ", ".join(differ)) if differ else None
