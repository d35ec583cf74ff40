"""Read bars from Yahoo Finance through the package `yfinance`.

Yahoo restates its whole history at every split (prices and volumes) and at every dividend (the
adjusted close). Bars as traded come back by undoing the splits that follow a bar; `adj_ratio` is
the split of the day times the step of adjusted close ÷ close, which no later restatement changes.

The list of symbols is today's: names that have gone are missing from it, and a return computed on
the survivors is too good.
"""

from __future__ import annotations

import datetime as dt
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import YahooSource
from pipelines.errors import MissingPackageError, SourceError
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.corporate_actions import level_ratios
from pipelines.sources.downloads import DownloadedBars, downloaded_bars
from pipelines.sources.network import VendorBusyError

TOLERANCE = 1e-5
"""Tolerance of a step of adjusted close ÷ close: Yahoo publishes both in single precision."""
TIMEOUT_SECONDS = 30
RATE_LIMIT_SECONDS = 60.0


def yahoo_bars(settings: YahooSource, sessions: Sessions, folder: Path) -> DownloadedBars:
    """The source of the configured symbols; its answers are kept in `folder`."""
    zone = sessions.timezone

    def get(symbol: str, first: str) -> pd.DataFrame:
        return traded_bars(symbol, yfinance_history(symbol, first), zone)

    return downloaded_bars("yahoo", settings, get, folder, zone)


def yfinance_history(symbol: str, first: str) -> pd.DataFrame:
    """Ask yfinance for the daily history of a symbol; no other place knows its client.

    Returns:
        Open, High, Low, Close, Adj Close, Volume, Stock Splits by time; empty for no bars.

    Raises:
        MissingPackageError: yfinance is not installed.
        SourceError: yfinance knows no such symbol.
        VendorBusyError: the network or Yahoo failed.
    """
    try:
        import yfinance
        from yfinance import exceptions
    except ImportError as error:
        raise MissingPackageError("yahoo", "the package yfinance", "yahoo", error) from error
    yfinance.config.debug.hide_exceptions = False  # else a lost connection is an empty history
    tomorrow = dt.date.today() + dt.timedelta(days=1)  # an end in the past would be cached
    try:
        history: pd.DataFrame = yfinance.Ticker(symbol).history(
            start=first,
            end=str(tomorrow),
            interval="1d",
            auto_adjust=False,
            actions=True,
            timeout=TIMEOUT_SECONDS,
        )
    except exceptions.YFRateLimitError as error:
        raise VendorBusyError(str(error), retry_after=RATE_LIMIT_SECONDS) from error
    except exceptions.YFPricesMissingError:
        return pd.DataFrame()
    except (OSError, JSONDecodeError, exceptions.YFDataException) as error:
        raise VendorBusyError(f"{type(error).__name__}: {error}") from error
    except exceptions.YFException as error:  # as of a symbol that has no time zone: delisted
        raise SourceError(f"{type(error).__name__}: {error}") from error
    return history


def traded_bars(symbol: str, history: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Turn Yahoo's history, which must reach to the present, into bars as traded.

    Args:
        symbol: the instrument.
        history: as `yfinance_history`.
        zone: the market's time zone.

    Raises:
        SourceError: a column is absent.
    """
    if history.empty:
        return pd.DataFrame(columns=list(RAW_COLUMNS))
    names = ("Open", "High", "Low", "Close", "Adj Close", "Volume")
    absent_names = [name for name in names if name not in history.columns]
    if absent_names:
        raise SourceError(
            f"yfinance gave no column {', '.join(absent_names)} for {symbol}, only "
            f"{', '.join(map(str, history.columns))}: another version of it is needed"
        )
    history = history.sort_index()
    times = pd.DatetimeIndex(history.index)
    days = times if times.tz is None else times.tz_convert(zone)
    split = _splits(history)
    following = np.append(np.cumprod(split[::-1])[::-1][1:], 1.0)  # product of later splits
    rows: dict[str, Any] = {"date": days.strftime("%Y-%m-%d"), "instrument": symbol}
    for ours, theirs in zip(("open", "high", "low", "close"), names[:4], strict=True):
        rows[ours] = history[theirs].to_numpy(dtype="float64") * following
    rows["volume"] = history["Volume"].to_numpy(dtype="float64") / following
    rows["amount"] = np.nan
    out = pd.DataFrame(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = (history["Adj Close"] / history["Close"]).to_numpy(dtype="float64")
    out["adj_ratio"] = split * level_ratios(out, level, tolerance=TOLERANCE)
    return out[list(RAW_COLUMNS)]


def _splits(history: pd.DataFrame) -> np.ndarray:
    """New shares for an old one on each day, 1 for no split."""
    if "Stock Splits" not in history.columns:
        return np.ones(len(history))
    ratios = history["Stock Splits"].to_numpy(dtype="float64")
    return np.where(np.isfinite(ratios) & (ratios > 0), ratios, 1.0)
