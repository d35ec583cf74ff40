"""Checks for NaN and infinite cells of a frame or a sampler, before tensors are built.

One NaN feature in one batch turns every weight of a network into NaN (qlib masks NaN labels, not
NaN features; Q20 of its register). The check is made on the rows, because a message about rows can
name a column and a date, and a message about the loss cannot.

The rows of a `TSDataSampler` are those inside the windows of its samples, once each. Its windows
are checked too: a session without a row is a row of NaN unless `fillna_type` fills it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.sampler import TSDataSampler
from rnn_core.panel.frames import Group, group_names, group_positions, index_level

Date = Any  # a pd.Timestamp or pd.NaT, which has no public type

WORST = 5
"""Most columns that the error names."""

CHUNK_SAMPLES = 1_000_000
"""Samples whose windows are checked at a time."""


def finite_report(
    data: pd.DataFrame | TSDataSampler, *, group: Group | None = None
) -> pd.DataFrame:
    """Count the NaN and infinite cells of every column.

    Args:
        data: a long frame of numbers, flat or two-level columns, or a sampler.
        group: the group or groups to check, for two-level columns; None is every column.

    Returns:
        One row a column, in order: `nan` and `inf` (cells), `share` of the rows that are either,
        `first_nan` and `first_inf`, the earliest sessions with one (NaT where none).

    Raises:
        KeyError: no such group.

    Examples:
        >>> finite_report(frame)[["nan", "inf"]].values.tolist()
        [[1, 1], [3, 0]]
    """
    frame = pd.DataFrame(columns=data.columns) if isinstance(data, TSDataSampler) else data
    positions = np.arange(frame.shape[1])
    if group is not None:
        owner = "finite_report"
        positions = group_positions(frame, group_names(group, owner), owner)
    if isinstance(data, TSDataSampler):
        sessions, day, inside = _reached(data)
        matrix = data._store.matrix
        columns: Iterator[NDArray[Any]] = (matrix[:-1, p][inside] for p in positions)
    else:
        values, codes = index_level(data, "datetime")
        order = np.argsort(values.to_numpy(), kind="stable")
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order))
        sessions, day = pd.DatetimeIndex(values[order]), place[codes]
        columns = (_floats(data, int(p)) for p in positions)
    rows = [_count(x, sessions, day) for x in columns]
    names = ["nan", "inf", "share", "first_nan", "first_inf"]
    report = pd.DataFrame(rows, columns=names, index=frame.columns[positions])
    return report.astype({"first_nan": "datetime64[ns]", "first_inf": "datetime64[ns]"})


def require_finite(
    data: pd.DataFrame | TSDataSampler, limit: float = 0.0, *, group: Group | None = None
) -> None:
    """Raise if a column has more NaN or infinite cells than allowed.

    Args:
        data: a long frame of numbers, or a sampler.
        limit: share of a column's rows that may be NaN or infinite, 0 to 1; of a sampler also the
            share of windows that may hold a session without a row.
        group: the group or groups to check; None is every column. A label that is NaN on the last
            sessions is no defect: group="feature" leaves the label out.

    Raises:
        ValueError: a column has more; the worst are named first, with counts and first dates. Or
            a sampler's windows have rows of NaN. Or `limit` is outside [0, 1].

    Examples:
        >>> require_finite(frame, limit=0.5)
        >>> require_finite(frame)
        Traceback (most recent call last):
            ...
        ValueError: 2 of 2 columns exceed the limit of 0.00% cells without a finite ...
    """
    if not 0 <= limit <= 1:
        raise ValueError(f"limit is {limit}, expected a share between 0 and 1")
    report = finite_report(data, group=group)
    bad = report[report["share"] > limit].sort_values("share", ascending=False, kind="stable")
    if not bad.empty:
        more = f"; and {len(bad) - WORST} more" if len(bad) > WORST else ""
        examples = "; ".join(
            f"{'/'.join(map(str, name)) if isinstance(name, tuple) else name}: {_words(row)}"
            for name, (_, row) in zip(bad.index[:WORST], bad.iterrows(), strict=False)
        )
        raise ValueError(
            f"{len(bad)} of {len(report)} columns exceed the limit of {limit:.2%} cells without a "
            f"finite value, worst first ({examples}{more}): use Fillna for NaN and ProcessInf for "
            f"infinite values, or drop the column with DropCol"
        )
    if isinstance(data, TSDataSampler):
        _require_whole_windows(data, limit)


def _floats(frame: pd.DataFrame, position: int) -> NDArray[Any]:
    """Return a column in its own float type, or as float64 if it has none."""
    x = frame.iloc[:, position].to_numpy()
    return x if x.dtype.kind == "f" else frame.iloc[:, position].to_numpy(dtype=np.float64)


def _count(
    x: NDArray[Any], sessions: pd.DatetimeIndex, day: NDArray[np.intp]
) -> tuple[int, int, float, Date, Date]:
    """Compute a row of the report; x and day are [R], sessions sorted."""
    finite = np.isfinite(x)
    if finite.all():
        return 0, 0, 0.0, pd.NaT, pd.NaT
    nan = np.isnan(x)
    inf = ~finite & ~nan
    first_nan, first_inf = (sessions[day[m].min()] if m.any() else pd.NaT for m in (nan, inf))
    return int(nan.sum()), int(inf.sum()), float(1 - finite.mean()), first_nan, first_inf


def _words(row: pd.Series) -> str:
    """Describe a row of the report."""
    parts = [
        f"{row[kind]} {word} from {row[f'first_{kind}']:%Y-%m-%d}"
        for kind, word in (("nan", "NaN"), ("inf", "infinite"))
        if row[kind]
    ]
    return f"{' and '.join(parts)}, {row['share']:.2%} of the rows"


def _reached(
    sampler: TSDataSampler,
) -> tuple[pd.DatetimeIndex, NDArray[np.intp], NDArray[np.bool_]]:
    """Return the sessions, and the row mask and session places of all rows inside some window."""
    store, offsets = sampler._store, sampler._offsets
    change = np.zeros(len(store.matrix), dtype=np.int64)  # [R + 1]
    np.add.at(change, store.table[offsets] + 1, 1)  # the window's first row
    np.add.at(change, store.table[offsets + store.step_len] + 1, -1)  # the row after its last
    inside = np.cumsum(change[:-1]) > 0  # [R]
    day = (store.offsets % store.width)[inside]
    return store.sessions, day.astype(np.intp), inside


def _require_whole_windows(sampler: TSDataSampler, limit: float) -> None:
    """Raise if more windows than allowed hold a session without a row that is not filled."""
    store = sampler._store
    if sampler.fillna_type == "ffill+bfill" or sampler.empty:
        return
    count, example = 0, -1
    for start in range(0, len(sampler), CHUNK_SAMPLES):
        offsets = sampler._offsets[start : start + CHUNK_SAMPLES]
        before = store.table[offsets]
        if sampler.fillna_type == "none":
            gap = store.table[offsets + store.step_len] - before < store.step_len
        else:
            gap = store.table[offsets + 1] == before
        if example < 0 and gap.any():
            example = start + int(gap.argmax())
        count += int(gap.sum())
    if count > limit * len(sampler):
        date, name = sampler.get_index()[example]
        raise ValueError(
            f"{count} of {len(sampler)} windows hold a session without a row, which is a row of "
            f"NaN under fillna_type {sampler.fillna_type!r}, e.g. that of {name} on "
            f"{date:%Y-%m-%d}: call config(fillna_type='ffill+bfill')"
        )
