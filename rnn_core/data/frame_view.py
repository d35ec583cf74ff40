"""Views of a handler: columns of several frames, and the rows of each frame that a view has.

A processor of the label must not cost a copy of the features. A view therefore names a frame for
each of its columns, and for each frame the rows that the view has. Columns that no processor
changed stay in one frame, which all views share, and a fetch puts together only the requested rows
and columns. qlib keeps raw, infer and learn as three whole frames.

Rows are sorted by (datetime, instrument), so a range of sessions is a slice of rows and costs no
copy either. pandas copies on write, so a caller may write to a frame that was cut from a view.

Shape letters: R rows of a view, C columns of it.

Rule matched: qlib data/dataset/utils.py `fetch_df_by_index`, `fetch_df_by_col`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.panel.frames import long_index
from rnn_core.panel.session_labels import LEVELS, session_bound, session_labels
from rnn_core.suggestions import near_matches

CS_ALL = "__all"
CS_RAW = "__raw"

Rows = slice | NDArray[np.intp]
ColSet = str | Sequence[str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class View:
    """Columns that lie in several frames, over one index of rows.

    Attributes:
        index: the R rows, sorted by (datetime, instrument).
        columns: the C columns, (group, name).
        frames: the frames that hold them.
        rows: for each frame the R positions of the view's rows in it, None for all of them.
        part: int [C], the number of the frame that holds a column.
        place: int [C], the column's position in that frame.
    """

    index: pd.MultiIndex
    columns: pd.MultiIndex
    frames: tuple[pd.DataFrame, ...]
    rows: tuple[NDArray[np.intp] | None, ...]
    part: NDArray[np.intp]
    place: NDArray[np.intp]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> View:
        """Make a view of a whole frame, sorted if need be; the frame itself stays as it is.

        Args:
            frame: index levels datetime and instrument in either order, columns (group, name).

        Raises:
            ValueError: another index or other columns, or repeated ones.
        """
        frame = _sorted(frame)
        width = np.arange(frame.shape[1])
        index, columns = cast(pd.MultiIndex, frame.index), cast(pd.MultiIndex, frame.columns)
        return cls(index, columns, (frame,), (None,), np.zeros_like(width), width)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def groups(self) -> list[str]:
        """The column groups, in order."""
        return list(dict.fromkeys(self.columns.get_level_values(0)))

    def sessions(self) -> pd.DatetimeIndex:
        """The sessions with a row, sorted."""
        counts = np.bincount(self.index.codes[0], minlength=len(self.index.levels[0]))
        return pd.DatetimeIndex(self.index.levels[0][counts > 0])

    def take(self, rows: Rows, columns: NDArray[np.intp]) -> pd.DataFrame:
        """Return some rows and columns as a frame; slices of one frame share its memory.

        Args:
            rows: positions in the view, or a slice of them.
            columns: positions in `columns`.

        Returns:
            The frame, two-level columns.
        """
        index, names = self.index[rows], self.columns[columns]
        pieces, order = [], []
        for k, frame in enumerate(self.frames):
            here = np.flatnonzero(self.part[columns] == k)
            if len(here):
                own = self.rows[k]
                piece = _cut(frame, rows if own is None else own[rows], self.place[columns[here]])
                pieces.append(piece.set_axis(index, axis=0))
                order.append(here)
        if not pieces:
            return pd.DataFrame(index=index, columns=names)
        place = np.concatenate(order)
        out = pieces[0] if len(pieces) == 1 else pd.concat(pieces, axis=1)
        out.columns = names[place]
        return out if (np.diff(place) > 0).all() else out.iloc[:, np.argsort(place)]

    def whole(self) -> pd.DataFrame:
        """Return all rows and columns as a frame."""
        return self.take(slice(None), np.arange(len(self.columns)))

    def only(self, columns: NDArray[np.intp]) -> View:
        """Return the view with some of its columns, by position."""
        part, place = self.part[columns], self.place[columns]
        names = self.columns[columns]
        return View(self.index, names, self.frames, self.rows, part, place)._without_idle()

    def replaced(self, columns: NDArray[np.intp], new: pd.DataFrame) -> View:
        """Return the view with `new` in place of some columns, and with the rows of `new`.

        Args:
            columns: positions of the columns that `new` was made from.
            new: some or all of these columns, and rows of this view in the same order.

        Returns:
            A view that shares all other columns with this one.
        """
        selection = _positions(self.index, cast(pd.MultiIndex, new.index))
        others = np.setdiff1d(np.arange(len(self.columns)), columns)
        source = new.columns.get_indexer(self.columns)
        source[others] = -1
        stays = np.zeros(len(self.columns), dtype=bool)
        stays[others] = True
        stays |= source >= 0
        own = np.where(source >= 0, len(self.frames), self.part)[stays].astype(np.intp)
        place = np.where(source >= 0, source, self.place)[stays].astype(np.intp)
        rows = (*(_compose(r, selection) for r in self.rows), None)
        index = self.index if selection is None else cast(pd.MultiIndex, new.index)
        whole = View(index, self.columns[stays], (*self.frames, new), rows, own, place)
        return whole._without_idle()

    def detached(self, frame: pd.DataFrame, memo: dict[tuple[int, ...], pd.DataFrame]) -> View:
        """Release the memory of a frame of which the view uses some columns only.

        Args:
            frame: the frame to release.
            memo: earlier copies by their columns, so that views go on sharing them.

        Returns:
            A view over copies of the columns that it uses; the same view if it uses all or none.
        """
        frames, place = list(self.frames), self.place.copy()
        for k, own in enumerate(frames):
            used = np.unique(self.place[self.part == k])
            if own is not frame or len(used) == frame.shape[1]:
                continue
            key = tuple(used.tolist())
            if key not in memo:
                memo[key] = frame.iloc[:, used].copy()
            frames[k] = memo[key]
            place[self.part == k] = np.searchsorted(used, place[self.part == k])
        return View(self.index, self.columns, tuple(frames), self.rows, self.part, place)

    def _without_idle(self) -> View:
        """Return the view without the frames of which it uses no column."""
        used = np.unique(self.part)
        frames, rows = (tuple(x[k] for k in used) for x in (self.frames, self.rows))
        part = np.searchsorted(used, self.part)
        return View(self.index, self.columns, frames, rows, part, self.place)

    def rows_of(self, selector: Any, level: str | int) -> Rows:
        """Return the positions of the rows that a selector names.

        Args:
            selector: a slice with both ends included, one label (a text such as "2020-03" is
                the whole month), or a list or index of labels.
            level: "datetime" or 0, "instrument" or 1.

        Raises:
            KeyError: a label that has no row.
            ValueError: no such level.
        """
        k = LEVELS.index(level) if level in LEVELS else level
        if k not in (0, 1):
            raise ValueError(f"level is {level!r}, expected 'datetime', 'instrument' or None")
        values = self.index.levels[k]
        codes = np.asarray(self.index.codes[k])
        if isinstance(selector, slice):
            if selector.step not in (None, 1):
                raise ValueError(f"a slice with step {selector.step}, expected none: give a list")
            s = values.slice_indexer(_bound(selector.start, k), _bound(selector.stop, k))
            return _between(codes, s.start, s.stop, k)
        if isinstance(selector, (list, tuple, set, np.ndarray, pd.Index, pd.Series)):
            items = list(selector)
            labels = session_labels(items, "the selector") if k == 0 else pd.Index(items)
            at = values.get_indexer(labels)
            if (at < 0).any():
                raise KeyError(_absent(labels[at < 0][0], values, LEVELS[k]))
            return np.flatnonzero(np.isin(codes, at))
        try:
            place: Any = values.get_loc(_bound(selector, k))
        except KeyError:
            raise KeyError(_absent(selector, values, LEVELS[k])) from None
        if not isinstance(place, slice):
            place = slice(int(place), int(place) + 1)
        rows = _between(codes, place.start, place.stop, k)
        if (rows.stop - rows.start if isinstance(rows, slice) else len(rows)) == 0:
            raise KeyError(_absent(selector, values, LEVELS[k]))
        return rows

    def columns_of(self, col_set: ColSet) -> tuple[NDArray[np.intp], bool]:
        """Return the positions of a column set, and whether the group level stays.

        Args:
            col_set: "__all" (every column, names only), "__raw" (every column, both levels), a
                group (names only), or a list of groups or of (group, name), both levels.

        Raises:
            KeyError: an unknown group or column.
        """
        every = np.arange(len(self.columns))
        if isinstance(col_set, str):
            if col_set in (CS_ALL, CS_RAW):
                return every, col_set == CS_RAW
            return self._group(col_set), False
        positions = [
            self._group(c) if isinstance(c, str) else np.atleast_1d(self._column(c))
            for c in col_set
        ]
        if not positions:
            raise ValueError(f"col_set is {col_set!r}, expected a group or more: {self.groups}")
        return np.concatenate(positions), True

    def _group(self, name: str) -> NDArray[np.intp]:
        """Return the positions of a group's columns."""
        positions = np.flatnonzero(self.columns.get_level_values(0) == name)
        if not len(positions):
            raise KeyError(
                f"no column group {name!r}, the groups are {self.groups}"
                f"{near_matches(name, self.groups)}"
            )
        return positions

    def _column(self, key: tuple[str, str]) -> int:
        """Return the position of one column."""
        if key not in self.columns:
            names = self.columns.get_level_values(1)
            raise KeyError(f"no column {key!r}{near_matches(tuple(key)[-1], names)}")
        return int(np.flatnonzero(self.columns == key)[0])


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a shallow copy in order of (datetime, instrument), or raise for an invalid frame."""
    if frame.columns.nlevels != 2:
        raise ValueError(
            f"expected two-level columns (group, name), was given {list(frame.columns[:3])}...: "
            f"wrap them with pd.concat({{'feature': features, 'label': label}}, axis=1)"
        )
    if not frame.columns.is_unique:
        repeats = frame.columns[frame.columns.duplicated()].tolist()
        raise ValueError(f"the columns {repeats[:3]} are repeated: keep one of each")
    out = frame.copy(deep=False)
    out.index = index = long_index(frame)
    if not all(level.is_monotonic_increasing for level in index.levels):
        arrays = [index.get_level_values(k) for k in (0, 1)]
        out.index = pd.MultiIndex.from_arrays(arrays, names=list(LEVELS))
    if not out.index.is_monotonic_increasing:
        out = out.sort_index()
    if not out.index.is_unique:
        repeat = out.index[out.index.duplicated()][0]
        raise ValueError(f"rows are repeated, the first is {repeat}: keep one a session and name")
    return out


def _cut(frame: pd.DataFrame, rows: Rows, columns: NDArray[np.intp]) -> pd.DataFrame:
    """Cut columns, then rows, so that a gather of rows touches no other column."""
    part = frame.iloc[:, _as_slice(columns)]
    return part.iloc[rows if isinstance(rows, slice) else _as_slice(rows)]


def _as_slice(positions: NDArray[np.intp]) -> Rows:
    """Turn consecutive positions into a slice, which pandas takes without a copy."""
    if len(positions) and (np.diff(positions) == 1).all():
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def _positions(old: pd.MultiIndex, new: pd.MultiIndex) -> NDArray[np.intp] | None:
    """Find the rows of `new` in `old`; None if they are the same rows."""
    if len(new) == len(old):
        return None
    if not all(a is b or a.equals(b) for a, b in zip(old.levels, new.levels, strict=True)):
        return np.asarray(old.get_indexer(new), dtype=np.intp)
    flat = [i.codes[0].astype(np.int64) * len(old.levels[1]) + i.codes[1] for i in (old, new)]
    return np.searchsorted(flat[0], flat[1])


def _compose(
    rows: NDArray[np.intp] | None, selection: NDArray[np.intp] | None
) -> NDArray[np.intp] | None:
    """Select the rows `selection` from the rows `rows`."""
    if selection is None or rows is None:
        return rows if selection is None else selection
    return rows[selection]


def _between(codes: NDArray[Any], first: int, stop: int, k: int) -> Rows:
    """Select the rows whose code lies in [first, stop), which are consecutive for sessions."""
    if k == 1:
        return np.flatnonzero((codes >= first) & (codes < stop))
    return slice(*(int(x) for x in np.searchsorted(codes, [first, max(first, stop)])))


def _bound(label: Any, k: int) -> Any:
    """Prepare a label for pandas: dates become sessions, texts of dates stay texts."""
    if k == 1 or label is None:
        return label
    if isinstance(label, str):
        session_bound(label)  # refuses a time zone, and a text that is no date
        return label
    return session_bound(label)


def _absent(label: Any, values: pd.Index, level: str) -> str:
    """Write the message about a label without rows."""
    if level == "instrument":
        return f"no instrument {label!r} among {len(values)}{near_matches(label, values)}"
    span = f", they span {values[0]:%Y-%m-%d} to {values[-1]:%Y-%m-%d}" if len(values) else ""
    return f"no session {label} among {len(values)}{span}: give a slice to take a range"
