"""Judge bars: adjustment factor, membership, broken rules, and the verdict on each bar."""

from __future__ import annotations

import pandas as pd

from pipelines.bars.adjustment import adjustment_factors
from pipelines.bars.adjustment_state import Carry, with_entering
from pipelines.bars.quarantine import any_of, broken_rules, jumps, verdict
from pipelines.market.market import Market
from pipelines.market.membership import membership


def judged(market: Market, bars: pd.DataFrame, carry: Carry) -> pd.DataFrame:
    """Add to bars their adjustment factor, their membership, and the verdict of the rules.

    Args:
        market: the market.
        bars: rows as of `fetch_sessions`, in order.
        carry: the state that enters them.

    Returns:
        The bars, and `adj_factor`, `last_close`, `member`, `rule`, `policy`, `aside`, and the
        columns that `with_entering` adds.
    """
    quarantine = market.config.market.quarantine
    prior = carry.into(set(bars["instrument"].dropna().unique()))
    own_vwap = "vwap" in getattr(market.config.market.source, "columns", {})
    numbers = [one.name for one in market.config.market.extra if one.kind == "number"]
    broken = broken_rules(bars, own_vwap=own_vwap, extra=numbers)
    factor = adjustment_factors(bars, prior["adj_factor"])
    stands = ~any_of(broken, quarantine.set_aside, len(bars))
    close = (bars["close"] * factor).to_numpy(dtype="float64")
    broken["jump"], last = jumps(bars, close, stands, prior["last_close"], quarantine.jump_limit)
    verdicts = verdict(broken, quarantine.policies)
    by_session = bars[["instrument"]].assign(date=bars["session"])
    bars = bars.assign(
        adj_factor=factor,
        last_close=last,
        member=membership(by_session, market.universe),
        rule=pd.Series(verdicts.rule, bars.index, dtype="str"),
        policy=pd.Series(verdicts.policy, bars.index, dtype="str"),
        aside=verdicts.aside,
    )
    return with_entering(bars, prior)
