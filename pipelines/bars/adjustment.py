"""From bars as a source gives them to bars that the rest may trust: factors, members, adjustment.

The adjustment factor is the cumulative product of `adj_ratio` since the instrument's first bar in
the warehouse and runs through bars that are set aside (`quarantine.py`), so a split on a day with a
bad tick is not lost. A factor once stored does not change when a later dividend is paid:
yesterday's partition stays valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipelines.bars.quarantine import PRICES
from pipelines.config.text_files import read_text
from pipelines.errors import ConfigError


def adjustment_factors(bars: pd.DataFrame, prior: pd.Series) -> pd.Series:
    """adj_factor of every bar: the prior factor times the ratios since, in order.

    Args:
        bars: rows with date, instrument, adj_ratio; quarantined ones included.
        prior: last factor before the first session of `bars`, by instrument; an instrument
            without one starts here at 1.0.

    Returns:
        Factors by row of `bars`; the same bits whether sessions come alone or in a range, and
        whatever the order of rows. Bars of one session that disagree on the ratio count as 1.0.
    """
    rows = bars.sort_values(["instrument", "date", "adj_ratio"], kind="stable")
    keys = ["instrument", "date"]
    copies = rows.duplicated(keys).to_numpy()
    agreed = (rows.groupby(keys)["adj_ratio"].transform("nunique") == 1).to_numpy()
    ratio = rows["adj_ratio"].to_numpy(dtype="float64").copy()
    ratio[~(np.isfinite(ratio) & (ratio > 0)) | copies | ~agreed] = 1.0
    first = ~rows["instrument"].duplicated().to_numpy()
    before = rows["instrument"].map(prior).to_numpy(dtype="float64")
    listed = first & np.isnan(before)
    ratio[listed] = 1.0
    start = first & ~listed
    ratio[start] = before[start] * ratio[start]
    factor = pd.Series(ratio, index=rows.index).groupby(rows["instrument"], sort=False).cumprod()
    return factor.reindex(bars.index)


def membership(
    bars: pd.DataFrame, universe: Literal["all"] | pd.DataFrame
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each bar's instrument is a member on its session.

    Args:
        bars: rows with date and instrument.
        universe: `all`, or spans with columns instrument, start, end (keys, both included).
    """
    if isinstance(universe, str):
        return np.ones(len(bars), dtype=bool)
    spans = universe.groupby("instrument")
    member = np.zeros(len(bars), dtype=bool)
    dates = bars["date"].to_numpy()
    for name, rows in bars.groupby("instrument").indices.items():
        if name not in spans.groups:
            continue
        for start, end in spans.get_group(name)[["start", "end"]].itertuples(index=False):
            member[rows] |= (dates[rows] >= start) & (dates[rows] <= end)
    return member


def read_spans(path: Path) -> pd.DataFrame:
    """Membership spans from a file in qlib's instruments format.

    Raises:
        ConfigError: the file is absent, or a line is not `instrument start end`.
    """
    lines = read_text(path, "market.universe.spans").splitlines()
    rows: list[Sequence[str]] = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            name, start, end = parts[0], *(str(pd.Timestamp(p).date()) for p in parts[1:3])
            if len(parts) != 3 or end < start:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"{path}, line {number}: expected `instrument start end`, got {line!r}"
            ) from None
        rows.append((name, start, end))
    return pd.DataFrame(rows, columns=["instrument", "start", "end"])


def adjusted(bars: pd.DataFrame, vwap: Literal["amount", "typical", "none"]) -> pd.DataFrame:
    """Bars on the adjusted basis that features are computed from.

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
