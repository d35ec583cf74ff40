"""The index behind `TSDataSampler`: the rows that make up the window of a sample.

Rows are stored instrument by instrument, each in order of session. Let `last[n, t]` be the
number of the newest row of instrument n at or before session t. Because the rows of n are
numbered consecutively, `last` is the running count of existing rows minus one, and before the
first row of n it is the last row of the instrument before: one less than the first row of n. In
the window of sessions t-L+1 … t, with `before = last[n, t-L]`,

    the row of session u       exists iff last[n, u] > last[n, u-1], and is last[n, u]
    "ffill"                    is last[n, u] where last[n, u] > before, else none
    "ffill+bfill"              is max(last[n, u], before + 1)

so one int32 table serves all three, and a window is L+1 neighbours of it. L columns on the left
of every instrument stand for the sessions before the first. qlib builds the same in a Python
loop over cells and fills every window anew.

Rule matched: qlib data/dataset/__init__.py `TSDataSampler.build_index`, `_get_indices`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from rnn_core.data.row_stack import CHUNK_ROWS, RowStack, arrange
from rnn_core.panel.frames import index_level, one_column
from rnn_core.panel.session_labels import session_index, session_range

if TYPE_CHECKING:
    import torch

Fill = Literal["none", "ffill", "ffill+bfill"]
FILLS: tuple[Fill, ...] = ("none", "ffill", "ffill+bfill")


@dataclass(frozen=True, eq=False)
class Resident:
    """Rows and index as tensors, on the device or staged on the host.

    Attributes:
        matrix: [R + 1, F], the last row NaN.
        table: int32 [N * (T + L)], see the module.
        staged: True if they stayed on the host, so that batches are copied to the device.
    """

    matrix: torch.Tensor
    table: torch.Tensor
    staged: bool


@dataclass(eq=False)
class SampleStore:
    """Rows, sessions and the window table, shared by all samplers of one frame.

    Attributes:
        matrix: [R + 1, F], instrument-major; the last row is NaN.
        table: int32 [N * (T + L)], see the module.
        offsets: int64 [R], for every row the place in `table` of the slot before its window.
        eligible: bool [R], or None if every row may be a sample.
        sessions: T sorted session labels.
        instruments: N sorted names.
        columns: F columns of the frame.
        step_len: L, in sessions.
        on_device: tensors by device (`sampler_device`); never pickled.
    """

    matrix: NDArray[Any]
    table: NDArray[np.int32]
    offsets: NDArray[np.int64]
    eligible: NDArray[np.bool_] | None
    sessions: pd.DatetimeIndex
    instruments: pd.Index
    columns: pd.Index
    step_len: int
    on_device: dict[str, Resident] = field(default_factory=dict)

    @classmethod
    def from_frame(
        cls,
        data: pd.DataFrame,
        step_len: int,
        dtype: DTypeLike,
        flt_data: pd.Series[Any] | pd.DataFrame | None,
    ) -> SampleStore:
        """Index and copy a frame.

        Args:
            data: index (datetime, instrument) in any order, F numeric columns; not changed.
            step_len: L.
            dtype: type of the store.
            flt_data: True for the rows that may be samples; a missing row, or NaN, is False.

        Returns:
            The store.

        Raises:
            ValueError: the frame is empty, repeats a row, or has an index that is not (datetime,
                instrument).
            TypeError: a column is not numeric, or `dtype` holds no NaN.
        """
        # The frame has an index, numbers and at least one cell.
        if _kind_of(dtype) != "f":
            raise TypeError(
                f"dtype {dtype!s:.60} holds no NaN, expected a float type such as float32"
            )
        if not len(data) or not data.shape[1]:
            raise ValueError(
                f"expected rows and columns, was given a frame of shape {data.shape}: check the "
                f"segment's dates and the column set"
            )
        if list(data.index.names) == ["instrument", "datetime"]:
            raise ValueError(
                "expected an index (datetime, instrument), was given (instrument, datetime): call "
                "data.swaplevel() first"
            )
        store, place = cls._indexed(data, step_len)
        for name, kind in data.dtypes.items():
            if not isinstance(kind, np.dtype) or kind.kind not in "fiub":
                raise TypeError(f"column {name} is {kind}, expected a number: convert or drop it")
        if flt_data is not None:
            store._choose(place, _eligible(flt_data, data.index))
        store.matrix = _scatter(data, place, np.dtype(dtype))
        return store

    @classmethod
    def from_rows(
        cls, rows: RowStack, step_len: int, eligible: NDArray[np.bool_] | None
    ) -> SampleStore:
        """Index stacked rows, and take over their array.

        Args:
            rows: one row or more; empty afterwards.
            step_len: L.
            eligible: [R], True for the rows that may be samples; None for all.

        Returns:
            The store.

        Raises:
            ValueError: there is no row, or one is repeated.
        """
        if not len(rows):
            raise ValueError("expected rows, was given none: check the dates of the range")
        index = pd.DataFrame(index=rows.index(), columns=rows.columns[:0])
        store, place = cls._indexed(index, step_len)
        if eligible is not None:
            store._choose(place, eligible)
        store.columns, matrix = rows.columns, rows.release()
        arrange(matrix, place)
        matrix.resize((len(matrix) + 1, matrix.shape[1]), refcheck=False)  # nobody has a view
        matrix[-1] = np.nan
        store.matrix = matrix
        return store

    @classmethod
    def _indexed(cls, data: pd.DataFrame, step_len: int) -> tuple[SampleStore, NDArray[np.intp]]:
        """Return a store without its rows, and the place in it of each row of a frame, [R]."""
        sessions, instruments, slot = _slots(data, step_len)
        # The window table counts existing rows; a repeated row is missing from the count.
        present = np.zeros(len(instruments) * (len(sessions) + step_len), dtype=bool)
        present[slot] = True
        table = np.cumsum(present, dtype=np.int32)
        table -= 1
        if table[-1] + 1 != len(data):
            repeat = data.index[data.index.duplicated()][0]
            raise ValueError(
                f"{len(data) - table[-1] - 1} rows are repeated, the first is {repeat}: keep one "
                f"row a session and instrument"
            )
        # The rows of the store are the rows of the frame in the order of the table.
        place = table[slot].astype(np.intp)  # [R] the row of the store for each of the frame
        store = cls(
            matrix=np.empty((0, 0)),
            table=table,
            offsets=np.flatnonzero(present).astype(np.int64, copy=False) - step_len,
            eligible=None,
            sessions=sessions,
            instruments=instruments,
            columns=data.columns,
            step_len=step_len,
        )
        return store, place

    def _choose(self, place: NDArray[np.intp], flags: NDArray[np.bool_]) -> None:
        """Let only some rows be samples; `flags` in the order of the frame, [R]."""
        self.eligible = np.empty(len(place), dtype=bool)
        self.eligible[place] = flags

    def __getstate__(self) -> dict[str, Any]:
        """Leave out tensors, which workers make for themselves."""
        return {**self.__dict__, "on_device": {}}

    @property
    def width(self) -> int:
        """Places of one instrument in `table`: T + L."""
        return len(self.sessions) + self.step_len

    def samples(self, start: pd.Timestamp | None, end: pd.Timestamp | None) -> NDArray[np.int64]:
        """Return offsets of the eligible rows with start <= session <= end, instrument-major."""
        span = session_range(self.sessions, start, end)
        t = self.offsets % self.width
        inside = (t >= span.start) & (t < span.stop)
        if self.eligible is not None:
            inside &= self.eligible
        return self.offsets[inside]

    def rows(self, offsets: NDArray[np.int64], fill: Fill) -> NDArray[np.int32]:
        """Return the rows of the windows at `offsets`, oldest first; the NaN row for a missing one.

        Args:
            offsets: [B].
            fill: the filling of missing rows.

        Returns:
            int32 [B, L].
        """
        newest = sliding_window_view(self.table, self.step_len + 1)[offsets]  # [B, L + 1]
        before, last = newest[:, :1], newest[:, 1:]  # [B, 1], [B, L]
        nothing = np.int32(len(self.matrix) - 1)
        if fill == "none":
            return np.where(last > newest[:, :-1], last, nothing)
        if fill == "ffill":
            return np.where(last > before, last, nothing)
        return np.where(last[:, -1:] > before, np.maximum(last, before + 1), nothing)

    def window(self, offset: int, fill: Fill) -> NDArray[Any]:
        """Return a copy of the window at one offset, [L, F].

        The rows of most windows have no hole between them and lie side by side.
        """
        first, last = int(self.table[offset]) + 1, int(self.table[offset + self.step_len])
        if last - first + 1 == self.step_len:
            return self.matrix[first : last + 1].copy()
        return np.asarray(self.matrix[self.rows(np.array([offset]), fill)[0]])


def _kind_of(dtype: DTypeLike) -> str:
    """Return the letter of numpy for a kind of type; empty for what is no type."""
    try:
        return np.dtype(dtype).kind
    except (TypeError, ValueError):
        return ""


def _slots(
    data: pd.DataFrame, step_len: int
) -> tuple[pd.DatetimeIndex, pd.Index, NDArray[np.intp]]:
    """Return sessions [T], instruments [N] and the place of each row in the table, [R]."""
    sessions, t = _axis(data, "datetime")
    instruments, n = _axis(data, "instrument")
    t += step_len
    n *= len(sessions) + step_len
    n += t
    return pd.DatetimeIndex(sessions), instruments, n


def _axis(data: pd.DataFrame, name: str) -> tuple[pd.Index, NDArray[np.intp]]:
    """Return the sorted values that occur in an index level, and every row's place among them."""
    values, codes = index_level(data, name)
    used = np.zeros(len(values), dtype=bool)
    used[codes] = True
    axis = values[used]
    order = np.argsort(axis.to_numpy(), kind="stable")
    place = np.empty(len(values), dtype=np.intp)
    place[np.flatnonzero(used)[order]] = np.arange(len(axis))
    return axis[order], place[codes]


