"""Checks and helpers for long frames: index levels, spans of sessions, column groups.

A long frame has an index of two levels, `datetime` (tz-naive session labels) and `instrument`,
and float columns. A frame with groups has two column levels, (group, name), e.g.
("feature", "KMID") and ("label", "LABEL0"). The helpers read the codes of the index instead of
its values, so that no label is hashed, sorted or copied on the way.

Shape letters of the package: T sessions, N instruments, F features, S samples, L window length,
B batch. R is the number of rows of a long frame, G the number of columns of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.caller import warn_caller
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.session_labels import LEVELS, session_index
from rnn_core.suggestions import near_matches

Group = str | Sequence[str]
Semantics = Literal["strict", "qlib"]

EVERY = "__all"
"""The group that is every column, the label included: qlib's fields_group=None."""


def long_index(df: pd.DataFrame | pd.Series[Any]) -> pd.MultiIndex:
    """Return the (datetime, instrument) index of a long frame, whose levels are named.

    Args:
        df: a frame or series with the two index levels `datetime` and `instrument`.

    Raises:
        ValueError: the index lacks these two levels, a key is missing (NaT or NaN), or a date is
            no session label.
    """
    if not isinstance(df.index, pd.MultiIndex) or set(df.index.names) != set(LEVELS):
        raise ValueError(
            f"expected an index with the levels 'datetime' and 'instrument', was given "
            f"{list(df.index.names)}: call df.set_index(['datetime', 'instrument'])"
        )
    return session_index(df.index, "the frame")


def index_level(df: pd.DataFrame | pd.Series[Any], name: str) -> tuple[pd.Index, NDArray[np.intp]]:
    """Return one level of a long frame's index.

    Args:
        df: a frame or series with the two index levels `datetime` and `instrument`.
        name: the level, `datetime` or `instrument`.

    Returns:
        The level's unique values (some may be unused) and the code of every row into them.

    Raises:
        ValueError: as `long_index`.
    """
    index, level = long_index(df), LEVELS.index(name)
    return index.levels[level], np.asarray(index.codes[level], dtype=np.intp)


def rows_between(
    df: pd.DataFrame | pd.Series[Any], start: pd.Timestamp | None, end: pd.Timestamp | None
) -> NDArray[np.bool_]:
    """Select the rows whose session lies in [start, end], both ends included.

    Args:
        df: a long frame.
        start: first session, or None for no bound.
        end: last session, or None for no bound.

    Returns:
        bool [R].
    """
    sessions, codes = index_level(df, "datetime")
    inside = np.ones(len(sessions), dtype=bool)
    if start is not None:
        inside &= np.asarray(sessions >= start)
    if end is not None:
        inside &= np.asarray(sessions <= end)
    return np.asarray(inside[codes])


def one_column(values: Any, what: str) -> pd.Series[Any]:
    """Return a series, or the only column of a frame, as qlib's code passes scores and labels.

    Args:
        values: a Series, or a frame of one column; or such a table of another library.
        what: name of the values in the error.

    Raises:
        TypeError: several columns, or neither a Series nor a frame.
    """
    values = as_frame(values)
    if isinstance(values, pd.Series):
        return values
    if isinstance(values, pd.DataFrame):
        if values.shape[1] == 1:
            return values.iloc[:, 0]
        raise TypeError(
            f"{what} is a frame of {values.shape[1]} columns {list(values.columns[:5])}, expected "
            f"a Series or a frame of one column: choose one, e.g. "
            f"{what}[{next(iter(values.columns), 'score')!r}]"
        )
    raise TypeError(
        f"{what} is {type(values).__name__}, expected a Series or a frame of one column"
    )


