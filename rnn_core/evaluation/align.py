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

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


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
        ValueError: not two levels, a first level that holds no dates or has a time zone, or a
            duplicated row.
    """
    if not isinstance(index, pd.MultiIndex) or index.nlevels != 2:
        raise ValueError(
            f"{what} has the index {list(index.names)}; expected two levels (datetime, instrument):"
            f" use {what}.set_index(['datetime', 'instrument']) or pd.MultiIndex.from_product"
        )
    if index.names[1] in ("datetime", "date") or index.names[0] == "instrument":
        index = index.swaplevel()
    # Dates without a time zone, and every row once.
    index = index.set_names(["datetime", "instrument"])
    days = index.levels[0]
    if len(index) and not isinstance(days, pd.DatetimeIndex):
        raise ValueError(
            f"the datetime level of {what} holds {days.dtype}, expected timestamps: "
            "convert it with pd.to_datetime first"
        )
    if isinstance(days, pd.DatetimeIndex) and days.tz is not None:
        raise ValueError(
            f"the datetime level of {what} has the time zone {days.tz}, expected session labels "
            "without one: use tz_localize(None)"
        )
    if not index.is_unique:
        first = index[index.duplicated()][0]
        raise ValueError(
            f"{what} has {int(index.duplicated().sum())} duplicated rows, the first is {first}; "
            "expected one row per (datetime, instrument): drop or average them first"
        )
    return index


def align_pairs(left: pd.Series, right: pd.Series, names: tuple[str, str]) -> AlignedPairs:
    """Outer-join two Series indexed by (datetime, instrument).

    Args:
        left: rows in any order, levels in either order.
        right: the same.
        names: names of the two in errors.

    Returns:
        The aligned rows, sorted by session, then by instrument.

    Raises:
        ValueError: an index that is not (datetime, instrument) or has duplicates.
    """
    indexes = [
        by_session_and_name(series.index, name).remove_unused_levels()
        for series, name in zip((left, right), names, strict=True)
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
    columns = []
    for series, key in zip((left, right), keys, strict=True):
        column = np.full(len(union), np.nan)
        column[np.searchsorted(union, key)] = series.to_numpy(dtype=np.float64, na_value=np.nan)
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
