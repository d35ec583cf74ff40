"""Make the source of bars that a market's YAML names."""

from __future__ import annotations

import inspect
from pathlib import Path

from pipelines.calendar.sessions import Sessions
from pipelines.config.market_file import MarketConfig
from pipelines.config.own_source import OwnSource
from pipelines.config.secrets_in_text import scrubbed
from pipelines.config.sources import (
    BaostockSource,
    BokehSampleSource,
    FilesSource,
    QlibBinSource,
    SimulatedSource,
    SqlSource,
    YahooSource,
)
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.baostock import baostock_bars
from pipelines.sources.base import BarSource
from pipelines.sources.bokeh_sample import BokehSampleBars
from pipelines.sources.database import SqlBars
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars
from pipelines.sources.simulated import SimulatedBars
from pipelines.sources.yahoo import yahoo_bars


def make_source(market: MarketConfig, sessions: Sessions | None, downloads: Path) -> BarSource:
    """Make the source that a market's configuration names.

    Args:
        market: the section of the YAML.
        sessions: the market's sessions; None while they are being derived from the source.
        downloads: the folder of the market's state that keeps a vendor's bars.

    Raises:
        ConfigError: `sessions` is None, and the source needs them.
    """
    source, needs_amount = market.source, market.vwap == "amount"
    if isinstance(source, FilesSource):
        return FilesBars(source, needs_amount=needs_amount)
    if isinstance(source, QlibBinSource):
        return QlibBars(source, needs_amount=needs_amount)
    if isinstance(source, SqlSource):
        return SqlBars(source, needs_amount=needs_amount)
    if isinstance(source, BokehSampleSource):
        return BokehSampleBars()
    if isinstance(source, OwnSource):
        return _own_source(source, sessions)
    if sessions is None:
        raise ConfigError(
            f"market.calendar: the source {source.kind} does not tell the days that it has; name "
            f"an exchange's calendar or a file"
        )
    if isinstance(source, YahooSource):
        return yahoo_bars(source, sessions, downloads / "yahoo")
    if isinstance(source, BaostockSource):
        return baostock_bars(source, sessions, downloads / "baostock")
    if isinstance(source, SimulatedSource):
        return SimulatedBars(source, sessions)
    raise AssertionError(f"no source for {source!r}")  # the union above is closed


def _own_source(source: OwnSource, sessions: Sessions | None) -> BarSource:
    """Make a source of another package."""
    cls = source.part.value
    takes_sessions = "sessions" in inspect.signature(cls).parameters
    given = {"sessions": sessions} if takes_sessions else {}
    try:
        made: BarSource = cls(**given, **source.options, **source.access)
    except Exception as error:  # whatever foreign code raises
        raise SourceError(
            f"the source {source.kind} cannot be made: {type(error).__name__}: "
            f"{scrubbed(str(error))}"
        ) from error
    return made