def group_names(
    fields_group: Group | None, owner: str, semantics: Semantics = "strict"
) -> str | tuple[str, ...]:
    """Check the groups that a processor acts on.

    Args:
        fields_group: a group or several, or `EVERY`. In qlib semantics None is `EVERY`, with a
            warning.
        owner: the class that acts on them, for the message.
        semantics: "strict" or "qlib".

    Returns:
        The one name, or the tuple of names.

    Raises:
        ValueError: `fields_group` is empty, or None in strict semantics; another `semantics`.
    """
    if semantics not in ("strict", "qlib"):
        raise ValueError(f"{owner} was given semantics={semantics!r}, expected 'strict' or 'qlib'")
    if fields_group is None and semantics == "qlib":
        warn_caller(
            f"{owner} has no fields_group and takes every column, the label included, as in "
            f"qlib: say fields_group='feature' to leave the label alone, or {EVERY!r} if it is "
            f"meant",
        )
        return EVERY
    if fields_group is None or not fields_group:
        raise ValueError(
            f"{owner} was given fields_group={fields_group!r}, which in qlib takes every column, "
            f"the label included: say fields_group='feature' (or 'label', or a list of groups), "
            f"or semantics='qlib' to do as qlib"
        )
    if isinstance(fields_group, str):
        return fields_group
    return tuple(str(g) for g in fields_group)


def group_positions(df: pd.DataFrame, fields_group: Group, owner: str) -> NDArray[np.intp]:
    """Find the columns of one group or several, in the frame's order.

    Args:
        df: a long frame with two-level columns (group, name).
        fields_group: a group or several, or `EVERY`.
        owner: the class that acts on them, for the message.

    Returns:
        int [G].

    Raises:
        ValueError: the columns are flat, or repeat a name.
        KeyError: the frame has no such group.
    """
    if df.columns.nlevels != 2:
        raise ValueError(
            f"{owner} expects two-level columns (group, name), was given flat columns "
            f"{list(df.columns[:3])}...: wrap them with pd.concat({{'feature': df}}, axis=1)"
        )
    if not df.columns.is_unique:
        repeats = df.columns[df.columns.duplicated()].tolist()
        raise ValueError(f"{owner} was given repeated columns {repeats[:3]}: keep one of each")
    if fields_group == EVERY:
        return np.arange(df.shape[1])
    groups = [fields_group] if isinstance(fields_group, str) else list(fields_group)
    labels = df.columns.get_level_values(0)
    for group in groups:
        if group not in labels:
            known = list(dict.fromkeys(labels))
            raise KeyError(
                f"{owner} found no columns of group {group!r}, the frame has {known}"
                f"{near_matches(group, known)}"
            )
    return np.flatnonzero(labels.isin(groups))


def float_values(df: pd.DataFrame, positions: NDArray[np.intp]) -> NDArray[Any]:
    """Copy the columns at `positions` into one float array, each column contiguous.

    float32 stays float32; any other type, or a mixture, becomes float64.

    Args:
        df: any frame.
        positions: int [G].

    Returns:
        [G, R], a copy that the caller may write to.
    """
    dtypes = {df.dtypes.iloc[p] for p in positions}
    dtype = np.float32 if dtypes == {np.dtype(np.float32)} else np.float64
    out = np.empty((len(positions), len(df)), dtype=dtype)
    for g, p in enumerate(positions):
        out[g] = df.iloc[:, p].to_numpy()
    return out  # [G, R]


def with_values(
    df: pd.DataFrame, positions: NDArray[np.intp], values: NDArray[Any]
) -> pd.DataFrame:
    """Return a new frame with the columns at `positions` replaced.

    The given frame stays as it is. A float32 column becomes float32 again, any other column takes
    the type of `values`.

    Args:
        df: any frame.
        positions: int [G].
        values: [G, R]; the new frame takes their memory, so do not use them afterwards.

    Returns:
        A frame with the same index and columns.
    """
    new = pd.DataFrame(
        values.T, index=df.index, columns=df.columns[positions], copy=False
    )  # [G, R] -> [R, G]
    if values.dtype != np.float32:
        single = [
            c
            for c, p in zip(new.columns, positions, strict=True)
            if df.dtypes.iloc[p] == np.float32
        ]
        if single:
            new = new.astype(dict.fromkeys(single, np.float32))
    if len(positions) == df.shape[1]:
        return new
    others = np.setdiff1d(np.arange(df.shape[1]), positions)
    place = np.concatenate([others, positions])
    out = pd.concat([df.iloc[:, others], new], axis=1)
    out.columns = df.columns[place]
    if (np.diff(place) == 1).all():
        return out
    return out.iloc[:, np.argsort(place)]
