"""Bars out of a table: the rows asked for, what came before them, and their `adj_ratio`.

A bar's ratio needs the instrument's previous row, which may lie a day back or, after a long
suspension, years. Rows before the range are looked through in stretches that grow until every
instrument has one or the data ends, and only in the columns that matter, so a day's fetch reads
about a fortnight and a newly listed name costs one look through the history.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from pipelines.config.sources import NUMBERS, Basis
from pipelines.sources.base import BASIS, PRICES, RAW_COLUMNS
from pipelines.sources.corporate_actions import event_ratios, level_ratios, preclose_ratios

_LOOK_BACK_DAYS = (14, 90)  # calendar days; then everything


class TableBars(ABC):
    """Bars of a market that lies in a table, wherever it is kept.

    Args:
        basis: how splits and dividends show in the table.
        events: reads the tables of splits and of dividends, where the basis names them.
    """

    def __init__(
        self, basis: Basis, events: Callable[[], tuple[pd.DataFrame | None, pd.DataFrame | None]]
    ) -> None:
        self._basis, self._events = basis, events

    @abstractmethod
    def _rows(
        self, first: str | None, last: str | None, only: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Rows from one day to another, both included, in our names and units.

        `Columns.bars` makes them; `only` names the numbers needed.
        """

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Bars of the given sessions, as `base.BarSource.fetch`.

        Raises:
            SourceError: the table cannot be read, lacks a column, or holds a date or number that
                cannot be read.
        """
        rows = self.fetch_span(min(keys), max(keys))
        return rows[rows["date"].isin(set(keys))]

    def fetch_span(self, first: str, last: str) -> pd.DataFrame:
        """Bars of all days from one to another, as `base.SpanSource.fetch_span`.

        Raises:
            SourceError: the table cannot be read.
        """
        rows = self._rows(first, last)
        ratio = np.ones(len(rows))
        named = rows["instrument"].notna().to_numpy()  # the others are set aside later
        if named.any():
            ratio[named] = self._ratios(rows[named], first)
        rows["adj_ratio"] = ratio
        for name in NUMBERS:
            if name not in rows:
                rows[name] = np.nan
        return _as_traded(rows, self._basis)[list(RAW_COLUMNS)]

    def _ratios(self, rows: pd.DataFrame, first: str) -> np.ndarray:
        basis = self._basis
        if basis.kind == "adjusted":
            return np.ones(len(rows))
        if basis.kind == "ratio":
            return np.asarray(rows[BASIS].to_numpy())
        only = ["close", "volume"] if basis.column is None else ["close", "volume", BASIS]
        names = ["date", "instrument", *only]
        chain = pd.concat([self._earlier(rows, first, only), rows[names]], ignore_index=True)
        return self._chain_ratios(chain)[len(chain) - len(rows) :]

    def _chain_ratios(self, chain: pd.DataFrame) -> np.ndarray:
        basis = self._basis
        if basis.kind == "preclose":
            preclose = chain[BASIS].to_numpy()
            return preclose_ratios(chain, preclose, tolerance=basis.tolerance)
        if basis.kind == "events":
            return event_ratios(chain, *self._events())
        return level_ratios(chain, self._level(chain), tolerance=basis.tolerance)

    def _level(self, rows: pd.DataFrame) -> np.ndarray:
        """Adjusted price ÷ price."""
        given = rows[BASIS].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._basis.kind == "adj_close":
                return np.asarray(given / rows["close"].to_numpy())
            return np.asarray(1.0 / given if self._basis.inverse else given)

    def _earlier(self, rows: pd.DataFrame, first: str, only: list[str]) -> pd.DataFrame:
        """The last row with something to say before `first`, of each instrument in `rows`."""
        wanted = set(rows["instrument"].unique())
        end = str((pd.Timestamp(first) - pd.Timedelta(days=1)).date())
        found: list[pd.DataFrame] = [rows.iloc[:0][["date", "instrument", *only]]]
        for days in (*_LOOK_BACK_DAYS, None):
            start = None if days is None else _days_before(first, days)
            before = self._rows(start, end, only)
            before = before[before["instrument"].isin(wanted) & self._says_something(before)]
            newest = before.groupby("instrument")["date"].transform("max")
            found.append(before[before["date"] == newest])
            wanted -= set(before["instrument"].unique())
            if not wanted:
                break
        return pd.concat(found)

    def _says_something(self, rows: pd.DataFrame) -> pd.Series[bool]:
        """Whether a row can be the previous one of a later bar."""
        if self._basis.kind == "preclose":
            return (rows["close"] > 0) | (rows["volume"] > 0)
        if self._basis.kind == "events":
            return rows["close"] > 0
        level = self._level(rows)
        return pd.Series(np.isfinite(level) & (level > 0), index=rows.index)


def _as_traded(rows: pd.DataFrame, basis: Basis) -> pd.DataFrame:
    """Adjusted prices and volumes that come with their factor, back on the basis as traded."""
    if basis.prices == "adjusted":
        rows = rows.copy()
        factor = 1.0 / rows[BASIS] if basis.inverse else rows[BASIS]
        for name in PRICES:
            rows[name] = rows[name] / factor
        rows["volume"] = rows["volume"] * factor
    return rows


def _days_before(key: str, days: int) -> str:
    return str((pd.Timestamp(key) - pd.Timedelta(days=days)).date())
