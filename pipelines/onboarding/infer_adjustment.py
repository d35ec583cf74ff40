"""Infer whether prices are as traded or adjusted, and the units of `amount`.

Every inference compares the numbers with the alternatives: a factor that makes the steps of prices
smaller belongs to prices as traded; an amount that lies between low and high for each share is
turnover in the currency of the price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

SPLITS = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 1.5)
"""Common ratios of splits, and their inverses; 5:4 and 4:3 are moves that markets make."""

_NEAR = 0.03  # of a split's ratio
_EVENT = 0.05  # a factor's step that stands out from a day's return
_INSIDE = 0.05  # by how much amount ÷ volume may leave the bar's range
_ENOUGH = 0.95  # of the rows must agree
UNITS = ((1.0, 1.0), (1.0, 1000.0), (100.0, 1.0), (100.0, 1000.0), (1.0, 10000.0))
"""Units of volume and amount that vendors use: shares or lots of 100, units or thousands."""


@dataclass(frozen=True)
class Steps:
    """A jump of a price that looks like a split which nothing states."""

    instrument: str
    date: str
    ratio: float


def factor_kind(bars: pd.DataFrame) -> dict[str, object]:
    """Infer the relation of a factor to prices: the keys beside `factor: COLUMN` of the basis.

    Args:
        bars: date, instrument, close and `adj_ratio` computed as if the prices were as traded.

    Returns:
        `{}` for prices as traded, or `{"prices": "adjusted"}`, or `{"inverse": True}`.
    """
    rows = bars.sort_values(["instrument", "date"])
    before = rows.groupby("instrument")["close"].shift()
    step = np.log((rows["close"] / before).to_numpy(dtype="float64"))
    event = np.log(rows["adj_ratio"].where(rows["adj_ratio"] > 0).to_numpy(dtype="float64"))
    is_event = (np.abs(event) > _EVENT) & np.isfinite(step)
    if not is_event.any():
        return {}
    kinds: list[tuple[float, dict[str, object]]] = [  # what the price moved besides the event
        (float(np.median(np.abs(step + event)[is_event])), {}),
        (float(np.median(np.abs(step)[is_event])), {"prices": "adjusted"}),
        (float(np.median(np.abs(step - event)[is_event])), {"inverse": True}),
    ]
    return min(kinds, key=lambda kind: kind[0])[1]


def split_like(bars: pd.DataFrame) -> list[Steps]:
    """Find the steps between two closes that are near the ratio of a split, in order of size.

    Args:
        bars: date, instrument, close and adj_ratio (1.0 if no event is stated).
    """
    rows = bars[(bars["close"] > 0) & np.isfinite(bars["close"])]
    rows = rows.sort_values(["instrument", "date"])
    before = rows.groupby("instrument")["close"].shift()
    ratio = before / (rows["close"] * rows["adj_ratio"])
    size = np.exp(np.log(ratio).abs())
    near = np.zeros(len(rows), dtype=bool)
    for split in SPLITS:
        near |= ((size / split - 1.0).abs() < _NEAR).to_numpy()
    steps = rows[near].assign(ratio=ratio[near], size=size[near]).sort_values(
        ["size", "instrument"], ascending=[False, True]
    )  # fmt: skip
    return [Steps(str(r.instrument), str(r.date), float(r.ratio)) for r in steps.itertuples()]


def amount_scale(bars: pd.DataFrame) -> dict[str, float] | None:
    """Find the units that make `amount` the turnover of `volume` shares; None if none do.

    Args:
        bars: low, high, volume, amount as the data has them.

    Returns:
        The factors other than 1 of `volume` and `amount`.
    """
    rows = bars[(bars["volume"] > 0) & (bars["amount"] > 0) & (bars["low"] > 0)]
    if rows.empty:
        return None
    price = (rows["amount"] / rows["volume"]).to_numpy()
    low = (rows["low"] * (1 - _INSIDE)).to_numpy()
    high = (rows["high"] * (1 + _INSIDE)).to_numpy()
    for volume, amount in UNITS:
        scaled = price * amount / volume
        if ((scaled >= low) & (scaled <= high)).mean() >= _ENOUGH:
            units = {"volume": volume, "amount": amount}
            return {name: unit for name, unit in units.items() if unit != 1.0}
    return None
