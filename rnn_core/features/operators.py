"""The operators of the expression language: one table of arity and reach.

The parser checks an expression against the table, and the nodes take their look-back from it. The
numbers are computed elsewhere, once for each semantics: `strict` and `qlib`.

Windows. N >= 1 is the last N sessions; N = 0 is everything up to the session (pandas' expanding);
0 < N < 1 is exponential weighting with alpha = N, which only Mean and EMA have: pyqlib accepts such
an N for every rolling operator and silently gives the exponential mean.

qlib: data/ops.py. Greater and Less are the larger and the smaller of two values; Gt and Lt compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Argument = Literal[
    "series", "value", "condition", "sessions", "window", "decay", "share", "instrument"
]

UNBOUNDED = 1 << 30
"""Look-back of an expression that reads all of history, in sessions: more than any market has."""

MOST_SESSIONS = 100_000
"""The longest window or shift, in sessions: four centuries of them."""

LISTED = 60
"""Sessions before its own that tell a young name from a suspended one, in strict semantics.

Some operators number or count the sessions of a window, which for a young name is as short as its
history. All of history would be the judge in pyqlib; here it is at least these sessions, so that
the answer needs a bounded look-back (Alpha158's own, by which no column of it needs more)."""

TAIL = 1e-8
"""Weight beyond which exponential weighting is cut off: below the rounding of float32."""


def decay_of(window: float) -> float:
    """Return alpha of an exponential window: N itself below 1, else 2/(N+1), pandas' span."""
    return window if window < 1 else 2.0 / (window + 1.0)


def decay_sessions(window: float) -> int:
    """Count the sessions whose weight (1 - alpha)^k is above `TAIL`."""
    alpha = decay_of(window)
    return 1 if alpha >= 1 else max(1, math.ceil(math.log(TAIL) / math.log1p(-alpha)))


def _same_session(*_: float) -> tuple[int, int]:
    """Reach of element-wise operators, which read the session of the result."""
    return 0, 0


def _shift(n: float) -> tuple[int, int]:
    """Reach of Ref, which reads exactly one session, or the first of all."""
    return (-int(n), -int(n)) if n else (-UNBOUNDED, 0)


def _change(n: float) -> tuple[int, int]:
    """Reach of Delta, which reads its own session and that of Ref."""
    first, last = _shift(n)
    return min(first, 0), max(last, 0)


def _window(n: float, *_: float) -> tuple[int, int]:
    """Reach of a window, which reads its sessions."""
    if n == 0:
        return -UNBOUNDED, 0
    return 1 - (int(n) if n >= 1 else decay_sessions(n)), 0


def _exponential(n: float) -> tuple[int, int]:
    """Reach of EMA, which reads as far as its weights matter."""
    return (1 - decay_sessions(n), 0) if n else (-UNBOUNDED, 0)


@dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        name: as written in an expression.
        arguments: what each argument must be: a "series" (not a bare number), a "value" (either),
            a "condition" (the result of a comparison), or a constant: a whole number of
            "sessions", a "window" (a whole number, 0 for all of history), a "decay" (that, or
            between 0 and 1), a "share" (0 to 1) or the name of an "instrument".
        result: whether it gives numbers or conditions.
        reads: (constants) -> first and last session read, relative to the result's: (0, 0) for
            its own, (-4, 0) for the last five, (2, 2) for two ahead.
        least: the shortest window that it has a value for.
        numbers: whether it numbers the sessions of a window: "always", or of "conditions" only.
    """

    name: str
    arguments: tuple[Argument, ...]
    result: Literal["number", "condition"] = "number"
    reads: Callable[..., tuple[int, int]] = _same_session
    least: int = 1
    numbers: Literal["never", "conditions", "always"] = "never"


def _table() -> dict[str, Operator]:
    entries = [Operator(name, ("series",)) for name in ("Abs", "Sign", "Log")]
    entries += [
        Operator(name, ("value", "value"))
        for name in ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")
    ]
    entries += [
        Operator(name, ("value", "value"), "condition")
        for name in ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")
    ]
    entries += [
        Operator("Not", ("condition",), "condition"),
        Operator("And", ("condition", "condition"), "condition"),
        Operator("Or", ("condition", "condition"), "condition"),
        Operator("If", ("series", "value", "value")),
        Operator("Mask", ("series", "instrument")),
        Operator("Ref", ("series", "sessions"), reads=_shift),
        Operator("Delta", ("series", "sessions"), reads=_change),
        Operator("Mean", ("series", "decay"), reads=_window, numbers="conditions"),
        Operator("Count", ("series", "window"), reads=_window, numbers="conditions"),
        Operator("EMA", ("series", "decay"), reads=_exponential),
        Operator("Skew", ("series", "window"), reads=_window, least=3),
        Operator("Kurt", ("series", "window"), reads=_window, least=4),
        Operator("Quantile", ("series", "window", "share"), reads=_window),
    ]
    entries += [
        Operator(name, ("series", "window"), reads=_window)
        for name in (
            *("Sum", "Std", "Var", "Max", "Min", "Med", "Mad", "Rank", "Slope", "Rsquare", "Resi"),
        )
    ]
    entries += [
        Operator(name, ("series", "window"), reads=_window, numbers="always")
        for name in ("IdxMax", "IdxMin", "WMA")
    ]
    entries += [
        Operator(name, ("series", "series", "window"), reads=_window) for name in ("Corr", "Cov")
    ]
    return {entry.name: entry for entry in entries}


OPERATORS: Mapping[str, Operator] = MappingProxyType(_table())
"""Name to operator."""
