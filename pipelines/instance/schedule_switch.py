"""The switch of a market's schedule in the UI, which overrides its YAML."""

from __future__ import annotations

import dagster as dg

from pipelines.instance.names import SCHEDULE, own_name
from pipelines.market.market import Market


def schedule_is_on(instance: dg.DagsterInstance, market: Market) -> bool:
    """True if the schedule runs: the switch of the UI decides, else the YAML."""
    states, name = instance.all_instigator_state(), own_name(market, SCHEDULE)
    switch = next((state.status.value for state in states if state.name == name), None)
    is_set = switch in ("RUNNING", "STOPPED")
    return switch == "RUNNING" if is_set else market.config.schedule.enabled
