"""`DatasetH` and `TSDatasetH`: named ranges of sessions over a handler, with qlib's interface.

A `DatasetH` returns rows, a `TSDatasetH` windows. `TSDatasetH` fetches a segment with `step_len`
earlier sessions, counted on the infer view, so that the first samples have a past if the handler
has one. Bounds may be text, dates or Timestamps, both included, or None for an open end. A subclass
may override `_prepare_seg`, `prepare`, `setup_data` and `config`, as in qlib.

In qlib the windows of training and of serving have different rows: the learn view lacks the rows
without a label, which the infer view has, and an older row fills the gap. `window_rows="fetched"`,
the default, does as qlib. "infer" builds every window from the rows of the infer view; the
requested view then decides which rows are samples, and gives their labels.

Rule matched: qlib data/dataset/__init__.py `DatasetH`, `TSDatasetH`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike

from rnn_core.data.frame_view import CS_ALL, CS_RAW, ColSet
from rnn_core.data.handler import DK_I, DataHandlerLP
from rnn_core.data.handlers import make_handler
from rnn_core.data.sampler import TSDataSampler
from rnn_core.notebook import fact_table
from rnn_core.panel.session_labels import DateLike, session_bound, session_range
from rnn_core.qlib_hooks import DATASET_HOOKS, refuse_overrides
from rnn_core.suggestions import near_matches

Bounds = tuple[DateLike | None, DateLike | None]
Segments = str | Sequence[str] | slice
WindowRows = Literal["fetched", "infer"]

LABEL = "label"


class DatasetH:
    """Rows of a handler by segment.

    Args:
        handler: a handler, or qlib's configuration mapping of a handler; see
            `handlers.make_handler`.
        segments: name to (start, end), both included; None is an open end.
        fetch_kwargs: empty.

    Attributes:
        handler: the handler.
        segments: name to the pair of bounds.

    Raises:
        TypeError: `handler` is no handler, `segments` no mapping of pairs, there are
            `fetch_kwargs`, or a subclass overrides what is never called.
        ValueError: a segment ends before it starts.
        KeyError: the mapping names an unknown handler.

    Examples:
        >>> handler = Alpha158(bars=bars, start_time="2024-03-01")
        >>> dataset = DatasetH(handler, segments={"train": ("2024-03-01", "2024-03-15")})
        >>> dataset.prepare("train", col_set="feature").shape[1]
        158
    """

    def __init__(
        self,
        handler: DataHandlerLP | Mapping[str, Any],
        segments: Mapping[str, Any],
        fetch_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_overrides(self, DatasetH, DATASET_HOOKS)
        if fetch_kwargs:
            raise TypeError(
                f"fetch_kwargs is {dict(fetch_kwargs)!r:.60}, expected none: give col_set and "
                f"data_key to prepare, or override _prepare_seg"
            )
        self.segments = checked_segments(segments)
        if isinstance(handler, Mapping):
            handler = make_handler(handler)
        if not isinstance(handler, DataHandlerLP):
            raise TypeError(
                f"handler is {type(handler).__name__}, expected a DataHandlerLP such as Alpha158, "
                f"or its mapping of class and kwargs"
            )
        self.handler = handler
        self.setup_data()

    def config(
        self,
        *,
        segments: Mapping[str, Any] | None = None,
        handler_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Change the segments or settings of the handler; the next `setup_data` loads anew.

        Args:
            segments: the new segments, all of them.
            handler_kwargs: arguments of the handler's `config`.
        """
        if handler_kwargs is not None:
            self.handler.config(**handler_kwargs)
        if segments is not None:
            self.segments = checked_segments(segments)

    def setup_data(self, handler_kwargs: Mapping[str, Any] | None = None) -> None:
        """Make the handler's views anew.

        Args:
            handler_kwargs: arguments of the handler's `setup_data`, e.g. {"init_type":
                "load_state"}; None leaves the handler as it is.
        """
        if handler_kwargs is not None:
            self.handler.setup_data(**handler_kwargs)

    def prepare(
        self,
        segments: Segments,
        col_set: ColSet = CS_ALL,
        data_key: str = DK_I,
        **options: Any,
    ) -> Any:
        """Fetch the rows of one segment or several.

        Args:
            segments: a name, a list of names, or a slice of sessions.
            col_set: see `DataHandlerLP.fetch`.
            data_key: "raw", "infer" or "learn".
            **options: those of `_prepare_seg`, of this class none.

        Returns:
            A frame (`TSDatasetH`: a sampler), or a list of them for a list of names.

        Raises:
            KeyError: an unknown segment, column set or view.
        """
        if isinstance(segments, slice):
            if segments.step is not None:
                raise ValueError(f"the slice has step {segments.step}, expected start and stop")
            return self._prepare_seg(segments, col_set=col_set, data_key=data_key, **options)
        names = [segments] if isinstance(segments, str) else segments
        slices = [slice(*self._bounds(name)) for name in names]
        parts = [
            self._prepare_seg(slc, col_set=col_set, data_key=data_key, **options) for slc in slices
        ]
        return parts[0] if isinstance(segments, str) else parts

    def _prepare_seg(self, slc: slice, *, col_set: ColSet = CS_ALL, data_key: str = DK_I) -> Any:
        """Fetch the rows of a slice of sessions; qlib's hook, which a subclass may override.

        Args:
            slc: both ends included.
            col_set: see `DataHandlerLP.fetch`.
            data_key: "raw", "infer" or "learn".
        """
        return self.handler.fetch(slc, col_set=col_set, data_key=data_key)

    def _bounds(self, name: object) -> Bounds:
        """Return the bounds of a segment."""
        if not isinstance(name, str) or name not in self.segments:
            raise KeyError(
                f"no segment {name!r}, the segments are {list(self.segments)}"
                f"{near_matches(name, self.segments)}; for dates give slice(start, end)"
            )
        return self.segments[name]

    def _repr_html_(self) -> str:
        bounds = {name: " to ".join(map(_bound, pair)) for name, pair in self.segments.items()}
        return fact_table(self, bounds) + self.handler._repr_html_()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.handler!r}, {self.segments})"


