"""Sources of daily bars: one small module each, all giving the frame of `base.BarSource`."""

from __future__ import annotations

from pipelines.config import BokehSampleSource, MarketConfig, SimulatedSource
from pipelines.partitions import Sessions
from pipelines.sources.base import BarSource


def make_source(market: MarketConfig, sessions: Sessions) -> BarSource:
    """The source that a market's configuration names."""
    source = market.source
    if isinstance(source, SimulatedSource):
        from pipelines.sources.simulated import SimulatedBars

        return SimulatedBars(source, sessions)
    if isinstance(source, BokehSampleSource):
        from pipelines.sources.bokeh_sample import BokehSampleBars

        return BokehSampleBars()
    raise AssertionError(f"no source for {source!r}")  # the union above is closed


__all__ = ["BarSource", "make_source"]
