"""Compute `adj_ratio`, the effect of splits and dividends on a bar, from the price basis.

`adj_ratio` of a bar is the close of the instrument's previous row divided by that close restated
to this bar's basis: 2:1 split 2.0, no event 1.0. Data says it in one of these ways:

    ratio       the number itself
    factor      cumulative: adjusted = price × factor        ratio = factor / previous factor
    adj_close   the adjusted close                           factor = adj_close / close
    preclose    the previous close on this bar's basis       ratio = previous close / preclose
    events      tables of splits and dividends               ratio = split × close / (close − paid)

The previous row is the newest earlier one that can say something, however far back, so that a
bar's ratio has the same bits whatever range it was fetched in. Ratios come from neighbouring rows
alone: a vendor that rescales its whole history at the next dividend changes none of them.

An unknown is never guessed into an event: a bar without its own factor or preclose has NaN (and
`quarantine.broken_rules` sets it aside), a bar after one without a usable close has 1.0, and bars
of one session that contradict each other have 1.0 and are passed over.

Shape letters: R rows, G groups of rows of one instrument and session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import SourceError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DECIMALS = 12
"""Decimals kept of a ratio: rescaling a history of doubles changes only digits beyond."""


@dataclass(frozen=True)
class Grouped:
    """Rows by instrument and session.

    Attributes:
        order: [R] rows sorted by instrument, then session.
        start: [G] where each group begins in that order.
        first: [G] the first group of the group's instrument.
        names: instruments, sorted; `code` indexes them.
        code: [G] instrument.
        days: sessions, sorted; `day` indexes them.
        day: [G] session.
    """

    order: Ints
    start: Ints
    first: Ints
    names: NDArray[np.object_]
    code: Ints
    days: NDArray[np.object_]
    day: Ints

    def agreed(self, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """One positive value a group (NaN where there is none), and where rows disagree, [G]."""
        x = values[self.order]
        with np.errstate(invalid="ignore"):
            x = np.where(np.isfinite(x) & (x > 0), x, np.nan)
        low, high = np.fmin.reduceat(x, self.start), np.fmax.reduceat(x, self.start)
        clash = low < high
        return np.where(clash, np.nan, low), clash

    def spread(self, values: Floats) -> Floats:
        """A value a group as a value a row, [R]."""
        counts = np.diff(np.append(self.start, len(self.order)))
        out = np.empty(len(self.order))
        out[self.order] = np.repeat(values, counts)
        return out

    def previous(self, usable: NDArray[np.bool_]) -> Ints:
        """The newest usable group before each group of the same instrument, -1 for none, [G]."""
        at = np.arange(len(usable))
        newest = np.maximum.accumulate(np.where(usable, at, -1))
        before = np.concatenate([[-1], newest[:-1]])
        return np.where(before >= self.first, before, -1)


def grouped(rows: pd.DataFrame) -> Grouped:
    """Group rows by instrument and session; there is at least one, none without an instrument."""
    code, names = pd.factorize(rows["instrument"], sort=True)
    day, days = pd.factorize(rows["date"], sort=True)
    order = np.lexsort((day, code))
    c, d = code[order], day[order]
    new_name = np.concatenate([[True], c[1:] != c[:-1]])
    start = np.flatnonzero(new_name | np.concatenate([[True], d[1:] != d[:-1]]))
    first = np.maximum.accumulate(np.where(new_name[start], np.arange(len(start)), 0))
    return Grouped(order, start, first, np.asarray(names, dtype=object), c[start],
                   np.asarray(days, dtype=object), d[start])  # fmt: skip


def level_ratios(rows: pd.DataFrame, level: Floats, *, tolerance: float) -> Floats:
    """Ratios from a cumulative factor.

    Args:
        rows: with date and instrument, earlier rows included.
        level: [R] adjusted price ÷ price; not positive or not finite where unknown.
        tolerance: smaller relative steps are rounding of published figures, not events.

    Returns:
        adj_ratio by row, 1.0 for an instrument's first.
    """
    g = grouped(rows)
    value, clash = g.agreed(level)
    before = g.previous(np.isfinite(value))
    ratio = np.where(before >= 0, value / value[before], 1.0)
    ratio = np.where(np.isnan(value), np.nan, ratio)
    return g.spread(_settled(np.where(clash, 1.0, ratio), tolerance))


def preclose_ratios(rows: pd.DataFrame, preclose: Floats, *, tolerance: float) -> Floats:
    """Ratios from the previous close as each bar restates it.

    A row that neither traded nor has a close (a suspended instrument) is passed over.

    Args:
        rows: with date, instrument, close and volume, earlier rows included.
        preclose: [R] previous close on this row's basis.
        tolerance: as for `level_ratios`.

    Returns:
        adj_ratio by row, 1.0 for an instrument's first.
    """
    g = grouped(rows)
    close, _ = g.agreed(rows["close"].to_numpy(dtype="float64"))
    volume, unlike = g.agreed(rows["volume"].to_numpy(dtype="float64"))
    stands = np.isfinite(close) | np.isfinite(volume) | unlike
    before = g.previous(stands)
    restated, clash = g.agreed(preclose)
    last = np.where(before >= 0, close[before], np.nan)
    ratio = last / restated
    ratio = np.where(np.isnan(restated) & ~clash, np.nan, np.where(np.isnan(ratio), 1.0, ratio))
    ratio = np.where((before < 0) | ~stands, 1.0, ratio)
    return g.spread(_settled(ratio, tolerance))


def event_ratios(
    rows: pd.DataFrame, splits: pd.DataFrame | None, dividends: pd.DataFrame | None
) -> Floats:
    """Ratios from tables of events.

    An event acts on the instrument's first row at or after its ex-date. Dividends of a day come
    before its splits: they are per share before the split.

    Args:
        rows: with date, instrument and close as traded, earlier rows included.
        splits: date, instrument, value (new shares for an old one: 2.0), or None.
        dividends: date, instrument, value (currency a share), or None.

    Returns:
        adj_ratio by row, 1.0 for an instrument's first.

    Raises:
        SourceError: a dividend is not smaller than the close before it.
    """
    g = grouped(rows)
    close, _ = g.agreed(rows["close"].to_numpy(dtype="float64"))
    before = g.previous(np.isfinite(close))
    ratio, last = np.ones(len(g.start)), np.where(before >= 0, close[before], np.nan)
    for event in _events(splits, dividends, str(g.days[0]), str(g.days[-1])):
        at = _target(g, str(event.instrument), str(event.date))
        # The first row of an instrument has no earlier close for an event to act on.
        if at is None or at == g.first[at]:
            continue
        value = float(event.value)
        # A split restates the last close for later events of the same row.
        if event.rank == 1:
            ratio[at] *= value
            last[at] /= value
            continue
        # Without an earlier close the share that a dividend takes is unknown: no event.
        if np.isnan(last[at]):
            continue
        if value >= last[at]:
            raise SourceError(
                f"{event.instrument} pays {value} a share on {event.date} after a close of "
                f"{last[at]:.6g}: dividends are expected in currency a share as traded, check "
                f"source.basis.dividends"
            )
        # The holder is paid in cash: the close before falls by the dividend.
        ratio[at] *= last[at] / (last[at] - value)
        last[at] -= value
    return g.spread(ratio)


def _events(
    splits: pd.DataFrame | None, dividends: pd.DataFrame | None, after: str, last: str
) -> Iterator[Any]:
    """Events after one day and up to another, in the order in which they act."""
    tables = [t.assign(rank=k) for k, t in enumerate((dividends, splits)) if t is not None]
    events = pd.concat(tables)
    events = events[(events["date"] > after) & (events["date"] <= last)]
    return events.sort_values(["date", "rank"], kind="stable").itertuples()


def _target(g: Grouped, name: str, day: str) -> int | None:
    """The group of an instrument's first row at or after a day."""
    code = int(np.searchsorted(g.names, name))
    if code == len(g.names) or g.names[code] != name:
        return None
    low, high = (int(x) for x in np.searchsorted(g.code, [code, code + 1]))
    first = int(np.searchsorted(g.days, day))
    at = low + int(np.searchsorted(g.day[low:high], first))
    return at if at < high else None


def _settled(ratio: Floats, tolerance: float) -> Floats:
    """Ratios rounded to `DECIMALS`, those within the tolerance of 1 as 1."""
    return np.where(np.abs(ratio - 1.0) <= tolerance, 1.0, np.round(ratio, DECIMALS))
