"""A plan of steps for expressions in the qlib semantics, each different step once.

Operators share more than sub-expressions: Std, Rsquare and Corr of one series need one variance,
Slope, Rsquare and Resi one regression, Max and IdxMax one scan. So operators are taken apart into
steps, and the key of a step is its function and its arguments. The plan also names the last reader
of each value, so that few arrays are alive at a time.

A plan is immutable and knows no market: threads share it. The trade is this second small language
between the expression and the kernels.

qlib: ops.py, every `_load_internal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from rnn_core.features.expression import Call, Expression, Field, Number, Text
from rnn_core.features.qlib import order
from rnn_core.features.qlib import rolling as roll
from rnn_core.features.qlib.pointwise import ELEMENTWISE, delta, ref
from rnn_core.features.qlib.series import Series, prepared, widened

Operand = int | float
"""An int is the number of a step, a float a constant."""


@dataclass(frozen=True)
class Step:
    """One function call.

    Args:
        function: takes the operands, then the constants; None reads a field or an instrument, which
            the constants name.
        operands: numbers of steps, for their values, and constants in their places.
        constants: window, share, sign; (field,) or (instrument, plan).
        node: the step's expression, for messages.
        frees: steps whose values no later step needs.
        rows: positions in the list of expressions whose value the step gives.
    """

    function: Callable[..., Any] | None
    operands: tuple[Operand, ...]
    constants: tuple[Any, ...]
    node: Expression
    frees: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()


Plan = tuple[Step, ...]


@lru_cache(maxsize=32)
def plan(nodes: tuple[Expression, ...]) -> Plan:
    """Plan the steps that give the values of the nodes.

    Args:
        nodes: parsed expressions.

    Returns:
        Steps in the order to run them.
    """
    builder = _Builder()
    rows: dict[int, list[int]] = {}
    for row, node in enumerate(nodes):
        rows.setdefault(builder.value(node), []).append(row)
    steps = builder.finished()
    last = {s: s for s in range(len(steps))}
    for s, step in enumerate(steps):
        last.update({o: s for o in step.operands if isinstance(o, int)})
    frees: dict[int, list[int]] = {}
    for value, s in last.items():
        frees.setdefault(s, []).append(value)
    return tuple(
        replace(step, frees=tuple(frees.get(s, ())), rows=tuple(rows.get(s, ())))
        for s, step in enumerate(steps)
    )


def pick(values: tuple[Series, ...], which: int) -> Series:
    """Return one of the results of a kernel with several."""
    return values[which]


class _Builder:
    """The steps so far, and their numbers."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.known: dict[Any, int] = {}
        self.values: dict[Expression, int] = {}
        self.statistics: dict[int, list[float]] = {}
        self.node: Expression = Number(0.0)

    def step(
        self, function: Callable[..., Any] | None, *operands: Operand, constants: Any = ()
    ) -> int:
        """Return the number of a step, added if it is new."""
        # A constant and a step of the same number are equal keys unless their types are told.
        key = (function, tuple((type(o), o) for o in operands), constants)
        if key not in self.known:
            self.known[key] = len(self.steps)
            self.steps.append(Step(function, operands, constants, self.node))
        return self.known[key]

    def value(self, node: Expression) -> int:
        """Return the step that gives the value of a field or a call."""
        if node not in self.values:
            self.values[node] = self._made(node)
        return self.values[node]

    def _made(self, node: Expression) -> int:
        if isinstance(node, Field):
            self.node = node
            return self.step(None, constants=(node.name,))
        if not isinstance(node, Call):
            raise TypeError(f"{node!r} has no value of its own")
        if node.name == "Mask":
            inner, code = node.arguments
            self.node = node
            assert isinstance(code, Text)  # noqa: S101 (the parser saw to it)
            return self.step(None, constants=(code.value, plan((inner,))))
        series = [self.value(argument) for argument in node.series]
        self.node = node
        if node.name in ELEMENTWISE:
            operands = [a.value if isinstance(a, Number) else self.value(a) for a in node.arguments]
            return self.step(ELEMENTWISE[node.name], *operands)
        if node.name in ("Ref", "Delta"):
            function = ref if node.name == "Ref" else delta
            return self.step(function, *series, constants=(int(node.constants[0]),))
        if len(series) == 2:
            return self._pair(node.name, series[0], series[1], int(node.constants[0]))
        return self._rolling(node.name, series[0], *node.constants)

    def _rolling(self, name: str, raw: int, window: float, share: float = 0.0) -> int:
        """Add an operator on the windows of one value."""
        n = int(window)
        if name in ("Slope", "Rsquare", "Resi"):
            lines = self.step(roll.line, self.step(widened, raw), constants=(n,))
            which = ("Slope", "Rsquare", "Resi").index(name)
            result = self.step(pick, lines, constants=(which,))
            if name == "Rsquare" and n:  # Over all of history pyqlib forgets the mask.
                result = self.step(roll.unflat, result, self._deviation(raw, n))
            return result
        if name == "Count":
            return self.step(roll.total, self.step(roll.present, raw), constants=(n,))
        x = self.step(prepared, raw)
        if name == "EMA" and window == 0:
            return self.step(roll.growing_exponential, x)
        if name == "EMA" or 0 < window < 1:
            return self.step(roll.exponential, x, constants=(window,))
        if name == "Std":
            return self._deviation(raw, n)
        if name in ("Max", "IdxMax", "Min", "IdxMin"):
            sign = 1.0 if name.endswith("Max") else -1.0
            both = self.step(roll.extreme, x, constants=(n, sign))
            return self.step(pick, both, constants=(int(name.startswith("Idx")),))
        if name in ("Quantile", "Med", "Rank"):
            return self._sorted(x, n, {"Med": order.MEDIAN, "Rank": order.RANK}.get(name, share))
        return self.step(WINDOWED[name], x, constants=(n,))

    def _sorted(self, x: int, n: int, statistic: float) -> int:
        """Add an order statistic; the complete list of them is known only at the end."""
        windows = self.step(roll.sorted_windows, x, constants=(n,))
        statistics = self.statistics.setdefault(windows, [])
        if statistic not in statistics:
            statistics.append(statistic)
        return self.step(pick, windows, constants=(statistics.index(statistic),))

    def finished(self) -> list[Step]:
        """Return the steps, with the list of order statistics filled in."""
        for s, statistics in self.statistics.items():
            step = self.steps[s]
            self.steps[s] = replace(step, constants=(*step.constants, tuple(statistics)))
        return self.steps

    def _deviation(self, raw: int, n: int) -> int:
        x = self.step(prepared, raw)
        return self.step(roll.root, self.step(roll.variance, x, constants=(n,)))

    def _pair(self, name: str, left: int, right: int, n: int) -> int:
        """Add Cov or Corr, over the sessions on which both values are finite."""
        a = self.step(prepared, self.step(roll.paired, left, right))
        b = self.step(prepared, self.step(roll.paired, right, left))
        means = [
            self.step(roll.mean, x, constants=(n,)) for x in (self.step(roll.product, a, b), a, b)
        ]
        count = self.step(roll.total, self.step(roll.pairs, a, b), constants=(n,))
        cov = self.step(roll.covariance, *means, count)
        if name == "Cov":
            return cov
        variances = [self.step(roll.variance, x, constants=(n,)) for x in (a, b)]
        result = self.step(roll.correlation, cov, *variances)
        if n == 0:
            return result
        return self.step(roll.unflat, result, self._deviation(left, n), self._deviation(right, n))


WINDOWED: Mapping[str, Callable[..., Series]] = MappingProxyType(
    {
        "Mean": roll.mean,
        "Sum": roll.total,
        "Var": roll.variance,
        "Skew": roll.skewness,
        "Kurt": roll.kurtosis,
        "Mad": roll.deviation,
        "WMA": roll.linear_weights,
    }
)
"""Operators that are one kernel on the windows of one value."""
