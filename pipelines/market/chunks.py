"""Cut a range of sessions into chunks that are made one after the other.

A stage holds the rows of one chunk at a time, so its memory depends on the market's breadth at most
and never on the length of the range. A chunk has so many rows (names × sessions) as the work on it
can hold, counted from what is stored of the range's ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from pipelines.errors import WarehouseError
from pipelines.warehouse.warehouse import Warehouse

SESSIONS_AT_ONCE = 120
ROWS_AT_ONCE = 600_000
"""Rows of a few columns, or of all features in one array: 380 MB of 158 float32 columns."""
FRAME_ROWS_AT_ONCE = 150_000
"""Rows of all features in frames, of which processors and joins hold several copies at a time."""
PART_ROWS_AT_ONCE = 50_000
"""The same of a part that is put below others, beside which the whole is held."""
UNKNOWN = 50  # sessions of a stretch while nobody knows how many rows one has
_FEW = 10  # sessions whose rows are not counted, whatever the market's breadth
T = TypeVar("T")


def chunks(values: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Split values, such as sessions in order, into chunks of so many."""
    return [tuple(values[i : i + size]) for i in range(0, len(values), size)]


def chunks_of_rows(
    warehouse: Warehouse, table: str, keys: Sequence[str], rows: int = ROWS_AT_ONCE
) -> list[tuple[str, ...]]:
    """Split sessions into chunks of at most so many rows of a table.

    Args:
        warehouse: the market's warehouse.
        table: the table that is read; the first and the last session tell how many rows one has.
        keys: the sessions, in order.
        rows: of a chunk; a session that has more is a chunk of its own.
    """
    if len(keys) <= _FEW:
        return [tuple(keys)] if keys else []
    widest = widest_session(warehouse, table, (keys[0], keys[-1]))
    return chunks(keys, max(1, min(SESSIONS_AT_ONCE, rows // max(widest, 1))))


def widest_session(warehouse: Warehouse, table: str, keys: Iterable[str]) -> int:
    """The most rows that one of some sessions has in a table; 0 if none of them can be read.

    A damaged file is no error here: who reads its rows says so, or it is about to be replaced.
    """
    widest = 0
    for key in keys:
        try:
            info = warehouse.info(table, key)
        except WarehouseError:
            continue
        widest = max(widest, 0 if info is None else info.rows)
    return widest


class Stretches:
    """The stretches of a range: the rows of those that were made say how long the next may be.

    Args:
        keys: the sessions of the range.
        widest: the rows of a session, as far as known; 0 for unknown.
        most: sessions of a stretch.
        rows: of a stretch.
    """

    def __init__(self, keys: Sequence[str], widest: int, most: int, rows: int) -> None:
        self._keys, self._widest, self._most, self._rows = keys, widest, most, rows

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        start = 0
        while start < len(self._keys):
            stretch = self.at(start)
            yield stretch
            start += len(stretch)

    def at(self, start: int) -> tuple[str, ...]:
        """The stretch that begins at a position of the range."""
        fits = self._rows // self._widest if self._widest else UNKNOWN
        return tuple(self._keys[start : start + max(1, min(self._most, fits))])

    def held(self, rows: int, stretch: Sequence[str]) -> None:
        """Take note of the rows of a stretch."""
        self._widest = max(self._widest, -(-rows // len(stretch)))
