"""Evaluation in the qlib semantics, for one chunk of instruments: pyqlib 0.9.7's numbers.

The dtypes are part of the numbers: raw fields are float32 and arithmetic between them stays float32
(which decides ties, and so ranks and masks); every rolling statistic reads and returns float64; the
result is cast at the end. Windows start at an instrument's first row and count its suspended
sessions, and values exist on suspended sessions too; outside its span all is NaN.

It differs from pyqlib in five points:
- History begins with the panel. pyqlib loads only as many sessions before the first requested one
  as an expression's windows need, so there every operator that remembers more (N=0, exponential
  weights, regressions, running sums) depends on the query.
- `Mask` of an instrument with another span: pyqlib refuses to compare, choose between and correlate
  the two; here the sessions that one lacks are missing.
- A shifted condition is a number or missing. In pyqlib it is a Python object, of which Log is
  refused, and the larger of a missing one and a value is the value.
- Corr and Cov over all of history (N=0) fail in pyqlib; here they are pandas' expanding ones, and
  no window is masked as flat.
- An unknown field or instrument is an error, not an empty column.

Each step is a numpy call or a small kernel, not a part of one fused pass: it is then pyqlib's own
operation in pyqlib's dtype, so the rounding agrees by itself.

qlib: ops.py; data/data.py LocalExpressionProvider.expression (the final cast).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.expression import Expression
from rnn_core.features.qlib.plan import Plan, Step, plan
from rnn_core.features.qlib.series import Positions, Series, blanked, limits
from rnn_core.panel.panel import Panel, instrument_position

Array = NDArray[Any]


def evaluate(
    panel: Panel, nodes: Sequence[Expression], first: int, last: int, out: Array, place: int
) -> None:
    """Evaluate expressions for the instruments first .. last-1.

    Args:
        panel: the market.
        nodes: the F expressions.
        first, last: range of instruments.
        out: [F, *, T], float32 for pyqlib's numbers, float64 for the numbers before the final cast.
            Every cell of the range is written, NaN outside an instrument's span.
        place: position in `out` of the first instrument.

    Raises:
        ValueError: on a field that the panel lacks, an unknown instrument, or conditions where
            pyqlib needs numbers.
    """
    if first >= last:
        return
    chunk = _Chunk(panel, first, last, *limits(panel.present[first:last]))
    with np.errstate(all="ignore"):
        _run(chunk, plan(tuple(nodes)), out[:, place : place + last - first])
        for i in np.nonzero((chunk.start > 0) | (chunk.stop < panel.shape[1]))[0]:
            out[:, place + i, : chunk.start[i]] = np.nan
            out[:, place + i, chunk.stop[i] :] = np.nan


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Instruments first .. last-1 of a panel, with the limits of their spans."""

    panel: Panel
    first: int
    last: int
    start: Positions
    stop: Positions

    def field(self, name: str) -> Series:
        """Read a field as float32, missing without a row."""
        fields = self.panel.fields
        if name not in fields:
            raise ValueError(f"no field ${name} in the panel: it has {sorted(fields)}")
        rows = slice(self.first, self.last)
        values = fields[name][rows].astype(np.float32)
        values[~self.panel.present[rows]] = np.nan
        return Series(values, self.start, self.stop)


def _run(chunk: _Chunk, steps: Plan, out: Array | None) -> Series:
    """Run the steps, write the requested results, and return the last one."""
    values: dict[int, Any] = {}
    result: Any = None
    for s, step in enumerate(steps):
        result = values[s] = _value(chunk, step, values)
        if out is not None and step.rows:
            numbers = result.values
            if result.start is not chunk.start:
                numbers = blanked(result)
            for row in step.rows:
                out[row] = numbers
        for used in step.frees:
            del values[used]
    return result  # type: ignore[no-any-return]


def _value(chunk: _Chunk, step: Step, values: dict[int, Any]) -> Any:
    """Compute the value of one step."""
    if step.function is None:
        if len(step.constants) == 1:
            return chunk.field(*step.constants)
        return _seen(chunk.panel, *step.constants)
    operands = (values[o] if isinstance(o, int) else o for o in step.operands)
    try:
        return step.function(*operands, *step.constants)
    except TypeError as cause:
        raise ValueError(
            f"{step.node} has no value in qlib's semantics, where conditions are not numbers:"
            ' use If(condition, 1, 0) or semantics="strict"'
        ) from cause


def _seen(panel: Panel, code: str, inner: Plan) -> Series:
    """Evaluate an expression on one instrument, for all others to read.

    pyqlib finds the instrument's files by its code in lower case.
    """
    at = instrument_position(panel, code)
    return _run(_Chunk(panel, at, at + 1, *limits(panel.present[at : at + 1])), inner, None)
