"""What a source of bars promises, and the check that it keeps the promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from pipelines.errors import SourceError, name_sessions

RAW_COLUMNS = (
    "date",
    "instrument",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "amount",
    "adj_ratio",
)


class BarSource(Protocol):
    """Daily bars as traded.

    `fetch` returns one row a bar with the columns `RAW_COLUMNS`: `date` the session key as text,
    prices in currency as traded, `volume` in shares, `amount` in currency (NaN where unknown), and
    `adj_ratio`: the close of the instrument's previous row divided by that close restated to this
    bar's basis (2:1 split 2.0, no event 1.0). A suspended instrument has no row.
    """

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Bars of the given sessions, rows in any order."""
        ...


def fetch_bars(source: BarSource, keys: Sequence[str]) -> pd.DataFrame:
    """Bars of the given sessions, after confirming that every session has some.

    Raises:
        SourceError: a column is absent, a row belongs to a session that was not asked for, or a
            session has no row at all (not arrived yet, or the source is empty).
    """
    name = type(source).__name__
    frame = source.fetch(keys)
    absent = [c for c in RAW_COLUMNS if c not in frame.columns]
    if absent:
        raise SourceError(
            f"{name} gave no column {', '.join(absent)}; expected {', '.join(RAW_COLUMNS)}"
        )
    asked = set(keys)
    given = set(frame["date"].unique())
    if given - asked:
        raise SourceError(
            f"{name} gave bars of {name_sessions(given - asked)}, which were not asked for"
        )
    if asked - given:
        raise SourceError(
            f"{name} has no bar at all for {name_sessions(asked - given)}: the data has not "
            f"arrived, or the source does not cover it; nothing was written, run the range again "
            f"once it is there or end market.end before it"
        )
    return frame[list(RAW_COLUMNS)].reset_index(drop=True)
