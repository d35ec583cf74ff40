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
_FAR = 15.0  # robust deviations of a name's moves
_QUIET = 3.0  # times the usual distance of high and low
_FEW = 0.01  # steps a name that are taken for moves after all
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
    _, step, event = _steps(bars)
    is_event = (np.abs(event) > _EVENT) & np.isfinite(step)
    if not is_event.any():
        return {}
    kinds: list[tuple[float, dict[str, object]]] = [  # what the price moved besides the event
        (float(np.median(np.abs(step + event)[is_event])), {}),
        (float(np.median(np.abs(step)[is_event])), {"prices": "adjusted"}),
        (float(np.median(np.abs(step - event)[is_event])), {"inverse": True}),
    ]
    return min(kinds, key=lambda kind: kind[0])[1]


def _steps(bars: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Bars by name and day, and the logarithms of their price's step and of the stated event."""
    rows = bars[bars["close"] > 0].sort_values(["instrument", "date"])
    before = rows.groupby("instrument")["close"].shift()
    step = np.log((rows["close"] / before).to_numpy(dtype="float64"))
    event = np.log(rows["adj_ratio"].where(rows["adj_ratio"] > 0).to_numpy(dtype="float64"))
    return rows, step, event


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


def sure_splits(bars: pd.DataFrame) -> list[Steps]:
    """Find the steps near a split that are no moves of a market, as `split_like`.

    Such a step is far beyond the name's usual moves, and the bar itself is quiet: after a crash
    prices swing.

    Args:
        bars: date, instrument, high, low, close and adj_ratio (1.0 if no event is stated).
    """
    steps = split_like(bars)
    if not steps:
        return []
    rows = bars[bars["instrument"].isin({s.instrument for s in steps}) & (bars["close"] > 0)]
    rows = rows.sort_values(["instrument", "date"])
    names = rows["instrument"]
    before = rows.groupby("instrument")["close"].shift()
    move = (rows["close"] * rows["adj_ratio"] / before).map(np.log)
    deviation = (move - move.groupby(names).transform("median")).abs()
    usual = 1.4826 * deviation.groupby(names).transform("median")
    swing = rows["high"] / rows["low"] - 1.0
    is_quiet = swing <= _QUIET * swing.groupby(names).transform("median") + 1e-9
    is_sure = is_quiet & (move.abs() > _FAR * usual)
    keys = set(zip(rows["instrument"][is_sure], rows["date"][is_sure], strict=True))
    return [s for s in steps if (s.instrument, s.date) in keys]


def contradiction(bars: pd.DataFrame) -> str:
    """Say how prices contradict the events that their basis states; empty if they do not.

    Args:
        bars: bars as traded, with date, instrument, high, low, close and adj_ratio.
    """
    rows, step, event = _steps(bars)
    is_event = (np.abs(event) > _EVENT) & np.isfinite(step)
    is_unseen = is_event & (np.abs(step + event) - np.abs(step) > 0.5 * np.abs(event))
    if is_unseen.sum() > 0.5 * is_event.sum():
        first = rows[is_unseen].iloc[0]
        return (
            f"{is_unseen.sum():,} of {is_event.sum():,} splits that it states do not show in the "
            f"prices, such as {first['adj_ratio']:.3g}:1 of {first['instrument']} on "
            f"{first['date']}"
        )
    unstated = sure_splits(bars)
    if len(unstated) > _FEW * bars["instrument"].nunique():
        shown = ", ".join(f"{s.instrument} {s.date} ({s.ratio:.3g}:1)" for s in unstated[:3])
        return f"the prices show {len(unstated):,} splits that it does not state, such as {shown}"
    return ""


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
