"""Lowering of expressions to values, equal parts once.

A value is a field, a constant, an element-wise operation on values, or a statistic. Statistics are
gathered into groups: all windows of all statistics of one series that share their work.

This module applies two rules of the strict semantics. Windows, references and conditions see no
value on a session without a row (EXIST, HOLD), whatever the formula gives there. And x/(y+1e-12),
with qlib's guard of a divisor, is x/y with a value where y is 0 (RATIO): added in the unit of the
prices, the guard would outweigh the range of a bar where prices are near 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rnn_core.features.expression import Call, Expression, Field, Number
from rnn_core.features.operators import decay_of, decay_sessions
from rnn_core.features.strict import codes

ELEMENTWISE = {
    "Add": codes.ADD,
    "Sub": codes.SUB,
    "Mul": codes.MUL,
    "Div": codes.DIV,
    "Power": codes.POWER,
    "Greater": codes.GREATER,
    "Less": codes.LESS,
    "Gt": codes.GT,
    "Ge": codes.GE,
    "Lt": codes.LT,
    "Le": codes.LE,
    "Eq": codes.EQ,
    "Ne": codes.NE,
    "And": codes.AND,
    "Or": codes.OR,
    "Abs": codes.ABS,
    "Sign": codes.SIGN,
    "Log": codes.LOG,
    "Not": codes.NOT,
    "If": codes.IF,
}
STATISTICS = {
    "Mean": (codes.MOMENTS, codes.MEAN),
    "Var": (codes.MOMENTS, codes.VAR),
    "Std": (codes.MOMENTS, codes.STD),
    "Slope": (codes.MOMENTS, codes.SLOPE),
    "Rsquare": (codes.MOMENTS, codes.RSQUARE),
    "Resi": (codes.MOMENTS, codes.RESI),
    "Corr": (codes.COMOMENTS, codes.CORR),
    "Cov": (codes.COMOMENTS, codes.COV),
    "Sum": (codes.SUMS, codes.SUM),
    "Count": (codes.SUMS, codes.COUNT),
    "Max": (codes.EXTREMES, codes.EXTREME),
    "Min": (codes.EXTREMES, codes.EXTREME),
    "IdxMax": (codes.EXTREMES, codes.POSITION),
    "IdxMin": (codes.EXTREMES, codes.POSITION),
    "Rank": (codes.RANKS, codes.RANK),
    "Quantile": (codes.QUANTILES, codes.QUANTILE),
    "Med": (codes.QUANTILES, codes.QUANTILE),
    "Mad": (codes.LAGGED, codes.MAD),
    "Skew": (codes.LAGGED, codes.SKEW),
    "Kurt": (codes.LAGGED, codes.KURT),
    "WMA": (codes.LAGGED, codes.WMA),
}
OF_CONDITIONS = {"Mean": codes.SHARE, "Sum": codes.SUM, "Count": codes.COUNT}
LINES = (codes.SLOPE, codes.RSQUARE, codes.RESI)
NEED_VALUES = ("Add", "Sub", "Mul", "Div", "Greater", "Less", "Abs", "Sign", "Log", "Delta")
"""Operators without a result if an argument is missing."""

GUARD = Number(1e-12)
"""The number that qlib's formulas add to a divisor, so that it is not 0."""

Key = tuple[Any, ...]
Value = int
"""A value of the program: its place in `Lowering.values`."""


@dataclass(eq=False)
class Group:
    """Statistics that share their work: all windows of one kind, series and q, if it has one."""

    kind: int
    operands: tuple[Value, ...]
    flag: int = 0
    asked: list[tuple[int, int, float, Value]] = field(default_factory=list)
    """Statistic, window, constant, value."""


