"""A set of expressions as one program for `machine`: what to compute, in which order, into what.

Planning takes three steps. Lowering turns the expressions into values, equal ones shared: fields,
constants, element-wise operations, and statistics, which are gathered into groups (all windows of
all statistics of one series that share their work). Scheduling walks the outputs in order and puts
each group in front of the first that needs it; everything element-wise in between becomes one run.
Allocation gives a value a register if it lives inside one run and otherwise a row of the workspace,
both handed on as soon as they are free: the workspace stays small enough for the cache.

Rules of the strict semantics that are settled here: a session without a row has no value for a
window, a reference or a condition to see (EXIST, HOLD), whatever the formula gives there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.expression import Call, Expression, Field, Number
from rnn_core.features.operators import decay_of, decay_sessions
from rnn_core.features.strict import codes
from rnn_core.features.strict.windows import levels

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
"""Operators that give nothing where an argument is missing."""

SCRATCH = {
    codes.MOMENTS: 3,
    codes.COMOMENTS: 5,
    codes.SUMS: 1,
    codes.CONDITIONS: 1,
    codes.EXTREMES: 2,
    codes.DECAYED: 2,
    codes.RANKS: 0,
}
"""Rows per level of each kind of group."""

Array = NDArray[Any]
Key = tuple[Any, ...]
Value = int
"""A value of the program: its place in `_Planner.values`."""


@dataclass(frozen=True)
class Program:
    """What `machine.execute` carries out.

    Args:
        inputs: what to load, one row each: names of fields, and for `Mask` its whole expression.
        code, ops, levels, requests, params: see `machine`.
        constants: values of the first registers.
        registers: how many there are.
        rows: of the workspace.
        geometries: how many.
    """

    inputs: tuple[str | Call, ...]
    code: Array
    ops: Array
    levels: Array
    requests: Array
    params: Array
    constants: tuple[float, ...]
    registers: int
    rows: int
    geometries: int


@dataclass(eq=False)
class _Group:
    """Statistics that share their work: all windows of one kind, series and, if it has one, q."""

    kind: int
    operands: tuple[Value, ...]
    flag: int = 0
    asked: list[tuple[int, int, float, Value]] = field(default_factory=list)
    """Statistic, window, constant, value."""


@dataclass
class _Run:
    """Element-wise operations carried out together."""

    values: list[Value] = field(default_factory=list)
    stores: list[tuple[int, Value]] = field(default_factory=list)
    order: list[tuple[str, int]] = field(default_factory=list)


@lru_cache(maxsize=32)
def compile_program(nodes: tuple[Expression, ...], history: int, least: int) -> Program:
    """Plan a set of expressions.

    Args:
        nodes: the outputs, in order.
        history: window that stands for all of history, from `windows.covering`.
        least: fewest values for a statistic; more than 1 makes extremes count theirs.

    Returns:
        The program.
    """
    planner = _Planner(history, least)
    outputs = [planner.lower(node) for node in nodes]
    return _Scheduler(planner).program(outputs)


class _Planner:
    """Expressions to values and groups."""

    def __init__(self, history: int, least: int) -> None:
        self.history = history
        self.least = least
        self.values: list[Key] = []
        self.places: dict[Key, Value] = {}
        self.nodes: dict[Expression, Value] = {}
        self.groups: dict[Key, _Group] = {}

    def value(self, *key: Any) -> Value:
        """The one value of this kind."""
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(key)
        return self.places[key]

    def lower(self, node: Expression) -> Value:
        """The value of an expression."""
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
        """The value of an operator on its arguments."""
        if node.name in ELEMENTWISE:
            return self.op(ELEMENTWISE[node.name], *(self.lower(a) for a in node.arguments))
        if node.name == "Mask":
            return self.value("input", node)
        if node.name in ("Ref", "Delta"):
            sessions = int(node.constants[0])
            x, seen = self.lower(node.arguments[0]), self.seen(node.arguments[0])
            earlier = self.op(codes.SHIFT, seen, sessions) if sessions else self.first(seen)
            return earlier if node.name == "Ref" else self.op(codes.SUB, x, earlier)
        return self.statistic(node)

    def op(self, code: int, *operands: int) -> Value:
        return self.value("op", code, *operands)

    def first(self, x: Value) -> Value:
        return self.op(codes.FIRST, x)

    def seen(self, node: Expression) -> Value:
        """A series as windows and references see it: nothing where there is no row."""
        x = self.lower(node)
        if node.is_condition:
            return self.op(codes.HOLD, x)
        return x if _needs_row(node) else self.op(codes.EXIST, x)

    def statistic(self, node: Call) -> Value:
        """The value of a rolling operator, noted in its group."""
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
        group = self.groups.setdefault((kind, operands, apart), _Group(kind, operands))
        if kind == codes.MOMENTS and stat in LINES:
            group.flag = 1
        if kind == codes.EXTREMES:
            group.flag |= minimum | 2 * (stat == codes.POSITION)
        result = self.value("statistic", (kind, operands, apart), stat, length, constant)
        if all(asked[3] != result for asked in group.asked):
            group.asked.append((stat, length, constant, result))
        return result


def _needs_row(node: Expression) -> bool:
    """Whether a series is missing by itself where there is no row."""
    if isinstance(node, Field):
        return True
    if isinstance(node, Call) and node.name in NEED_VALUES:
        return any(_needs_row(a) for a in node.series)
    return False


class _Scheduler:
    """Values and groups to instructions."""

    def __init__(self, planner: _Planner) -> None:
        self.values = planner.values
        self.groups = planner.groups
        self.least = planner.least
        self.items: list[_Run | _Group] = [_Run()]
        self.made: dict[Value, int] = {}  # value -> item that computes it
        self.whole: set[Value] = set()  # values that need a row
        self.used: dict[Value, int] = {}  # value -> last item that reads it

    def program(self, outputs: Sequence[Value]) -> Program:
        """Schedule and allocate."""
        for feature, output in enumerate(outputs):
            self.need(output)
            run = self.run()
            run.order.append(("store", len(run.stores)))
            run.stores.append((feature, output))
            self.read(output)
        return _Allocator(self).program()

    @property
    def now(self) -> int:
        return len(self.items) - 1

    def run(self) -> _Run:
        """The run under way."""
        last = self.items[-1]
        if not isinstance(last, _Run):
            last = _Run()
            self.items.append(last)
        return last

    def read(self, value: Value) -> None:
        """Note that the item under way reads a value."""
        self.used[value] = self.now
        if self.values[value][0] == "op" and self.made[value] != self.now:
            self.whole.add(value)

    def need(self, value: Value) -> None:
        """Schedule whatever gives a value."""
        kind, *rest = self.values[value]
        if kind in ("input", "constant") or value in self.made:
            return
        if kind == "statistic":
            self.need_group(self.groups[rest[0]])
            return
        code, *operands = rest
        arguments = operands[:1] if code == codes.SHIFT else operands
        for operand in arguments:
            self.need(operand)
        self.run()
        if code == codes.FIRST or (code == codes.SHIFT and operands[1] < 0):
            self.finish(operands[0])
        run = self.run()
        self.made[value] = self.now
        run.order.append(("op", len(run.values)))
        run.values.append(value)
        for operand in arguments:
            self.read(operand)
        if code in (codes.SHIFT, codes.FIRST) and self.values[operands[0]][0] == "op":
            self.whole.add(operands[0])

    def finish(self, value: Value) -> None:
        """Begin a new run if the one under way is what computes `value`."""
        if self.made.get(value) == self.now:
            self.items.append(_Run())

    def need_group(self, group: _Group) -> None:
        """Schedule a group."""
        for operand in group.operands:
            self.need(operand)
        self.items.append(group)
        for operand in group.operands:
            self.read(operand)
        for *_, value in group.asked:
            self.made[value] = self.now


class _Allocator:
    """A schedule to rows, registers and arrays."""

    def __init__(self, schedule: _Scheduler) -> None:
        self.schedule = schedule
        self.values = schedule.values
        self.inputs = [key[1] for key in self.values if key[0] == "input"]
        constants = [key[1] for key in self.values if key[0] == "constant"]
        self.constants = (1.0, *constants)  # the first register: every session is kept
        self.rows: dict[Value, int] = {}
        self.registers: dict[Value, int] = {}
        self.free_rows: list[int] = []
        self.free_registers: list[int] = []
        self.row_count = codes.FIELDS + len(self.inputs)
        self.register_count = len(self.constants)
        for value, key in enumerate(self.values):
            if key[0] == "input":
                self.rows[value] = codes.FIELDS + self.inputs.index(key[1])
            elif key[0] == "constant":
                self.registers[value] = 1 + constants.index(key[1])
        self.code: list[list[int]] = []
        self.ops: list[tuple[int, ...]] = []
        self.levels: list[tuple[int, int, int]] = []
        self.requests: list[tuple[int, int, int, int]] = []
        self.params: list[float] = []
        self.scratch = 0
        self.geometries: dict[Key, int] = {}

    def program(self) -> Program:
        ending: dict[int, list[Value]] = {}
        for value, reader in self.schedule.used.items():
            ending.setdefault(reader, []).append(value)
        for place, item in enumerate(self.schedule.items):
            if isinstance(item, _Group):
                self.group(item)
            elif item.order:
                self.run(item)
            for value in ending.get(place, []):
                if self.values[value][0] != "input" and value in self.rows:
                    self.free_rows.append(self.rows[value])
        return self.finished()

    def finished(self) -> Program:
        """Give geometries and scratch their rows, behind the others."""
        base = self.row_count
        first: list[int] = []
        for chain in self.geometries:
            first.append(base)
            base += codes.GEOMETRY_ROWS * len(chain)
        for instruction in self.code:
            if instruction[0] != codes.RUN:
                instruction[8] = base
                instruction[10] = first[instruction[7]] if instruction[7] >= 0 else 0
        return Program(
            inputs=tuple(self.inputs),
            code=np.array(self.code, dtype=np.int64).reshape(-1, 11),
            ops=np.array(self.ops, dtype=np.int64).reshape(-1, 5),
            levels=np.array(self.levels, dtype=np.int64).reshape(-1, 3),
            requests=np.array(self.requests, dtype=np.int64).reshape(-1, 4),
            params=np.array(self.params, dtype=np.float64),
            constants=self.constants,
            registers=self.register_count,
            rows=base + self.scratch,
            geometries=len(self.geometries),
        )

    def row(self, value: Value) -> int:
        """A row for a value."""
        if not self.free_rows:
            self.free_rows.append(self.row_count)
            self.row_count += 1
        self.rows[value] = self.free_rows.pop()
        return self.rows[value]

    def register(self, value: Value) -> int:
        """A register for a value."""
        if not self.free_registers:
            self.free_registers.append(self.register_count)
            self.register_count += 1
        self.registers[value] = self.free_registers.pop()
        return self.registers[value]

    def operand(self, value: Value) -> int:
        """How an operation names a value."""
        return self.rows[value] if value in self.rows else -1 - self.registers[value]

    def run(self, item: _Run) -> None:
        """Operations of a run; a register is free again after the last that reads it."""
        start = len(self.ops)
        last: dict[Value, int] = {}
        for step, (kind, k) in enumerate(item.order):
            for operand in self.read(item, kind, k):
                last[operand] = step
        for step, (kind, k) in enumerate(item.order):
            operands = self.read(item, kind, k)
            if kind == "store":
                feature, value = item.stores[k]
                self.ops.append((codes.STORE, feature, self.operand(value), 0, 0))
            else:
                value = item.values[k]
                _, code, *given = self.values[value]
                target = (
                    self.row(value) if value in self.schedule.whole else -1 - self.register(value)
                )
                named = [self.operand(v) for v in operands]
                if code == codes.SHIFT:
                    named.append(given[1])
                self.ops.append((code, target, *named, *[0] * (3 - len(named))))
            for operand in set(operands):
                temporary = self.values[operand][0] == "op" and operand in self.registers
                if last[operand] == step and temporary:
                    self.free_registers.append(self.registers[operand])
        self.code.append([codes.RUN, start, len(self.ops), *[0] * 8])

    def read(self, item: _Run, kind: str, k: int) -> tuple[Value, ...]:
        """The values that a step of a run reads."""
        if kind == "store":
            return (item.stores[k][1],)
        _, code, *operands = self.values[item.values[k]]
        return tuple(operands[:1] if code == codes.SHIFT else operands)

    def group(self, item: _Group) -> None:
        """A group's windows, requests and rows."""
        chain: tuple[tuple[int, int, int], ...] = ()
        kind = item.kind
        if kind in SCRATCH:
            chain = levels(length for _, length, _, _ in item.asked)
            self.scratch = max(self.scratch, SCRATCH[kind] * len(chain))
        counted = kind in (codes.MOMENTS, codes.COMOMENTS, codes.SUMS, codes.RANKS)
        counted = counted or (kind == codes.EXTREMES and self.schedule.least > 1)
        geometry = self.geometries.setdefault(chain, len(self.geometries)) if counted else -1
        lengths = [length for length, _, _ in chain]
        item.asked.sort(key=lambda asked: asked[1])  # RANKS emits the short windows first
        requests = [
            (stat, lengths.index(length) if chain else length, self.row(value), self.param(q))
            for stat, length, q, value in item.asked
        ]
        x = self.rows[item.operands[0]]
        y = self.rows[item.operands[-1]]
        self.code.append(
            [
                *(kind, x, y, len(self.levels), len(self.levels) + len(chain)),
                *(len(self.requests), len(self.requests) + len(requests)),
                *(geometry, 0, item.flag, 0),
            ]
        )
        self.levels.extend(chain)
        self.requests.extend(requests)

    def param(self, value: float) -> int:
        """Where a constant of a statistic is kept."""
        if value not in self.params:
            self.params.append(value)
        return self.params.index(value)
