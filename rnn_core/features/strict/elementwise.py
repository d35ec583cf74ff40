"""Element-wise operations on blocks of sessions: the inner loops of `machine`.

A run of operations goes through a few hundred sessions at a time, so the values between two
operations stay in the first-level cache. Each operation is one contiguous loop and
applies the rule of the strict semantics on the way: a result that is infinite is missing, a
comparison with a missing value is false (!= is true).

qlib: ops.py, NpElemOperator, NpPairOperator, If.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features.strict import codes

Array = NDArray[Any]

BLOCK = 512
"""Sessions per block: a value of one is 4 kB, so half a dozen fit the first-level cache."""

LARGEST_RATIO = 1e12
"""The ratio of a number to a guarded divisor that is zero, which qlib's 1e-12 makes of a 1."""

MAX_FLOAT32 = 3.4028234663852886e38
MAX_FLOAT64 = 1.7976931348623157e308


@njit(nogil=True, error_model="numpy")
def _finite(value: float) -> float:
    """Return the value, or NaN if it is infinite."""
    return value if abs(value) <= MAX_FLOAT64 else np.nan


@njit(nogil=True, error_model="numpy")
def _arithmetic(op: int, a: Array, b: Array, out: Array) -> None:
    """Combine two numbers into a number."""
    n = out.shape[0]
    if op == codes.ADD:
        for j in range(n):
            out[j] = _finite(a[j] + b[j])
    elif op == codes.SUB:
        for j in range(n):
            out[j] = _finite(a[j] - b[j])
    elif op == codes.MUL:
        for j in range(n):
            out[j] = _finite(a[j] * b[j])
    elif op == codes.DIV:
        for j in range(n):
            out[j] = _finite(a[j] / b[j])
    elif op == codes.RATIO:
        for j in range(n):
            bound = LARGEST_RATIO if a[j] > 0.0 else -LARGEST_RATIO
            nothing = bound if abs(a[j]) > 0.0 else a[j]
            out[j] = nothing if b[j] == 0.0 else _finite(a[j] / b[j])
    elif op == codes.GREATER:
        for j in range(n):
            larger = a[j] if a[j] > b[j] else b[j]
            out[j] = larger if a[j] == a[j] else np.nan
    elif op == codes.LESS:
        for j in range(n):
            smaller = a[j] if a[j] < b[j] else b[j]
            out[j] = smaller if a[j] == a[j] else np.nan
    elif op == codes.POWER:
        for j in range(n):
            out[j] = _finite(a[j] ** b[j])


@njit(nogil=True, error_model="numpy")
def _logic(op: int, a: Array, b: Array, out: Array) -> None:
    """Combine two numbers, or two conditions, into a condition (1 or 0)."""
    n = out.shape[0]
    if op == codes.GT:
        for j in range(n):
            out[j] = 1.0 if a[j] > b[j] else 0.0
    elif op == codes.GE:
        for j in range(n):
            out[j] = 1.0 if a[j] >= b[j] else 0.0
    elif op == codes.LT:
        for j in range(n):
            out[j] = 1.0 if a[j] < b[j] else 0.0
    elif op == codes.LE:
        for j in range(n):
            out[j] = 1.0 if a[j] <= b[j] else 0.0
    elif op == codes.EQ:
        for j in range(n):
            out[j] = 1.0 if a[j] == b[j] else 0.0
    elif op == codes.NE:
        for j in range(n):
            out[j] = 0.0 if a[j] == b[j] else 1.0
    elif op == codes.AND:
        for j in range(n):
            out[j] = a[j] * b[j]
    elif op == codes.OR:
        for j in range(n):
            out[j] = a[j] + b[j] - a[j] * b[j]


@njit(nogil=True, error_model="numpy")
def _single(op: int, a: Array, out: Array) -> None:
    """Map one number or condition to another."""
    n = out.shape[0]
    if op == codes.ABS:
        for j in range(n):
            out[j] = abs(a[j])
    elif op == codes.SIGN:
        for j in range(n):
            sign = (1.0 if a[j] > 0.0 else 0.0) - (1.0 if a[j] < 0.0 else 0.0)
            out[j] = sign if a[j] == a[j] else np.nan
    elif op == codes.LOG:
        for j in range(n):
            out[j] = _finite(math.log(a[j])) if a[j] > 0.0 else np.nan
    elif op == codes.NOT:
        for j in range(n):
            out[j] = 1.0 - a[j]


