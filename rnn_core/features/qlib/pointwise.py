"""Operators on single sessions, and shifts, in the qlib semantics, with pyqlib's dtypes.

The dtypes are part of the numbers: fields are float32 and a constant does not widen them, which
decides ties and all that counts them; a comparison gives bool and is false for a missing value.
Conditions in arithmetic follow pandas' bool: they add as `or` and multiply as `and`, turn into
numbers beside a number, and cannot be subtracted, divided or raised.

qlib: ops.py NpElemOperator, NpPairOperator, If, Ref, Delta.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from rnn_core.features.qlib.series import Array, Series, meet

Function = Callable[..., Series]


def _lifted(function: Callable[..., Any], *, keep_conditions: bool = False) -> Function:
    """Turn a numpy function into one of values and constants."""

    def apply(*operands: Series | float) -> Series:
        ready, start, stop = meet(operands, keep_conditions=keep_conditions)
        return Series(function(*ready), start, stop)

    return apply


def _refused(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Refuse two conditions, as pandas does, though numpy would take them."""

    def apply(a: Any, b: Any) -> Any:
        if all(getattr(x, "dtype", None) == np.bool_ for x in (a, b)):
            raise TypeError("two conditions")
        return function(a, b)

    return apply


def _power(a: Any, b: Any) -> Any:
    """Raise a to b by the operator `**`, whose squares and roots differ from np.power's."""
    return a**b


def _sign(x: Array) -> Array:
    """Return the sign in float32, whatever the dtype of x."""
    signs: Array = np.sign(x.astype(np.float32))
    return signs


ELEMENTWISE: Mapping[str, Function] = MappingProxyType(
    {
        "Abs": _lifted(np.abs),
        "Sign": _lifted(_sign),
        "Log": _lifted(np.log),
        "Not": _lifted(np.logical_not, keep_conditions=True),
        "Add": _lifted(operator.add),
        "Sub": _lifted(operator.sub),
        "Mul": _lifted(operator.mul),
        "Div": _lifted(_refused(operator.truediv)),
        "Power": _lifted(_refused(_power)),
        "Greater": _lifted(np.maximum),
        "Less": _lifted(np.minimum),
        "Gt": _lifted(operator.gt, keep_conditions=True),
        "Ge": _lifted(operator.ge, keep_conditions=True),
        "Lt": _lifted(operator.lt, keep_conditions=True),
        "Le": _lifted(operator.le, keep_conditions=True),
        "Eq": _lifted(operator.eq, keep_conditions=True),
        "Ne": _lifted(operator.ne, keep_conditions=True),
        "And": _lifted(operator.and_, keep_conditions=True),
        "Or": _lifted(operator.or_, keep_conditions=True),
        # numpy takes NaN for true, and so does pyqlib.
        "If": _lifted(np.where),
    }
)
"""Name to function of values and constants."""


def ref(series: Series, sessions: int) -> Series:
    """Return the value `sessions` earlier (later if negative; 0: first session of the span).

    A shifted condition is a number, missing where there was no session.
    """
    if sessions == 0:
        return series.like(np.broadcast_to(_first(series), series.values.shape).copy())
    values = series.values
    total = values.shape[1]
    kind = np.dtype(np.float64) if values.dtype == np.bool_ else values.dtype
    out = np.full(values.shape, np.nan, dtype=kind)
    if abs(sessions) >= total:
        return series.like(out)
    if sessions > 0:
        out[:, sessions:] = values[:, :-sessions]
        for i in np.nonzero(series.start > 0)[0]:
            out[i, : series.start[i] + sessions] = np.nan
    else:
        out[:, :sessions] = values[:, -sessions:]
        for i in np.nonzero(series.stop < total)[0]:
            out[i, max(series.stop[i] + sessions, 0) :] = np.nan
    return series.like(out)


def delta(series: Series, sessions: int) -> Series:
    """Return the change since `ref`'s value; also of conditions, except since the first."""
    earlier = _first(series) if sessions == 0 else ref(series, sessions).values
    return series.like(series.values - earlier)


def _first(series: Series) -> Array:
    """Return the value on the first session of the span, [C, 1]."""
    at = np.minimum(series.start, series.values.shape[1] - 1)
    return np.take_along_axis(series.values, at[:, None], axis=1)
