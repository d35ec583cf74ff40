"""Rows of a long frame that come in parts, one below the other in one float array.

A window of training is read some sessions at a time and is held once: the array grows in place, so
no list of parts is joined, and a sampler takes it over as its store
(`TSDataSampler.from_rows`). Where the C library moves pages instead of copying them, as glibc does,
growing takes no second array; elsewhere the last part needs room for two.

Shapes: `R` rows, `F` columns, `T` sessions, `N` instruments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from rnn_core.panel.frames import index_level
from rnn_core.panel.session_labels import LEVELS

CHUNK_ROWS = 8_192
"""Rows copied at a time: 20 float32 columns of a chunk are 640 kB."""


class RowStack:
    """Rows of parts that have the same columns, in the order in which they came.

    Args:
        dtype: the float type of the array.

    Examples:
        >>> stack = RowStack()
        >>> rows = frame["feature"]
        >>> parts = [stack.add(part) for part in (rows.iloc[:3], rows.iloc[3:])]
        >>> len(stack), stack.frame().dtypes["X"]
        (6, dtype('float32'))
    """

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        self._matrix: NDArray[Any] = np.empty((0, 0), dtype=dtype)
        self._columns: pd.Index | None = None
        self._levels: list[tuple[pd.Index, pd.Index]] = []
        self._codes: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def columns(self) -> pd.Index:
        """The F columns."""
        return pd.Index([]) if self._columns is None else self._columns

    def add(self, part: pd.DataFrame) -> NDArray[Any]:
        """Copy the rows of a part below the others.

        Args:
            part: index (datetime, instrument), F numeric columns.

        Returns:
            The rows as they are stored, a view that lasts until the next part comes.

        Raises:
            ValueError: its columns are not those of the parts before.
        """
        if self._columns is None:
            self._columns = part.columns
            self._matrix = np.empty((0, part.shape[1]), dtype=self._matrix.dtype)
        if not part.columns.equals(self._columns):
            raise ValueError(
                f"a part has the columns {list(part.columns[:5])}…, expected those of the part "
                f"before, {list(self._columns[:5])}…"
            )
        first = len(self._matrix)
        # The only reference is here: views of earlier parts are documented to end.
        self._matrix.resize((first + len(part), part.shape[1]), refcheck=False)
        plain = part.reset_index(drop=True)
        for start in range(0, len(part), CHUNK_ROWS):
            rows = plain.iloc[start : start + CHUNK_ROWS].to_numpy()
            self._matrix[first + start : first + start + len(rows)] = rows
        days, names = (index_level(part, name) for name in LEVELS)
        self._levels.append((days[0], names[0]))
        self._codes.append((days[1].astype(np.int32), names[1].astype(np.int32)))
        return self._matrix[first:]

    def index(self) -> pd.MultiIndex:
        """Return (datetime, instrument) of every row."""
        levels: list[Any] = []
        codes: list[Any] = []
        for k in range(len(LEVELS)):
            parts = [level[k] for level in self._levels]
            union = parts[0].append(parts[1:]).unique().sort_values() if parts else pd.Index([])
            places = [union.get_indexer(part).astype(np.int32) for part in parts]
            codes.append(
                np.concatenate(
                    [
                        np.empty(0, dtype=np.int32),
                        *(place[code[k]] for place, code in zip(places, self._codes, strict=True)),
                    ]
                )
            )
            levels.append(union)
        return pd.MultiIndex(levels=levels, codes=codes, names=list(LEVELS), verify_integrity=False)

    def frame(self) -> pd.DataFrame:
        """Return a view of all rows as a long frame; it lasts until the next part comes."""
        return pd.DataFrame(self._matrix, index=self.index(), columns=self.columns, copy=False)

    def release(self) -> NDArray[Any]:
        """Hand over the array [R, F]; the stack is empty afterwards."""
        matrix, self._matrix = self._matrix, np.empty((0, 0), dtype=self._matrix.dtype)
        return matrix


def arrange(matrix: NDArray[Any], place: NDArray[np.intp], share: int = 16) -> None:
    """Move every row of an array to its place, in place.

    A group of columns is moved at a time, by way of a copy of the group.

    Args:
        matrix: [R, F], changed.
        place: [R], where each row goes, a permutation.
        share: the copy is at most this part of the array, or one column.
    """
    width = max(matrix.shape[1] // share, 1)
    for first in range(0, matrix.shape[1], width):
        group = matrix[:, first : first + width]  # [R, at most F / share]
        group[place] = group.copy()