@njit(nogil=True, error_model="numpy")
def _choose(condition: Array, yes: Array, no: Array, out: Array) -> None:
    """Return `yes` for a condition other than 0, `no` for 0, missing for a missing one."""
    for j in range(out.shape[0]):
        value = no[j] if condition[j] == 0.0 else yes[j]
        out[j] = value if condition[j] == condition[j] else np.nan


@njit(nogil=True, error_model="numpy")
def _shift(row: Array, present: Array, earlier: int, start: int, out: Array) -> None:
    """Return the value `earlier` sessions before (after, if negative), missing without a row."""
    sessions = row.shape[0]
    for j in range(out.shape[0]):
        t = start + j - earlier
        inside = 0 <= t < sessions
        t = t if inside else 0
        out[j] = row[t] if inside and present[t] > 0.0 else np.nan


@njit(nogil=True, error_model="numpy")
def _store32(a: Array, keep: Array, out: Array) -> None:
    """Store as float32, missing without a row or if the number does not fit."""
    for j in range(out.shape[0]):
        value = a[j] if keep[j] > 0.0 and abs(a[j]) <= MAX_FLOAT32 else np.nan
        out[j] = np.float32(value)


@njit(nogil=True, error_model="numpy")
def _store64(a: Array, keep: Array, out: Array) -> None:
    """Store as float64, missing without a row."""
    for j in range(out.shape[0]):
        out[j] = a[j] if keep[j] > 0.0 else np.nan


@njit(nogil=True, error_model="numpy")
def _operand(k: int, start: int, stop: int, ws: Array, registers: Array) -> Array:
    """Return a block of a row of the workspace (k >= 0) or of a register (k < 0)."""
    return ws[k, start:stop] if k >= 0 else registers[-1 - k, : stop - start]


@njit(nogil=True, error_model="numpy")
def run(
    ops: Array,
    ws: Array,
    registers: Array,
    everywhere: bool,
    span: tuple[int, int, int],
    instrument: int,
    out32: Array,
    out64: Array,
) -> None:
    """Carry out operations, block by block.

    Args:
        ops: [K, 5]: operation, result, up to three operands. Rows of `ws` count from 0 up,
            registers from -1 down; SHIFT's second operand is a number of sessions, STORE's result
            is a feature.
        ws: [rows, T].
        registers: [R, BLOCK], among them the constants.
        everywhere: store values of absent rows too.
        span: the sessions to store, first and last+1 within `ws`, and the place of the first.
        instrument: the instrument's place in the result.
        out32, out64: [F, N, T]; the one without features is not written.
    """
    sessions = ws.shape[1]
    first, last, target = span
    for start in range(0, sessions, BLOCK):
        stop = min(start + BLOCK, sessions)
        for k in range(ops.shape[0]):
            op, d = ops[k, 0], ops[k, 1]
            a = _operand(ops[k, 2], start, stop, ws, registers)
            # The part of the block that belongs to the result.
            if op == codes.STORE:
                low, high = max(start, first), min(stop, last)
                if low >= high:
                    continue
                value = a[low - start : high - start]
                keep = ws[codes.PRESENT, low:high]
                if everywhere:
                    keep = registers[0, : high - low]
                at = target + low - first
                if out32.shape[0] > 0:
                    _store32(value, keep, out32[d, instrument, at : at + high - low])
                else:
                    _store64(value, keep, out64[d, instrument, at : at + high - low])
                continue
            # The codes are ordered by the number and kind of operands.
            out = _operand(d, start, stop, ws, registers)
            if op <= codes.LESS:
                _arithmetic(op, a, _operand(ops[k, 3], start, stop, ws, registers), out)
            elif op <= codes.OR:
                _logic(op, a, _operand(ops[k, 3], start, stop, ws, registers), out)
            elif op <= codes.NOT:
                _single(op, a, out)
            elif op == codes.IF:
                yes = _operand(ops[k, 3], start, stop, ws, registers)
                no = _operand(ops[k, 4], start, stop, ws, registers)
                _choose(a, yes, no, out)
            elif op == codes.SHIFT:
                _shift(ws[ops[k, 2]], ws[codes.PRESENT], ops[k, 3], start, out)
            elif op == codes.FIRST:
                oldest = int(ws[codes.NEXT, 0])
                earliest = ws[ops[k, 2], oldest] if oldest < sessions else np.nan
                for j in range(out.shape[0]):
                    out[j] = earliest if start + j >= oldest else np.nan
            elif op == codes.EXIST or op == codes.HOLD:
                nothing = np.nan if op == codes.EXIST else 0.0
                for j in range(out.shape[0]):
                    out[j] = a[j] if ws[codes.PRESENT, start + j] > 0.0 else nothing
