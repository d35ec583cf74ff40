"""Make bars from the rows of a table, with `adj_ratio` from the rows before them.

A bar's ratio needs the instrument's previous row, which lies a day back or, after a long
suspension, years. Rows before the range are searched in stretches that grow until every instrument
has one or the data ends, and only in the columns that matter. So a day's fetch reads about a
fortnight, and a newly listed name costs one pass over the history.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from pipelines.config.extra_columns import ExtraColumn
from pipelines.config.price_basis import Basis
from pipelines.sources.base import BASIS, PRICES, RAW_COLUMNS
from pipelines.sources.corporate_actions import event_ratios, level_ratios, preclose_ratios

_LOOK_BACK_DAYS = (14, 90)  # calendar days; then everything


class TableBars(ABC):
    """Bars of a market that lies in a table, wherever it is kept.

    Args:
        basis: how splits and dividends show in the table.
        events: reads the tables of splits and of dividends, where the basis names them.
        extra: the columns beside the bars.
    """

    def __init__(
        self,
        basis: Basis,
        events: Callable[[], tuple[pd.DataFrame | None, pd.DataFrame | None]],
        extra: Sequence[ExtraColumn] = (),
    ) -> None:
        self._basis, self._events = basis, events
        self._extra = [one.name for one in extra]

    @abstractmethod
    def _rows(
        self, first: str | None, last: str | None, only: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows of a span of days, both ends included, in our names and units.

        `Columns.bars` makes them; `only` names the numbers needed.
        """

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions, as `base.BarSource.fetch`.

        Raises:
            SourceError: the table cannot be read, lacks a column, or holds a date or number that
                cannot be read.
        """
        rows = self.fetch_span(min(keys), max(keys))
        return rows[rows["date"].isin(set(keys))]

    def fetch_span(self, first: str, last: str) -> pd.DataFrame:
        """Return the bars of all days of a span, as `base.SpanSource.fetch_span`.

        Raises:
            SourceError: as `fetch`.
        """
        rows = self._rows(first, last)
        ratio = np.ones(len(rows))
        has_instrument = rows["instrument"].notna().to_numpy()  # the others are set aside later
        if has_instrument.any():
            ratio[has_instrument] = self._ratios(rows[has_instrument], first)
        rows["adj_ratio"] = ratio
        for name in RAW_COLUMNS:
            if name not in rows:
                rows[name] = np.nan
        return _as_traded(rows, self._basis)[[*RAW_COLUMNS, *self._extra]]

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
        basis = rows[BASIS].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._basis.kind == "adj_close":
                return np.asarray(basis / rows["close"].to_numpy())
            return np.asarray(1.0 / basis if self._basis.inverse else basis)

    def _earlier(self, rows: pd.DataFrame, first: str, only: list[str]) -> pd.DataFrame:
        """The last informative row before `first` of each instrument in `rows`."""
        instruments = set(rows["instrument"].unique())
        day = dt.date.fromisoformat(first)
        end = str(day - dt.timedelta(days=1))
        parts: list[pd.DataFrame] = [rows.iloc[:0][["date", "instrument", *only]]]
        for days in (*_LOOK_BACK_DAYS, None):
            start = None if days is None else str(day - dt.timedelta(days=days))
            before = self._rows(start, end, only)
            before = before[before["instrument"].isin(instruments) & self._is_informative(before)]
            newest = before.groupby("instrument")["date"].transform("max")
            parts.append(before[before["date"] == newest])
            instruments -= set(before["instrument"].unique())
            if not instruments:
                break
        return pd.concat(parts)

    def _is_informative(self, rows: pd.DataFrame) -> pd.Series[bool]:
        """True for rows that can be the previous one of a later bar."""
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
