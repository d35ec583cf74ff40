"""The operators of the expression language: one table of arity, reach and function.

A new operator is one entry. `reads` says which sessions of its arguments one result needs, from
which the look-back and look-ahead of any expression follow; `compute` works on whole [N, T]
arrays, whose rows (instruments) never meet.

qlib: data/ops.py, the element-wise, pair-wise and triple-wise operators and Ref. Greater and Less
are the larger and the smaller of two values; Gt and Lt compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Argument = Literal["series", "value", "condition", "sessions"]


def _same_session(*_: float) -> tuple[int, int]:
    """Element-wise operators read the session of the result."""
    return 0, 0


@dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        name: as written in an expression.
        arguments: what each argument must be: a "series" (not a bare number), a "value" (either),
            a "condition" (the result of a comparison) or a number of "sessions" (a whole,
            non-zero constant).
        compute: (rows, *arguments) -> [N, T], rows [N, T] being those that exist.
        result: whether it gives numbers or conditions.
        reads: (constants of kind "sessions") -> first and last session read, relative to the
            result's: (0, 0) for its own, (-4, 0) for the last five, (2, 2) for two ahead.
    """

    name: str
    arguments: tuple[Argument, ...]
    compute: Callable[..., Array]
    result: Literal["number", "condition"] = "number"
    reads: Callable[..., tuple[int, int]] = _same_session


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    """An operator that looks at each cell alone."""

    def compute(_rows: NDArray[np.bool_], *arguments: Any) -> Array:
        result: Array = function(*arguments)
        return result

    return compute


def _sign(x: Array) -> Array:
    """Sign of a number or a condition; conditions have no sign in numpy, so they become numbers."""
    signs: Array = np.sign(x.astype(np.float32) if x.dtype == np.bool_ else x)
    return signs


def _if(condition: Array, yes: Any, no: Any) -> Array:
    """One value where the condition holds, the other where not; missing where it is missing.

    numpy takes NaN for true, and so qlib does; the evaluator of the strict semantics masks it.
    """
    chosen: Array = np.where(condition, yes, no)
    return chosen


def _ref(rows: NDArray[np.bool_], x: Array, sessions: float) -> Array:
    """The value `sessions` earlier (later if negative), missing where there was no row."""
    n = int(sessions)
    kind = np.float64 if x.dtype == np.bool_ else x.dtype
    out: Array = np.full(x.shape, np.nan, dtype=kind)
    length = x.shape[1] - abs(n)
    if length > 0:
        source = slice(0, length) if n > 0 else slice(-n, None)
        target = slice(n, None) if n > 0 else slice(0, length)
        out[:, target] = np.where(rows[:, source], x[:, source], out[:, target])
    return out


def _shift(n: float) -> tuple[int, int]:
    """Ref reads exactly one session."""
    return -int(n), -int(n)


_PAIRS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Power": np.power,
    "Greater": np.maximum,
    "Less": np.minimum,
}
_COMPARISONS: dict[str, Callable[..., Any]] = {
    "Gt": np.greater,
    "Ge": np.greater_equal,
    "Lt": np.less,
    "Le": np.less_equal,
    "Eq": np.equal,
    "Ne": np.not_equal,
}


def _table() -> dict[str, Operator]:
    entries = [
        Operator("Abs", ("series",), _elementwise(np.abs)),
        Operator("Sign", ("series",), _elementwise(_sign)),
        Operator("Log", ("series",), _elementwise(np.log)),
        Operator("Not", ("condition",), _elementwise(np.logical_not), "condition"),
        Operator("And", ("condition", "condition"), _elementwise(np.logical_and), "condition"),
        Operator("Or", ("condition", "condition"), _elementwise(np.logical_or), "condition"),
        Operator("If", ("series", "value", "value"), _elementwise(_if)),
        Operator("Ref", ("series", "sessions"), _ref, reads=_shift),
    ]
    entries += [Operator(k, ("value", "value"), _elementwise(f)) for k, f in _PAIRS.items()]
    entries += [
        Operator(k, ("value", "value"), _elementwise(f), "condition")
        for k, f in _COMPARISONS.items()
    ]
    return {entry.name: entry for entry in entries}


OPERATORS: Mapping[str, Operator] = MappingProxyType(_table())
"""Name to operator."""
