"""What a source of bars promises, and the check that it keeps the promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import pandas as pd

from pipelines.errors import BarsNotArrivedError, SourceError, name_sessions

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
    bar's basis (2:1 split 2.0, no event 1.0; `price_basis` computes it). A suspended instrument has
    no row. A bar has the same bits whatever range it is fetched in, so long ranges may be fetched
    in stretches.
    """

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Bars of the given sessions, rows in any order."""
        ...


@runtime_checkable
class DatedSource(Protocol):
    """A source that knows its days: what is late is told from what is absent."""

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Bars a day, by session key in order, from `first` on.

        Raises:
            SourceError: the data cannot be reached or read.
        """
        ...


@runtime_checkable
class FingerprintedSource(Protocol):
    """A source that can tell cheaply whether it has changed at all."""

    def fingerprint(self) -> str:
        """A digest that changes with the data; contents need not be read.

        Raises:
            SourceError: the data cannot be reached.
        """
        ...


def fetch_bars(source: BarSource, keys: Sequence[str]) -> pd.DataFrame:
    """Bars of the given sessions, after confirming that every session has some.

    Raises:
        BarsNotArrivedError: sessions later than the newest that the source has; those before it
            are all there.
        SourceError: a column is absent, a row belongs to a session that was not asked for, or a
            session has no row at all.
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
        raise _absence(source, name, asked - given)
    return frame[list(RAW_COLUMNS)].reset_index(drop=True)


def _absence(source: BarSource, name: str, missing: set[str]) -> SourceError:
    """What to say of sessions without a bar: late, or absent."""
    newest = None
    if isinstance(source, DatedSource):
        newest = _newest(source, min(missing))
        holes = {key for key in missing if newest is not None and key <= newest}
        if newest is not None and not holes:
            return BarsNotArrivedError(
                f"{name} has no bar at all for {name_sessions(missing)}: the newest session that "
                f"it has is {newest}, so the data has not arrived yet; nothing was written, run "
                f"it again once it is there"
            )
        missing = holes or missing
    span = "" if newest is None else f", though it reaches {newest}"
    return SourceError(
        f"{name} has no bar at all for {name_sessions(missing)}{span}: the data has not arrived, "
        f"or the source does not cover it; nothing was written, run the range again once it is "
        f"there, end market.end before it, or name days on which the market was closed after all "
        f"under market.closed"
    )


def _newest(source: DatedSource, key: str) -> str | None:
    """The newest session that a source has; the weeks before `key` are looked at first."""
    near = str((pd.Timestamp(key) - pd.Timedelta(days=60)).date())
    for first in (near, None):
        there = source.days(first)
        if len(there):
            return str(there.index[-1])
    return None