def _bound(day: DateLike | None) -> str:
    """One end of a segment in words."""
    return "…" if day is None else str(day).removesuffix(" 00:00:00")


class TSDatasetH(DatasetH):
    """Windows of a handler by segment; `prepare` returns one `TSDataSampler` a segment.

    `prepare` returns a list of samplers for a list of names. It also takes `flt_col`, instead of
    the dataset's, and the `dtype` of the windows (float32 by default).

    Args:
        handler: as for `DatasetH`.
        segments: name to (start, end), both included; None is an open end.
        step_len: L, in sessions.
        flt_col: a column set of one column. Only rows with a true value may be samples; all
            others appear in windows only.
        window_rows: "fetched" or "infer"; see the module.
        fetch_kwargs: empty.

    Raises:
        TypeError: as `DatasetH`.
        ValueError: as `DatasetH`; `step_len` below 1, an unknown `window_rows`.

    Examples:
        >>> handler = Alpha158(bars=bars, start_time="2024-03-01")
        >>> segments = {"train": ("2024-03-15", "2024-03-15")}
        >>> dataset = TSDatasetH(handler, segments, step_len=5)
        >>> dataset.prepare("train")[0].shape  # [L, F + 1], the label last
        (5, 159)
    """

    DEFAULT_STEP_LEN = 30

    @property
    def cal(self) -> list[pd.Timestamp]:
        """The sessions with rows of the infer view, sorted: a window counts these."""
        return list(self.handler.sessions())

    def __init__(
        self,
        handler: DataHandlerLP | Mapping[str, Any],
        segments: Mapping[str, Any],
        step_len: int = DEFAULT_STEP_LEN,
        flt_col: ColSet | None = None,
        window_rows: WindowRows = "fetched",
        fetch_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if window_rows not in ("fetched", "infer"):
            raise ValueError(f"window_rows is {window_rows!r}, expected 'fetched' or 'infer'")
        self.step_len = _checked_step_len(step_len)
        self.flt_col, self.window_rows = flt_col, window_rows
        super().__init__(handler, segments, fetch_kwargs)

    def config(
        self,
        *,
        segments: Mapping[str, Any] | None = None,
        handler_kwargs: Mapping[str, Any] | None = None,
        step_len: int | None = None,
    ) -> None:
        """Change settings as `DatasetH.config` does, or the length of the windows.

        Args:
            segments: the new segments, all of them.
            handler_kwargs: arguments of the handler's `config`.
            step_len: L, in sessions.
        """
        super().config(segments=segments, handler_kwargs=handler_kwargs)
        if step_len is not None:
            self.step_len = _checked_step_len(step_len)

    def _prepare_seg(
        self,
        slc: slice,
        *,
        col_set: ColSet = CS_ALL,
        data_key: str = DK_I,
        flt_col: ColSet | None = None,
        dtype: DTypeLike | None = None,
    ) -> TSDataSampler:
        """Build a sampler of a slice of sessions; qlib's hook, which a subclass may override.

        Args:
            slc: both ends included.
            col_set: see `DataHandlerLP.fetch`.
            data_key: "raw", "infer" or "learn".
            flt_col: in place of the dataset's.
            dtype: of the windows.
        """
        bounds = (slc.start, slc.stop)
        start, end = session_bound(bounds[0]), session_bound(bounds[1], last=True)
        sessions = self.handler.sessions()
        both = (sessions, self.handler.sessions(data_key))
        if not any(len(s[session_range(s, start, end)]) for s in both):
            raise ValueError(
                f"no session of the handler lies between {bounds[0]} and {bounds[1]}, they span "
                f"{sessions[0]:%Y-%m-%d} to {sessions[-1]:%Y-%m-%d}: move the segment"
            )
        # As in qlib: one session more than windows need, and counted on the infer view.
        first = session_range(sessions, start, None).start - self.step_len
        padded = slice(sessions[max(0, first)], end)
        flags = None
        if (flag_set := self.flt_col if flt_col is None else flt_col) is not None:
            flags = self._filter(padded, flag_set, data_key)
        if self.window_rows == "infer" and data_key != DK_I:
            data, flags = self._with_labels(padded, col_set, data_key, flags)
        else:
            data = self.handler.fetch(padded, col_set=col_set, data_key=data_key)
        return TSDataSampler(data, start, end, self.step_len, dtype=dtype, flt_data=flags)

    def _filter(self, padded: slice, flt_col: ColSet, data_key: str) -> pd.Series[Any]:
        """Fetch the column that selects samples."""
        frame = self.handler.fetch(padded, col_set=flt_col, data_key=data_key)
        if frame.shape[1] != 1:
            raise ValueError(
                f"flt_col {flt_col!r} names {frame.shape[1]} columns, expected one: give a group "
                f"of one column, or [(group, name)]"
            )
        return frame.iloc[:, 0]

    def _with_labels(
        self, padded: slice, col_set: ColSet, data_key: str, flags: pd.Series[Any] | None
    ) -> tuple[pd.DataFrame, pd.Series[Any]]:
        """Return rows of infer with another view's labels, and mark the rows of that view."""
        every = col_set in (CS_ALL, CS_RAW)
        both_levels = CS_RAW if every else [col_set] if isinstance(col_set, str) else col_set
        data = self.handler.fetch(padded, col_set=both_levels)
        rows = self.handler.fetch(padded, col_set=CS_RAW, data_key=data_key)
        for column in data.columns[data.columns.get_level_values(0) == LABEL]:
            data[column] = rows[column].reindex(data.index)
        place = data.index.get_indexer(rows.index)
        selection = np.ones(len(rows), dtype=bool)
        if flags is not None:
            selection = np.where(flags.isna(), False, flags).astype(bool)
        samples = np.zeros(len(data), dtype=bool)
        samples[place[place >= 0]] = selection[place >= 0]
        if isinstance(col_set, str) and col_set != CS_RAW:
            data.columns = data.columns.get_level_values(1)
        return data, pd.Series(samples, index=data.index)


def checked_segments(segments: Mapping[str, Any]) -> dict[str, Bounds]:
    """Check segments and return them as pairs of bounds.

    Args:
        segments: name to (start, end), or to a slice.

    Returns:
        Name to pair.

    Raises:
        TypeError: `segments` is no mapping of pairs.
        ValueError: a segment ends before it starts, or a bound is no date.
    """
    if not isinstance(segments, Mapping):
        raise TypeError(f"segments is {segments!r:.60}, expected a mapping of name to (start, end)")
    checked: dict[str, Bounds] = {}
    for name, bounds in segments.items():
        pair = (bounds.start, bounds.stop) if isinstance(bounds, slice) else bounds
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"segment {name!r} is {bounds!r:.60}, expected (start, end)")
        start, end = session_bound(pair[0]), session_bound(pair[1], last=True)
        if start is not None and end is not None and start > end:
            raise ValueError(f"segment {name!r} ends on {pair[1]}, before it starts on {pair[0]}")
        checked[name] = (pair[0], pair[1])
    return checked


def _checked_step_len(step_len: int) -> int:
    if isinstance(step_len, bool) or not isinstance(step_len, int) or step_len < 1:
        raise ValueError(f"step_len is {step_len!r}, expected 1 or more sessions")
    return step_len
