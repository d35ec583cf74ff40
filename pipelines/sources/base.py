"""The contract of a source of daily bars: protocols, columns and names that sources share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from pipelines.config.extra_columns import KEY, ExtraColumn
from pipelines.errors import SourceError
from rnn_core.suggestions import near_matches

PRICES = ("open", "high", "low", "close")
RAW_COLUMNS = (
    "date",
    "instrument",
    *PRICES,
    "volume",
    "amount",
    "adj_ratio",
)

BASIS = "basis"
"""Our name of the column that carries the price basis, in rows that become bars."""

NOTHING = ("", "-", "--", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None")
"""Texts that stand for a missing number."""


class BarSource(Protocol):
    """Daily bars as traded.

    `fetch` returns one row a bar with the columns `RAW_COLUMNS`: `date` the session key as text,
    prices in currency as traded, `volume` in shares, `amount` in currency (NaN where unknown), and
    `adj_ratio`: the close of the instrument's previous row divided by that close restated to this
    bar's basis (2:1 split 2.0, no event 1.0; `corporate_actions` computes it). A suspended
    instrument has no row. A bar has the same bits whatever range it is fetched in, so long ranges
    may be fetched in stretches. Columns beside the bars, which the YAML lists in
    `source.columns.extra`, stand in the same rows: numbers, or texts of a category.
    """

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions, rows in any order."""
        ...


@runtime_checkable
class SpanSource(Protocol):
    """A source that can be asked for any days, so that rows off the calendar are seen."""

    def fetch_span(self, first: str, last: str) -> pd.DataFrame:
        """Return the bars of all days of a span, both ends included, as `BarSource.fetch` does."""
        ...


@runtime_checkable
class DatedSource(Protocol):
    """A source that knows its days, so that late bars are told from absent ones."""

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the number of bars a day, by session key in order, from `first` on.

        Raises:
            SourceError: the data cannot be reached or read.
        """
        ...


@runtime_checkable
class FingerprintedSource(Protocol):
    """A source that can tell cheaply whether it has changed at all."""

    def fingerprint(self) -> str:
        """Return a digest that changes with the data; contents need not be read.

        Raises:
            SourceError: the data cannot be reached.
        """
        ...


def require_extra(extra: Iterable[ExtraColumn], found: Iterable[Any], place: str) -> None:
    """Confirm that a source has the columns beside the bars.

    Args:
        extra: the columns.
        found: the source's names of all of its columns.
        place: the source's name in messages.

    Raises:
        SourceError: one is absent; the message names those that are there.
    """
    names = [str(name) for name in found]
    for one in extra:
        if one.column not in names:
            renaming = f"write `{one.name}: THEIR NAME` under source.columns, or "
            raise SourceError(
                f"{place} has no column {one.column!r} for {one.name} of source.{KEY}"
                f"{near_matches(one.column, names)}; it has: {', '.join(names) or 'none'}; "
                f"{renaming}take it off the list"
            )
