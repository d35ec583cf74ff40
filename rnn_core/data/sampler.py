"""`TSDataSampler`: windows of the last L sessions of an instrument, with qlib's interface.

A sample is a row (session, instrument). Its window holds the instrument's rows of the L newest
sessions up to the sample's session, oldest first, padded on the left before the frame's first
session. `fillna_type` fills a session without a row of the instrument, inside the window only:

    "none"          with a row of NaN
    "ffill"         with the previous row of the window; NaN before the first row
    "ffill+bfill"   as "ffill", and before the first row with that row

NaN cells inside an existing row are never filled. The sessions are those of the frame's rows.
Samples are in instrument-major order, as qlib's.

Apart from qlib (quirk numbers of its register): the store is float32 unless `dtype` says
otherwise, so that a float64 label does not double the memory (Q9); the caller's frame stays as it
is and windows are copies (Q10); an unknown instrument, or a date before the first session, is an
error (Q11); and `batch` gathers a whole batch on the training device, from rows and index there,
so training waits for no loader.

Rule matched: qlib data/dataset/__init__.py `TSDataSampler`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from rnn_core.data.row_stack import RowStack
from rnn_core.data.sampler_device import gather, resident, rows_of
from rnn_core.data.sampler_index import FILLS, Fill, SampleStore
from rnn_core.notebook import fact_table, span_of
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.session_labels import DateLike, session_bound, session_day
from rnn_core.qlib_hooks import SAMPLER_HOOKS, refuse_overrides
from rnn_core.suggestions import near_matches

if TYPE_CHECKING:
    import torch

MOST_STEPS = 100_000
"""The longest window, in sessions: the index has as many places for each instrument."""

Indices = int | slice | Sequence[int] | NDArray[np.integer[Any]]


class TSDataSampler:
    """Windows [L, F] of a long frame.

    Args:
        data: index (datetime, instrument), F numeric columns, or such a table of another library;
            the label, if any, comes last.
        start: first session with samples, or None; earlier rows only appear in windows.
        end: last session with samples, included, or None.
        step_len: L, in sessions.
        fillna_type: "none", "ffill" or "ffill+bfill".
        dtype: float type of the store; None is float32.
        flt_data: bool series or one-column frame on the same index. Only its True rows are samples
            (a missing row counts as False), but every row appears in windows.

    Raises:
        ValueError: an empty frame, repeated rows, a wrong index, a `flt_data` that shares no row
            with it, step_len out of bounds, or an unknown fillna_type.
        TypeError: a column, `dtype` or step_len is not numeric, `flt_data` has several columns, or
            a subclass overrides what is never called.

    Examples:
        >>> sampler = TSDataSampler(frame, None, None, step_len=2)
        >>> len(sampler), sampler["2024-01-03", "A"].tolist()  # the rows of two sessions
        (6, [[1.0, 1.0], [2.0, 2.0]])
    """

    def __init__(
        self,
        data: pd.DataFrame,
        start: DateLike | None,
        end: DateLike | None,
        step_len: int,
        fillna_type: str = "none",
        dtype: DTypeLike | None = None,
        flt_data: pd.Series[Any] | pd.DataFrame | None = None,
    ) -> None:
        refuse_overrides(self, TSDataSampler, SAMPLER_HOOKS)
        if isinstance(step_len, bool) or not isinstance(step_len, (int, np.integer)):
            raise TypeError(f"step_len is {step_len!r:.60}, expected a whole number of sessions")
        if not 1 <= step_len <= MOST_STEPS:
            raise ValueError(
                f"step_len is {step_len}, expected 1 or more sessions, and at most {MOST_STEPS:,}"
            )
        self.config(fillna_type=fillna_type)
        data = as_frame(data)
        self._store = SampleStore.from_frame(data, step_len, dtype or np.float32, flt_data)
        self._choose(start, end)

    @classmethod
    def from_rows(
        cls,
        rows: RowStack,
        start: DateLike | None,
        end: DateLike | None,
        step_len: int,
        fillna_type: Fill = "none",
        samples: NDArray[np.bool_] | None = None,
    ) -> TSDataSampler:
        """Make a sampler that takes over the array of stacked rows, so that they are held once.

        Args:
            rows: as `data` of the constructor, in any order; empty afterwards.
            start: first session with samples, or None.
            end: last session with samples, included, or None.
            step_len: L, in sessions.
            fillna_type: "none", "ffill" or "ffill+bfill".
            samples: [R], True for the rows that are samples; None for all.

        Returns:
            The sampler that the constructor makes of the same rows as a frame.

        Raises:
            ValueError: no row, repeated rows, step_len < 1, or an unknown fillna_type.
        """
        if step_len < 1:
            raise ValueError(f"step_len is {step_len}, expected 1 or more sessions")
        sampler = cls.__new__(cls)
        sampler.config(fillna_type=fillna_type)
        sampler._store = SampleStore.from_rows(rows, step_len, samples)
        sampler._choose(start, end)
        return sampler

    def _choose(self, start: DateLike | None, end: DateLike | None) -> None:
        """Select the samples."""
        self.start, self.end = session_bound(start), session_bound(end, last=True)
        self._offsets = self._store.samples(self.start, self.end)  # [S]
        self._offsets_on: dict[str, torch.Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out tensors, which a worker process makes for itself."""
        return {**self.__dict__, "_offsets_on": {}}

    def config(self, *, fillna_type: str) -> None:
        """Change the filling of missing rows.

        Args:
            fillna_type: "none", "ffill" or "ffill+bfill".

        Raises:
            ValueError: `fillna_type` is none of these.
        """
        if fillna_type not in FILLS:
            raise ValueError(
                f"fillna_type is {fillna_type!r}, expected one of {', '.join(map(repr, FILLS))}"
            )
        self.fillna_type: Fill = fillna_type

    def between(self, start: DateLike | None, end: DateLike | None) -> TSDataSampler:
        """Return a sampler for another range of sessions over the same rows.

        The range may reach beyond this sampler's. The two share rows, index and device tensors, so
        the new sampler costs only its list of samples.

        Args:
            start: first session, or None.
            end: last session, included, or None.

        Returns:
            A sampler with the same step_len, filter and fillna_type.
        """
        child = copy.copy(self)
        child._choose(start, end)
        return child

    @property
    def step_len(self) -> int:
        """The window length L, in sessions."""
        return self._store.step_len

    @property
    def columns(self) -> pd.Index:
        """The F columns of a window, as in the frame."""
        return self._store.columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the windows."""
        return self._store.matrix.dtype

    @property
    def data_arr(self) -> NDArray[Any]:
        """The rows, [R + 1, F], instrument by instrument; the last row is NaN."""
        return self._store.matrix

    @property
    def nan_idx(self) -> int:
        """The place of the row of NaN in `data_arr`."""
        return len(self._store.matrix) - 1

    @property
    def data_index(self) -> pd.MultiIndex:
        """(instrument, datetime) of every sample, in sample order."""
        return self.get_index().swaplevel()

    @property
    def idx_arr(self) -> NDArray[np.float64]:
        """The place in `data_arr` of every session and instrument, [T, N]; NaN without a row."""
        store = self._store
        last = store.table.reshape(-1, store.width)[:, self.step_len - 1 :]  # [N, T + 1]
        rows = np.where(np.diff(last, axis=1) > 0, last[:, 1:], np.nan)  # [N, T]
        return np.ascontiguousarray(rows.T)

    @property
    def idx_df(self) -> pd.DataFrame:
        """`idx_arr` as a frame of whole numbers and NaN: sessions down, instruments across."""
        store = self._store
        sessions = store.sessions.rename("datetime")
        columns = store.instruments.rename("instrument")
        places = pd.DataFrame(self.idx_arr, index=sessions, columns=columns)
        return places.astype(object).map(lambda place: place if np.isnan(place) else int(place))

    @property
    def idx_map(self) -> NDArray[np.int32]:
        """The row and column in `idx_df` of every sample, [S, 2]."""
        instrument, session = np.divmod(self._offsets, self._store.width)
        return np.stack([session, instrument], axis=1).astype(np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, index and sample list in host memory."""
        store = self._store
        return (
            store.matrix.nbytes + store.table.nbytes + store.offsets.nbytes + self._offsets.nbytes
        )

    @property
    def empty(self) -> bool:
        """True if there is no sample."""
        return len(self) == 0

    def __len__(self) -> int:
        return len(self._offsets)

    def get_index(self) -> pd.MultiIndex:
        """Return (datetime, instrument) of every sample, in sample order: instrument-major."""
        store = self._store
        n, t = np.divmod(self._offsets, store.width)
        levels: list[Any] = [store.sessions, store.instruments]
        codes: list[Any] = [t, n]
        return pd.MultiIndex(levels=levels, codes=codes, names=["datetime", "instrument"])

    def __getitem__(self, idx: Indices | tuple[DateLike, str]) -> NDArray[Any]:
        """Return a copy of one window or several.

        Args:
            idx: a sample number from 0; a list, array or slice of numbers; or (date, instrument),
                with the session before the date if the date is no session.

        Returns:
            [L, F] for a number or a pair, else [B, L, F].

        Raises:
            KeyError: a number outside [0, len); an unknown instrument; a date before the first
                session.
            TypeError: `idx` is anything else, for example a mask.
        """
        if isinstance(idx, tuple):
            return self._store.window(self._offset_of(*idx), self.fillna_type)
        if isinstance(idx, (int, np.integer)) and not isinstance(idx, bool):
            if not 0 <= idx < len(self._offsets):
                self._check(np.array([idx]))
            return self._store.window(int(self._offsets[idx]), self.fillna_type)
        offsets = self._offsets[self._numbers(idx)]
        return np.asarray(self._store.matrix[self._store.rows(offsets, self.fillna_type)])

    def __getitems__(self, indices: Sequence[int]) -> list[NDArray[Any]]:
        """Return the windows of a batch; torch's DataLoader asks for them in one call."""
        return list(self[np.asarray(indices)])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[k] for k in range(len(self)))

    def batch(
        self, indices: Indices | torch.Tensor, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Gather windows into one tensor, on the device of the rows.

        Rows and index move to `device` at the first call and stay there, shared with the samplers
        that `between` makes. If they do not fit they stay in host memory with a warning, and each
        batch is gathered there and copied to the device (see `sampler_device`).

        Args:
            indices: sample numbers from 0: one, a list, an array, a slice or a tensor. Numbers on
                an accelerator are not checked, since the check would wait for it.
            device: the device of the result; None is the device of `indices`, or the CPU.

        Returns:
            [B, L, F], of the store's type; a single number gives B = 1.

        Raises:
            KeyError: a number outside [0, len).
            TypeError: a mask or anything else that is not a number.
        """
        import torch

        if isinstance(indices, torch.Tensor):
            device = torch.device(device or indices.device)
            numbers = indices.reshape(-1)
            if numbers.dtype == torch.bool or numbers.is_floating_point():
                raise TypeError(f"sample numbers of type {numbers.dtype}, expected integers")
            if numbers.device.type == "cpu":
                self._check(numbers.numpy())
        else:
            device = torch.device(device or "cpu")
            numbers = torch.from_numpy(np.atleast_1d(self._numbers(indices)).astype(np.int64))
        store = resident(self._store, device)
        home, key = store.matrix.device, str(store.matrix.device)
        if key not in self._offsets_on:
            self._offsets_on[key] = torch.from_numpy(self._offsets).to(home)
        offsets = self._offsets_on[key].index_select(0, numbers.to(home))  # [B]
        return gather(store, offsets, self.step_len, self.fillna_type, device)

    def shared_rows(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the rows that windows share, instead of the windows.

        Args:
            indices: sample numbers from 0, on the CPU.

        Returns:
            Rows [R, F] without a copy, and the numbers of the windows' steps among them, int64
            [B, L]; None if R is above half of B * L, or if a subclass makes windows of its own.
        """
        import torch

        store = resident(self._store, torch.device("cpu"))
        offsets = torch.from_numpy(self._offsets).index_select(0, indices)
        rows = rows_of(store, offsets, self.step_len, self.fillna_type)  # [B, L]
        first, last = int(rows.min()), int(rows.max())
        has_own_windows = type(self).batch is not TSDataSampler.batch
        if has_own_windows or 2 * (last + 1 - first) > rows.numel():
            return None
        return store.matrix[first : last + 1], rows.long() - first

    def newest(self, first: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return the newest session of windows, which is the sample's own row, [B, F].

        Args:
            first: the first sample.
            stop: the sample after the last; None for all.
        """
        store = self._store
        return np.asarray(store.matrix[store.table[self._offsets[first:stop] + self.step_len]])

    def _numbers(self, idx: Indices) -> NDArray[np.intp]:
        """Check sample numbers and return them as an array."""
        if isinstance(idx, slice):
            return np.arange(len(self), dtype=np.intp)[idx]
        numbers = np.atleast_1d(np.asarray(idx))
        if numbers.size == 0:
            return np.empty(0, dtype=np.intp)
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise TypeError(
                f"samples are asked for by number, a list of numbers, a slice or (date, "
                f"instrument), was given {numbers.dtype} {idx!r:.60}"
            )
        self._check(numbers)
        return numbers.astype(np.intp)

    def _check(self, numbers: NDArray[Any]) -> None:
        """Raise for a sample number outside [0, S)."""
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            bad = numbers[(numbers < 0) | (numbers >= len(self))][0]
            raise KeyError(f"sample {bad} is outside [0, {len(self)})")

    def _offset_of(self, date: DateLike, instrument: str) -> int:
        """Return the table's place of an instrument on the last session up to a date."""
        store = self._store
        if instrument not in store.instruments:
            raise KeyError(
                f"no instrument {instrument!r} among {len(store.instruments)}"
                f"{near_matches(instrument, store.instruments)}"
            )
        t = int(store.sessions.searchsorted(session_day(date), "right")) - 1
        if t < 0:
            raise KeyError(f"{date} is before the first session {store.sessions[0]:%Y-%m-%d}")
        n = int(store.instruments.searchsorted(instrument))
        return n * store.width + t

    def _repr_html_(self) -> str:
        window = f"{self.step_len} sessions of {len(self.columns)} columns, {self.dtype}"
        facts = {"samples": f"{len(self):,}", "window": window, "gaps": self.fillna_type}
        return fact_table(self, {**facts, **span_of(self.get_index())})

    def __repr__(self) -> str:
        return (
            f"TSDataSampler({len(self)} samples of [{self.step_len}, {len(self.columns)}] "
            f"{self.dtype}, {self.fillna_type!r})"
        )
