"""The axis of sessions: weekends and holidays are no gaps, and labels are months and years.

A position on the axis is the number of a session, so a week with a holiday is as wide as its
sessions. Ticks stand at the first session of a period. `tick_levels` has them for every length of
period; whoever draws takes the finest level of which few enough ticks are in sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MOST_TICKS = 9
FEWEST_TICKS = 4
_STUB = 0.6  # of the usual distance: a first period that is shorter gets no tick of its own


@dataclass(frozen=True)
class Tick:
    """A tick of the axis.

    Attributes:
        session: its position, from 0.
        text: day and month, month, or nothing where the year says it all.
        year: written below the text of the first tick in sight, and of every first of a year.
    """

    session: int
    text: str
    year: int


def sessions_of(indexes: Iterable[pd.Index]) -> pd.DatetimeIndex:
    """Unite the sessions of several curves, in order."""
    days = pd.DatetimeIndex([])
    for index in indexes:
        days = days.union(pd.DatetimeIndex(index))
    return days


def tick_levels(days: pd.DatetimeIndex) -> list[list[Tick]]:
    """List the ticks of every level: sessions, weeks, months, quarters, half years, years …

    Args:
        days: [T] sessions, in order.

    Returns:
        Levels, the finest first; the last one has `MOST_TICKS` ticks at most.
    """

    def of_day(day: pd.Timestamp) -> str:
        return f"{day.day} {MONTHS[day.month - 1]}"

    def of_month(day: pd.Timestamp) -> str:
        return MONTHS[day.month - 1]

    months = (days.year * 12 + days.month - 1).to_numpy()
    levels = [
        _ticks(days, np.arange(len(days)), of_day),
        _ticks(days, days.to_period("W").asi8, of_day),
        *(_ticks(days, months // n, of_month) for n in (1, 3, 6)),
    ]
    step = 1
    while True:
        levels.append(_ticks(days, days.year.to_numpy() // step, lambda _: ""))
        if len(levels[-1]) <= MOST_TICKS:
            return levels
        step *= 5 if step in (1, 10, 100) else 2


def ticks_of(days: pd.DatetimeIndex, most: int = MOST_TICKS) -> list[tuple[int, str]]:
    """Choose the ticks of a whole range.

    Args:
        days: [T] sessions, in order.
        most: number of ticks that have room.

    Returns:
        Position and label each; a label breaks before its year.
    """
    levels = tick_levels(days)
    at = next((k for k, level in enumerate(levels) if len(level) <= most), len(levels) - 1)
    if len(levels[at]) < FEWEST_TICKS and at:
        at -= 1  # too few to read a date from: the finer level, thinned
    ticks = levels[at][:: max(-(-len(levels[at]) // most), 1)]
    labels, year = [], None
    for tick in ticks:
        parts = [tick.text] if tick.year == year else [tick.text, str(tick.year)]
        labels.append((tick.session, "\n".join(part for part in parts if part)))
        year = tick.year
    return labels


def scale_of(
    days: pd.DatetimeIndex,
) -> tuple[Callable[[Any], NDArray[np.float64]], Callable[[Any], NDArray[np.float64]]]:
    """Build the functions of an axis scale on which sessions stand at equal distances.

    Args:
        days: [T] sessions, in order, two or more.

    Returns:
        From days since 1970 to positions, and back; beyond the ends a day is a session.
    """
    known = days.to_numpy("datetime64[D]").astype(np.float64)
    far = 1e5  # days, well beyond any padding of an axis
    dates = np.concatenate([[known[0] - far], known, [known[-1] + far]])
    places = np.concatenate([[-far], np.arange(len(known)), [len(known) - 1 + far]])
    return (
        lambda x: np.interp(x, dates, places),
        lambda x: np.interp(x, places, dates),
    )


def _ticks(
    days: pd.DatetimeIndex, period: NDArray[Any], text: Callable[[pd.Timestamp], str]
) -> list[Tick]:
    """Place a tick at the first session of every period."""
    if not len(days):
        return []
    starts = np.flatnonzero(np.r_[True, period[1:] != period[:-1]])
    # The first period may have begun before the first session: a stub would crowd its neighbour.
    if len(starts) > 2 and starts[1] - starts[0] < _STUB * np.median(np.diff(starts[1:])):
        starts = starts[1:]
    return [Tick(k, text(days[k]), int(days[k].year)) for k in starts.tolist()]