class Lowering:
    """The values and groups of a set of expressions."""

    def __init__(self, history: int) -> None:
        self.history = history
        self.values: list[Key] = []
        self.places: dict[Key, Value] = {}
        self.nodes: dict[Expression, Value] = {}
        self.groups: dict[Key, Group] = {}

    def value(self, *key: Any) -> Value:
        """Return the one value of this kind."""
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(key)
        return self.places[key]

    def lower(self, node: Expression) -> Value:
        """Return the value of an expression."""
        if node not in self.nodes:
            if isinstance(node, Number):
                self.nodes[node] = self.value("constant", node.value)
            elif isinstance(node, Field):
                self.nodes[node] = self.value("input", node.name)
            elif isinstance(node, Call):
                self.nodes[node] = self.call(node)
            else:
                raise TypeError(f"{node!r} has no value of its own")
        return self.nodes[node]

    def call(self, node: Call) -> Value:
        """Return the value of an operator on its arguments."""
        if node.name == "Div" and (divisor := _guarded(node.arguments[1])) is not None:
            return self.op(codes.RATIO, self.lower(node.arguments[0]), self.lower(divisor))
        if node.name in ELEMENTWISE:
            return self.op(ELEMENTWISE[node.name], *(self.lower(a) for a in node.arguments))
        if node.name == "Mask":
            return self.value("input", node)
        if node.name in ("Ref", "Delta"):
            sessions = int(node.constants[0])
            x, series = self.lower(node.arguments[0]), self.seen(node.arguments[0])
            earlier = (
                self.op(codes.SHIFT, series, sessions) if sessions else self.op(codes.FIRST, series)
            )
            return earlier if node.name == "Ref" else self.op(codes.SUB, x, earlier)
        return self.statistic(node)

    def op(self, code: int, *operands: int) -> Value:
        """Return the value of an element-wise operation."""
        return self.value("op", code, *operands)

    def seen(self, node: Expression) -> Value:
        """Return a series for windows and references: missing on sessions without a row."""
        x = self.lower(node)
        if node.is_condition:
            return self.op(codes.HOLD, x)
        return x if _needs_row(node) else self.op(codes.EXIST, x)

    def statistic(self, node: Call) -> Value:
        """Return the value of a rolling operator, and note the statistic in its group."""
        series = node.series
        operands = tuple(self.seen(a) for a in series)
        window, constant = node.constants[0], 0.0
        if node.name == "EMA" and window == 0:
            kind, stat = codes.LAGGED, codes.GROWING_EMA
        elif node.name == "EMA" or 0 < window < 1:
            kind, stat = codes.DECAYED, codes.DECAYED_MEAN
            constant, window = decay_of(window), decay_sessions(window)
        elif node.name in OF_CONDITIONS and series[0].is_condition:
            kind, stat = codes.CONDITIONS, OF_CONDITIONS[node.name]
        else:
            kind, stat = STATISTICS[node.name]
        if node.name == "Quantile":
            constant = node.constants[1]
        elif node.name == "Med":
            constant = 0.5
        length = int(window) or self.history
        minimum = int(node.name in ("Min", "IdxMin"))
        apart: Any = minimum
        if kind == codes.QUANTILES:
            apart = length
        elif kind == codes.DECAYED:
            apart = (constant, length)
        group = self.groups.setdefault((kind, operands, apart), Group(kind, operands))
        if kind == codes.MOMENTS and stat in LINES:
            group.flag = 1
        if kind == codes.EXTREMES:
            group.flag |= minimum | 2 * (stat == codes.POSITION)
        result = self.value("statistic", (kind, operands, apart), stat, length, constant)
        if all(asked[3] != result for asked in group.asked):
            group.asked.append((stat, length, constant, result))
        return result


def _guarded(divisor: Expression) -> Expression | None:
    """Return a divisor without the guard that a sum or difference holds, None if it holds none."""
    if not isinstance(divisor, Call) or divisor.name not in ("Add", "Sub"):
        return None
    first, second = divisor.arguments
    if divisor.name == "Add" and GUARD in (first, second):
        return second if first == GUARD else first
    if (rest := _guarded(first)) is not None:
        return Call(divisor.name, (rest, second))
    if divisor.name == "Add" and (rest := _guarded(second)) is not None:
        return Call(divisor.name, (first, rest))
    return None


def _needs_row(node: Expression) -> bool:
    """True if a series is missing by itself on a session without a row."""
    if isinstance(node, Field):
        return True
    if isinstance(node, Call) and node.name in NEED_VALUES:
        return any(_needs_row(a) for a in node.series)
    return False
