"""Two indexed Series as flat, aligned arrays; and indexed rows as dense session-by-name tables.

Every metric of this package works on arrays whose rows are sorted by (session, instrument), so a
number never depends on the order in which the caller's rows came. Alignment goes through one
integer key a row, `session * N + instrument`: a pandas join of two MultiIndexes of a million rows
takes seconds, the keys take a fraction of one.

Shapes: `S` aligned rows, `T` sessions, `N` instruments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.panel.frames import one_column
from rnn_core.panel.session_labels import session_index

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AlignedPairs:
    """The outer join of two Series, sorted by (session, instrument).

    Attributes:
        sessions: the T sessions that occur in either Series, sorted.
        code: [S] position of each row's session in `sessions`, ascending.
        left: [S] values of the first Series, NaN where it has no row.
        right: [S] values of the second Series, NaN where it has no row.
    """

    sessions: pd.DatetimeIndex
    code: IntArray
    left: FloatArray
    right: FloatArray


def by_session_and_name(index: pd.Index, what: str) -> pd.MultiIndex:
    """Bring the levels of an index into the order (datetime, instrument).

    Args:
        index: a MultiIndex of two levels. Levels named `datetime` (or `date`) and `instrument`
            are recognised in either order; unnamed levels are taken as (datetime, instrument).
        what: name of the object in an error, e.g. "pred".

    Returns:
        The same rows in the same order, levels named `datetime` and `instrument`.

    Raises:
        ValueError: not two levels, a date that is no session label, or a duplicated row.
    """
    index = session_index(index, what)
    if not index.is_unique:
        first = index[index.duplicated()][0]
        raise ValueError(
            f"{what} has {int(index.duplicated().sum())} duplicated rows, the first is {first}; "
            "expected one row per (datetime, instrument): drop or average them first"
        )
    return index


def nothing_shared(left: pd.MultiIndex, right: pd.MultiIndex, names: tuple[str, str]) -> str:
    """Write the message about two sets of rows that have no row in common.

    Args:
        left: rows from `by_session_and_name`, at least one.
        right: the same.
        names: names of the two.
    """
    spans = (
        f"{name} has {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, {index[0][1]!r} first"
        for name, index in zip(names, (left, right), strict=True)
        for days in [index.levels[0].sort_values()]
    )
    return (
        f"{names[0]} and {names[1]} share no row ({'; '.join(spans)}): expected the same sessions "
        f"and instruments, spelt alike"
    )


def align_pairs(left: pd.Series, right: pd.Series, names: tuple[str, str]) -> AlignedPairs:
    """Outer-join two Series indexed by (datetime, instrument).

    Args:
        left: a Series or a frame of one column, rows in any order, levels in either order.
        right: the same.
        names: names of the two in errors.

    Returns:
        The aligned rows, sorted by session, then by instrument.

    Raises:
        TypeError: a frame of several columns, or neither a Series nor a frame.
        ValueError: an index that is not (datetime, instrument) or has duplicates, or two inputs
            that share no row.
    """
    series = [one_column(values, name) for values, name in zip((left, right), names, strict=True)]
    indexes = [
        by_session_and_name(values.index, name).remove_unused_levels()
        for values, name in zip(series, names, strict=True)
    ]
    # An empty Series has an object level; it adds no session and no name.
    axes = [index for index in indexes if len(index)]
    sessions = pd.DatetimeIndex([])
    instruments = pd.Index([])
    for k, index in enumerate(axes):
        days = pd.DatetimeIndex(index.levels[0])
        sessions = days if k == 0 else sessions.union(days)
        instruments = index.levels[1] if k == 0 else instruments.union(index.levels[1])
    sessions = session_axis(sessions)
    instruments = instruments.sort_values()
    width = max(len(instruments), 1)
    keys = [_keys(index, sessions, instruments, width) for index in indexes]
    same = np.array_equal(keys[0], keys[1])
    union = np.sort(keys[0] if same else np.concatenate(keys))  # (S,) and doubles
    # Not np.unique: it hashes, which takes ten times as long as this sort.
    union = union[np.r_[True, union[1:] != union[:-1]]] if len(union) else union
    if len(axes) == 2 and len(union) == len(keys[0]) + len(keys[1]):
        raise ValueError(nothing_shared(indexes[0], indexes[1], names))
    columns = []
    for values, key in zip(series, keys, strict=True):
        column = np.full(len(union), np.nan)
        column[np.searchsorted(union, key)] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        columns.append(column)
    return AlignedPairs(sessions, (union // width).astype(np.intp), columns[0], columns[1])


def _keys(
    index: pd.MultiIndex, sessions: pd.DatetimeIndex, instruments: pd.Index, width: int
) -> NDArray[np.int64]:
    """Compute the integer key of each row, [S]."""
    if not len(index):
        return np.empty(0, dtype=np.int64)
    session, name = positions(index, sessions, instruments)
    return session.astype(np.int64) * width + name


def positions(
    index: pd.MultiIndex, sessions: pd.DatetimeIndex, instruments: pd.Index
) -> tuple[IntArray, IntArray]:
    """Return each row's positions on the two axes, -1 for a label that an axis lacks."""
    session = sessions.get_indexer(index.levels[0])[np.asarray(index.codes[0])]
    name = instruments.get_indexer(index.levels[1])[np.asarray(index.codes[1])]
    return session.astype(np.intp), name.astype(np.intp)


def session_axis(days: pd.Index) -> pd.DatetimeIndex:
    """Return sorted sessions named `datetime`, without a frequency that pandas attached."""
    return pd.DatetimeIndex(days.sort_values().to_numpy(), name="datetime")


def to_table(
    values: pd.Series, index: pd.MultiIndex, sessions: pd.DatetimeIndex, instruments: pd.Index
) -> FloatArray:
    """Scatter indexed values into a dense table.

    Args:
        values: [S] numbers.
        index: [S] their (datetime, instrument) rows, from `by_session_and_name`.
        sessions: the T sessions of the table; rows of other sessions are left out.
        instruments: the N names of the table; rows of other names are left out.

    Returns:
        [T, N] float64, NaN where there is no row.
    """
    table = np.full((len(sessions), len(instruments)), np.nan)
    if len(index):
        session, name = positions(index, sessions, instruments)
        mask = (session >= 0) & (name >= 0)
        table[session[mask], name[mask]] = values.to_numpy(dtype=np.float64, na_value=np.nan)[mask]
    return table


def from_table(
    table: FloatArray, sessions: pd.DatetimeIndex, instruments: pd.Index, name: str
) -> pd.Series:
    """Gather the values of a [T, N] table as rows (datetime, instrument), sorted, without NaN."""
    day, column = np.nonzero(~np.isnan(table))
    index = pd.MultiIndex.from_arrays(
        [sessions[day], instruments[column]], names=["datetime", "instrument"]
    )
    return pd.Series(table[day, column], index=index, name=name)
