"""A set of expressions as one program for `machine`.

`lowering` finds the values to compute and `op_schedule` their order. This module gives every value
a place: a register if it lives inside one run, otherwise a row of the workspace. Free places are
used again at once, so the workspace stays small enough for the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.expression import Call, Expression
from rnn_core.features.strict import codes
from rnn_core.features.strict.lowering import Group, Key, Lowering, Value
from rnn_core.features.strict.op_schedule import Run, Schedule
from rnn_core.features.strict.rolling_windows import levels

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


@dataclass(frozen=True)
class Program:
    """A program for `machine.execute`.

    Args:
        inputs: inputs, one row each: names of fields, and for `Mask` its whole expression.
        code, ops, levels, requests, params: see `machine`.
        constants: values of the first registers.
        registers: number of registers.
        rows: number of rows of the workspace.
        geometries: number of geometries.
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


@lru_cache(maxsize=32)
def compile_program(nodes: tuple[Expression, ...], history: int, least: int) -> Program:
    """Plan a set of expressions.

    Args:
        nodes: the outputs, in order.
        history: window that stands for all of history, from `rolling_windows.covering`.
        least: fewest values for a statistic; more than 1 makes extremes count theirs.
    """
    lowering = Lowering(history)
    outputs = [lowering.lower(node) for node in nodes]
    return _Allocator(Schedule(lowering, outputs), least).program()


class _Allocator:
    """Places for the values of a schedule: rows, registers and arrays."""

    def __init__(self, schedule: Schedule, least: int) -> None:
        self.schedule = schedule
        self.least = least
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
            if isinstance(item, Group):
                self.group(item)
            elif item.order:
                self.run(item)
            for value in ending.get(place, []):
                if self.values[value][0] != "input" and value in self.rows:
                    self.free_rows.append(self.rows[value])
        return self.finished()

    def finished(self) -> Program:
        """Assign rows to geometries and scratch, behind the others."""
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
        """Assign a row to a value."""
        if not self.free_rows:
            self.free_rows.append(self.row_count)
            self.row_count += 1
        self.rows[value] = self.free_rows.pop()
        return self.rows[value]

    def register(self, value: Value) -> int:
        """Assign a register to a value."""
        if not self.free_registers:
            self.free_registers.append(self.register_count)
            self.register_count += 1
        self.registers[value] = self.free_registers.pop()
        return self.registers[value]

    def operand(self, value: Value) -> int:
        """Return the number by which an operation reads a value."""
        return self.rows[value] if value in self.rows else -1 - self.registers[value]

    def run(self, item: Run) -> None:
        """Write the operations of a run; a register is free again after its last reader."""
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
                _, code, *arguments = self.values[value]
                target = (
                    self.row(value) if value in self.schedule.whole else -1 - self.register(value)
                )
                numbers = [self.operand(v) for v in operands]
                if code == codes.SHIFT:
                    numbers.append(arguments[1])
                self.ops.append((code, target, *numbers, *[0] * (3 - len(numbers))))
            for operand in set(operands):
                temporary = self.values[operand][0] == "op" and operand in self.registers
                if last[operand] == step and temporary:
                    self.free_registers.append(self.registers[operand])
        self.code.append([codes.RUN, start, len(self.ops), *[0] * 8])

    def read(self, item: Run, kind: str, k: int) -> tuple[Value, ...]:
        """Return the values that a step of a run reads."""
        if kind == "store":
            return (item.stores[k][1],)
        _, code, *operands = self.values[item.values[k]]
        return tuple(operands[:1] if code == codes.SHIFT else operands)

    def group(self, item: Group) -> None:
        """Write a group's windows, requests and rows."""
        chain: tuple[tuple[int, int, int], ...] = ()
        kind = item.kind
        if kind in SCRATCH:
            chain = levels(length for _, length, _, _ in item.asked)
            self.scratch = max(self.scratch, SCRATCH[kind] * len(chain))
        counted = kind in (codes.MOMENTS, codes.COMOMENTS, codes.SUMS, codes.RANKS)
        counted = counted or (kind == codes.EXTREMES and self.least > 1)
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
        """Return the place of a statistic's constant."""
        if value not in self.params:
            self.params.append(value)
        return self.params.index(value)
