"""Simulate the bars of a seeded market of any size with a planted, recoverable signal.

The source serves trials at scale and tests that know the answer. The bars of a session depend on
the seed and the sessions before it alone, so a longer span begins with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import SimulatedSource
from pipelines.sources.base import RAW_COLUMNS
from rnn_core.data.simulate import simulate_market


class SimulatedBars:
    """Bars of `rnn_core.data.simulate.simulate_market` over a market's sessions.

    Args:
        settings: size, seed and rates.
        sessions: the market's sessions, from its first.
    """

    def __init__(self, settings: SimulatedSource, sessions: Sessions) -> None:
        self._settings = settings
        self._sessions = sessions

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions."""
        return self._bars[self._bars["date"].isin(set(keys))]

    @cached_property
    def _bars(self) -> pd.DataFrame:
        s = self._settings
        bars = simulate_market(
            s.instruments,
            pd.DatetimeIndex(self._sessions.keys),
            s.seed,
            signal=s.signal,
            suspension_rate=s.suspension_rate,
            split_rate=s.split_rate,
            late_listing_share=s.late_listing_share,
            regime_rate=s.regime_rate,
        )
        bars["date"] = pd.to_datetime(bars["date"]).dt.strftime("%Y-%m-%d")
        return bars[list(RAW_COLUMNS)]
