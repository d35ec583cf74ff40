"""Values of the qlib semantics: numbers, and the sessions on which they exist.

pyqlib computes on one pandas series for each instrument, whose index is the instrument's span. Here
a chunk of instruments is one array, so the span travels beside the array. The span decides where
windows begin and which sessions a shift may read; cells outside the span may hold anything, so
arithmetic never clears them. Only `Mask` gives a value a span other than its instrument's: the one
row of the named instrument, which meets the others by broadcasting.

The result of two spans covers both, and is missing on sessions that either lacks (pandas aligns the
two indexes; qlib: data/base.py Expression.load).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Series:
    """One value of every instrument and session of a chunk.

    Args:
        values: [C, T], or [1, T] for one instrument seen by all; bool for conditions.
        start: [C] or [1], position of the first session of the span; T for an empty one.
        stop: [C] or [1], position after the last session of the span; 0 for an empty one.
    """

    values: Array
    start: Positions
    stop: Positions

    def like(self, values: Array) -> Series:
        """Return other values on the same span."""
        return Series(values, self.start, self.stop)


def limits(present: NDArray[np.bool_]) -> tuple[Positions, Positions]:
    """Return each instrument's first position and that after its last row; T and 0 without rows."""
    sessions = present.shape[1]
    some = present.any(axis=1)
    start = np.where(some, present.argmax(axis=1) if sessions else 0, sessions)
    stop = np.where(some, sessions - present[:, ::-1].argmax(axis=1) if sessions else 0, 0)
    return start.astype(np.int64), stop.astype(np.int64)


def blanked(series: Series, *, keep_conditions: bool = False) -> Array:
    """Return the values, missing outside the span (or false, with `keep_conditions`)."""
    at = np.arange(series.values.shape[1])
    inside = (at >= series.start[:, None]) & (at < series.stop[:, None])
    if series.values.dtype != np.bool_:
        return np.where(inside, series.values, series.values.dtype.type(np.nan))
    return series.values & inside if keep_conditions else np.where(inside, series.values, np.nan)


def meet(
    operands: tuple[Series | float, ...], *, keep_conditions: bool = False
) -> tuple[list[Any], Positions, Positions]:
    """Prepare operands for numpy: their values, and the span of the result.

    Args:
        operands: values and constants, at least one of them a value.
        keep_conditions: conditions outside their span become false, not missing numbers.

    Returns:
        The operands as arrays and numbers, and first and last position of the joint span.
    """
    series = [operand for operand in operands if isinstance(operand, Series)]
    first = series[0]
    start, stop = first.start, first.stop
    if all(s.start is start and s.stop is stop for s in series):
        return [o.values if isinstance(o, Series) else o for o in operands], start, stop
    for other in series[1:]:
        start, stop = np.minimum(start, other.start), np.maximum(stop, other.stop)
    ready = [
        blanked(o, keep_conditions=keep_conditions) if isinstance(o, Series) else o
        for o in operands
    ]
    return ready, start, stop


def widened(series: Series) -> Series:
    """Convert to float64 and keep infinities, as pyqlib does for its own regressions."""
    return series.like(series.values.astype(np.float64))


def prepared(series: Series) -> Series:
    """Convert to float64 without infinities or values after the span, as for pandas' kernels."""
    values = series.values.astype(np.float64)
    if series.values.dtype != np.bool_:
        values[np.isinf(values)] = np.nan
    for i in np.nonzero(series.stop < values.shape[1])[0]:
        values[i, series.stop[i] :] = np.nan
    return series.like(values)
