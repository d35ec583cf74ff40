"""A market as dense arrays: every field as [N, T], with its axes of sessions and instruments.

Rolling windows count sessions, not rows, so a suspended day must hold a slot (qlib re-indexes each
instrument to the calendar for the same reason), and a kernel reads one instrument as one
contiguous run. The price is memory for names that are rarely listed: one float64 field of 5,000
names over 20 years takes 200 MB.

An absent row is NaN in every field and False in `present`. `present` tells a suspended instrument
(no row) from a listed one whose price is unknown (a row of NaN).

Shape letters: `T` sessions, `N` instruments, `F` features, `R` rows of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.session_labels import LEVELS, session_codes, session_index, session_labels
from rnn_core.suggestions import near_matches

KEYS = ("date", "instrument")


@dataclass(frozen=True, eq=False)
class Panel:
    """A market as dense arrays.

    Args:
        sessions: the T session labels, sorted, tz-naive.
        instruments: the N instrument codes, sorted.
        fields: name to array [N, T], C-contiguous float32 or float64, NaN where absent.
        present: [N, T], whether the row exists.

    Raises:
        ValueError: if an axis is not sorted and unique, a session is no session label, or an
            array is not [N, T].

    Examples:
        >>> panel = Panel.from_frame(bars)
        >>> panel.shape, list(panel.instruments)  # N, T
        ((2, 2), ['A', 'B'])
        >>> panel.fields["close"]
        array([[1. , 1.5],
               [2. , nan]])
    """

    sessions: pd.DatetimeIndex
    instruments: pd.Index[Any]
    fields: Mapping[str, NDArray[Any]]
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", session_labels(self.sessions, "`sessions`"))
        for name, axis in (("sessions", self.sessions), ("instruments", self.instruments)):
            if not (axis.is_monotonic_increasing and axis.is_unique):
                raise ValueError(f"`{name}` must be sorted and unique: sort it, drop duplicates")
        shape = (len(self.instruments), len(self.sessions))
        if self.present.shape != shape or self.present.dtype != np.bool_:
            raise ValueError(
                f"`present` is {self.present.dtype} {self.present.shape}, expected bool {shape}"
                " (instruments, sessions)"
            )
        for name, values in self.fields.items():
            if values.shape != shape or values.dtype not in (np.float32, np.float64):
                raise ValueError(
                    f"field {name!r} is {values.dtype} {values.shape}, expected float32 or float64"
                    f" {shape} (instruments, sessions)"
                )
            if not values.flags.c_contiguous:
                raise ValueError(f"field {name!r} is not C-contiguous: use np.ascontiguousarray")
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    @property
    def shape(self) -> tuple[int, int]:
        """The lengths (N, T) of the axes."""
        return len(self.instruments), len(self.sessions)

    @classmethod
    def from_frame(cls, bars: pd.DataFrame, *, sessions: pd.DatetimeIndex | None = None) -> Panel:
        """Spread a long frame of bars over its sessions and instruments.

        Args:
            bars: one row per (date, instrument) in any order: columns `date`, `instrument` and
                numeric fields, or the keys as a (datetime, instrument) index; or such a table of
                another library (`arrow_frames`). A suspended instrument has no row. A float32
                column stays float32, others become float64.
            sessions: the session axis, which must hold every date of `bars`; by default the dates
                of `bars`. Pass the trading calendar, so that a session counts even if none of
                these instruments traded on it.

        Returns:
            The panel.

        Raises:
            ValueError: on missing or duplicate keys, on dates that are no session labels
                (`panel.session_labels`) or lie outside `sessions`, on a column that is not numeric.
        """
        # The axes, and the position of every row on them.
        bars = as_frame(bars)
        (days, day), (names, name), values = _split_keys(bars)
        axis = days.sort_values() if sessions is None else session_labels(sessions, "`sessions`")
        axis = pd.DatetimeIndex(axis, name=LEVELS[0])
        if not (axis.is_monotonic_increasing and axis.is_unique):
            raise ValueError("`sessions` must be sorted and unique: sort it, drop duplicates")
        columns = np.asarray(axis.get_indexer(days))[day]
        if (columns < 0).any():
            stray = days[day[columns < 0]]
            raise ValueError(
                f"{len(stray)} rows lie outside `sessions`, the first on {stray[0]:%Y-%m-%d}:"
                " drop them or pass the calendar that holds them"
            )
        labels = names.sort_values()
        codes = labels.get_indexer(names)[name]
        shape = (len(labels), len(axis))
        flat = codes.astype(np.int64) * shape[1] + columns  # [R] positions in [N*T]
        # A cell that two rows claim is an error.
        present = np.zeros(shape[0] * shape[1], dtype=np.bool_)
        present[flat] = True
        if present.sum() != len(flat):
            _, first, counts = np.unique(flat, return_index=True, return_counts=True)
            at = first[counts > 1][0]
            raise ValueError(
                f"{int((counts - 1).sum())} duplicate rows, the first for {names[name[at]]} on"
                f" {days[day[at]]:%Y-%m-%d}: keep one row per date and instrument"
            )
        fields = {
            str(field): _spread(str(field), column, flat, shape) for field, column in values.items()
        }
        return cls(axis, pd.Index(labels, name=KEYS[1]), fields, present.reshape(shape))

    def to_frame(
        self,
        values: NDArray[Any],
        names: Sequence[str],
        *,
        rows: NDArray[np.bool_] | None = None,
        sessions: slice | None = None,
    ) -> pd.DataFrame:
        """Gather [F, N, T] values into a long frame.

        Args:
            values: [F, N, T].
            names: the F column names.
            rows: [N, T], the rows to keep; by default those that exist.
            sessions: positions on the session axis to keep; by default all.

        Returns:
            A frame of F columns with a sorted (datetime, instrument) index.

        Raises:
            ValueError: if a shape does not fit this panel.
        """
        expected = (len(names), *self.shape)
        if values.shape != expected:
            raise ValueError(
                f"`values` is {values.shape}, expected {expected}: {len(names)} names,"
                f" {self.shape[0]} instruments, {self.shape[1]} sessions"
            )
        from rnn_core.panel.spread import spread

        places, index = self.long_rows(rows=rows, sessions=sessions)
        block = np.empty((len(names), len(index)), dtype=values.dtype)  # [F, R]
        spread(np.ascontiguousarray(values), places, block)
        return pd.DataFrame(block.T, index=index, columns=list(names), copy=False)

    def long_rows(
        self, *, rows: NDArray[np.bool_] | None = None, sessions: slice | None = None
    ) -> tuple[NDArray[np.int64], pd.MultiIndex]:
        """Find the row of each cell in a long frame.

        Args:
            rows: [N, T], the rows to keep; by default those that exist.
            sessions: positions on the session axis to keep; by default all.

        Returns:
            The row of each cell, [N, T], -1 for a cell that is left out; and the sorted (datetime,
            instrument) index of the R rows.

        Raises:
            ValueError: if `rows` does not fit this panel.
        """
        keep = self.present if rows is None else rows
        if keep.shape != self.shape or keep.dtype != np.bool_:
            raise ValueError(f"`rows` is {keep.dtype} {keep.shape}, expected bool {self.shape}")
        if sessions is not None:
            inside = np.zeros(self.shape[1], dtype=np.bool_)
            inside[sessions] = True
            keep = keep & inside
        day, name = np.nonzero(keep.T)  # sorted by session, then instrument
        places = np.full(self.shape, -1, dtype=np.int64)  # [N, T]
        places[name, day] = np.arange(len(day))
        index = pd.MultiIndex(
            levels=[self.sessions, self.instruments],  # type: ignore[list-item]
            codes=[day, name],  # type: ignore[list-item]
            names=list(LEVELS),
            verify_integrity=False,
        ).remove_unused_levels()
        return places, index


Key = tuple[pd.Index, NDArray[np.intp]]
"""The T or N distinct values of a key, and the place of each of the R rows among them."""


def instrument_position(panel: Panel, code: str) -> int:
    """The position of an instrument by its code, in any case of letters.

    Raises:
        ValueError: if there is none; the message names near ones.
    """
    codes = [str(known) for known in panel.instruments]
    if code in codes:
        return codes.index(code)
    folded = [known.lower() for known in codes]
    if code.lower() in folded:
        return folded.index(code.lower())
    raise ValueError(f"no instrument {code!r} in the panel{near_matches(code, codes)}")


def _split_keys(bars: pd.DataFrame) -> tuple[tuple[pd.DatetimeIndex, Any], Key, pd.DataFrame]:
    """Split a frame into its days, its instruments and the other columns."""
    if bars.columns.nlevels != 1:
        raise ValueError(
            "`bars` has columns of several levels, expected one: select a group,"
            " e.g. bars['feature']"
        )
    if isinstance(bars.index, pd.MultiIndex):
        index = session_index(bars.index, "bars").remove_unused_levels()
        days, names = pd.DatetimeIndex(index.levels[0]), index.levels[1]
        day, name = (np.asarray(codes, dtype=np.intp) for codes in index.codes)
        values = bars.reset_index(drop=True)
    else:
        missing = [key for key in KEYS if key not in bars.columns]
        if missing:
            raise ValueError(
                f"`bars` lacks {missing}: expected the columns date and instrument, or a"
                f" (datetime, instrument) index; it has {list(bars.columns)[:12]}"
            )
        days, day = session_codes(bars[KEYS[0]], "`date`")
        name, distinct = pd.factorize(bars[KEYS[1]])
        names = pd.Index(distinct)
        values = bars.drop(columns=list(KEYS))
        if len(name) and name.min() < 0:
            raise ValueError(f"`instrument` is missing in {int(np.sum(name < 0))} rows: drop them")
    if len(names) and names.inferred_type != "string":
        raise ValueError(
            f"`instrument` holds {names.inferred_type}, expected str: use .astype(str)"
        )
    return (days, day), (names, name), values


def _spread(
    name: str, column: pd.Series[Any], flat: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[Any]:
    """Spread one column over [N, T], with NaN where a row is absent."""
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise ValueError(
            f"column {name!r} is {column.dtype}, expected numbers: drop it or convert it"
        )
    kind = np.float32 if column.dtype == np.float32 else np.float64
    dense = np.full(shape[0] * shape[1], np.nan, dtype=kind)
    dense[flat] = column.to_numpy(dtype=kind, na_value=np.nan)
    return dense.reshape(shape)
