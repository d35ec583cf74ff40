"""A simulated market of two years as a stranger's file."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import SimulatedSource
from pipelines.sources.simulated import SimulatedBars

SESSIONS = Sessions.of("XNYS", dt.date(2018, 1, 2), dt.date(2019, 8, 30))  # 419


@pytest.fixture(scope="session")
def bars(traded: pd.DataFrame) -> pd.DataFrame:
    """The market as traded."""
    return traded


@pytest.fixture(scope="session")
def traded() -> pd.DataFrame:
    """Ten names with splits; `factor` and `adj_close` tell of them."""
    settings = SimulatedSource(kind="simulated", instruments=10, seed=5, split_rate=0.004,
                               late_listing_share=0.0, suspension_rate=0.002)  # fmt: skip
    frame = SimulatedBars(settings, SESSIONS).fetch(SESSIONS.keys).reset_index(drop=True)
    frame["factor"] = frame.groupby("instrument")["adj_ratio"].cumprod()
    newest = frame.groupby("instrument")["factor"].transform("last")
    frame["adj_close"] = frame["close"] * frame["factor"] / newest
    assert (frame["adj_ratio"] > 1.4).sum() > 4
    return frame