def _scatter(data: pd.DataFrame, place: NDArray[np.intp], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Copy each row of a frame to its place, [R + 1, F] C-contiguous, with a row of NaN at the end.

    A frame lies column by column. The function turns a chunk into rows inside the cache and then
    writes whole rows, each as one item of a void type. This is several times as fast as a gather of
    the transposed frame, and needs no second copy of the frame.
    """
    width = data.shape[1]
    row = np.dtype((np.void, width * dtype.itemsize))
    out = np.empty((len(data) + 1, width), dtype=dtype)
    out[-1] = np.nan
    chunk = np.empty((CHUNK_ROWS, width), dtype=dtype)
    to, rows = out.view(row)[:, 0], chunk.view(row)[:, 0]  # [R + 1], [CHUNK_ROWS]
    plain = data.reset_index(drop=True)  # slices of a plain index cost next to nothing
    for start in range(0, len(data), CHUNK_ROWS):
        part = plain.iloc[start : start + CHUNK_ROWS].to_numpy()
        chunk[: len(part)] = part
        to[place[start : start + len(part)]] = rows[: len(part)]
    return out


def _eligible(flt_data: pd.Series[Any] | pd.DataFrame, index: pd.Index) -> NDArray[np.bool_]:
    """Align `flt_data` with the rows of `index`; a missing row is False."""
    flags = one_column(flt_data, "flt_data")
    chosen = np.where(flags.isna(), False, flags.to_numpy()).astype(bool)
    rows, index = session_index(flags.index, "flt_data"), session_index(index, "data")
    if rows.equals(index):
        return np.asarray(chosen)
    place = rows.get_indexer(index)
    if (place < 0).all():
        raise ValueError(
            f"flt_data and data share no row (the first are {rows[0] if len(rows) else 'none'} and "
            f"{index[0]}): give the index of data, instruments spelt alike"
        )
    return np.asarray(chosen[place] & (place >= 0))
