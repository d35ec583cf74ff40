"""Compute adjustment factors, and adjust bars by them.

The adjustment factor is the cumulative product of `adj_ratio` since the instrument's first bar in
the warehouse. It runs through bars that are set aside (`quarantine.py`), so a split on a day with a
bad tick is not lost. A stored factor does not change when a later dividend is paid: yesterday's
partition stays valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.market.extra_table import read_columns
from pipelines.market.market import Market
from pipelines.sources.base import PRICES
from pipelines.warehouse.warehouse import Partitions


def adjustment_factors(bars: pd.DataFrame, prior: pd.Series) -> pd.Series:
    """Compute the adj_factor of every bar: the prior factor times the ratios since, in order.

    Args:
        bars: rows with date, instrument, adj_ratio; quarantined ones included.
        prior: the last factor before the first session of `bars`, by instrument; an instrument
            without one starts at 1.0.

    Returns:
        Factors by row of `bars`; the same bits whether sessions come alone or in a range, and
        whatever the order of rows. Bars of one session that disagree on the ratio count as 1.0.
    """
    given = bars["adj_ratio"].to_numpy(dtype="float64")
    code, names = pd.factorize(bars["instrument"])  # -1 for none
    day, _ = pd.factorize(bars["date"], sort=True)
    order = np.lexsort((given, day, code))
    c, d = code[order], day[order]
    is_new = np.append(True, c[1:] != c[:-1])[: len(c)]  # the first row of an instrument
    is_group = is_new | np.append(True, d[1:] != d[:-1])[: len(c)]  # and of a session
    # One ratio a session; the ends of its sorted ratios tell whether they agree.
    ratio, start = np.ones(len(c)), np.flatnonzero(is_group)
    if len(c):
        low, high = (f.reduceat(given[order], start) for f in (np.fmin, np.fmax))
        agreed = (low == high) & np.isfinite(low) & (low > 0)
        ratio[start[agreed]] = low[agreed]
    # The last place is that of rows without a name, whose code is -1.
    before = np.append(prior.reindex(names).to_numpy(dtype="float64"), np.nan)[c[is_new]]
    ratio[is_new] = np.where(np.isnan(before), 1.0, before * ratio[is_new])
    factor = np.empty(len(c))
    factor[order] = pd.Series(ratio).groupby(c).cumprod().to_numpy()
    factor[code < 0] = np.nan
    return pd.Series(factor, index=bars.index)


def adjusted(bars: pd.DataFrame, vwap: Literal["amount", "typical", "none"]) -> pd.DataFrame:
    """Put bars on the adjusted basis that features are computed from.

    Args:
        bars: rows of `ohlcv`.
        vwap: `amount` (amount ÷ volume), `typical` ((high + low + close) ÷ 3) or `none`.

    Returns:
        date, instrument, open, high, low, close, volume and, unless `none`, vwap; that of a bar
        without volume, kept by `market.quarantine`, is NaN under `amount`.
    """
    factor = bars["adj_factor"]
    out = bars[["date", "instrument"]].copy()
    for price in PRICES:
        out[price] = bars[price] * factor
    out["volume"] = bars["volume"] / factor
    if vwap == "amount":
        out["vwap"] = bars["amount"] / bars["volume"].where(bars["volume"] != 0.0) * factor
    elif vwap == "typical":
        out["vwap"] = (bars["high"] + bars["low"] + bars["close"]) / 3.0 * factor
    return out


def traded_value(bars: pd.DataFrame) -> NDArray[np.float64]:
    """The value traded in each row of `ohlcv`, in currency: close × volume where none is given."""
    given = bars["amount"].to_numpy(dtype=np.float64)
    value = (bars["close"] * bars["volume"]).to_numpy(dtype=np.float64)
    return np.where(np.isnan(given), value, given)


def load_bars(
    market: Market, keys: Sequence[str], needed_by: str, columns: Sequence[str] = ()
) -> tuple[pd.DataFrame, Partitions]:
    """Read the adjusted bars of some sessions, and the partitions that they came from.

    Args:
        market: the market.
        keys: the sessions.
        needed_by: the asset that reads them, for the error.
        columns: names of columns beside the bars to read as well; they are not adjusted.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        WarehouseError: a file is damaged.
    """
    parts = market.warehouse.read("ohlcv", keys, needed_by=needed_by)
    bars = adjusted(parts.frame, market.config.market.vwap)
    extra = read_columns(market, columns, keys, needed_by)
    if extra is not None:
        bars = bars.merge(extra.frame, on=["date", "instrument"], how="left")
        parts = replace(parts, columns=extra.columns)
    return bars, parts
