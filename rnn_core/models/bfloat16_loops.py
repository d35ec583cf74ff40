"""A recurrent layer whose products take bfloat16 and add in float32, compiled whole.

`gemm_bf16bf16f32_` reads both factors in bfloat16, 8 bits of mantissa, and keeps sums and result
in float32; a processor with tiles (AMX) computes it several times as fast as `sgemm_`. Only factors
are rounded, to nearest with ties to even; gates, states, biases and every gradient that leaves this
module stay float32.

A factor is rounded once, where it is made: the weights at the start, a step's input and state
beside each other as the operand [x_t; h_(t-1)] of one product, a step's gradients once for the
products that read them. One product of I + H inputs costs little more than one of either, and it
needs no second pass over the sums. It writes to memory that stays in the cache, from where the
gates are copied: tiles that are stored into memory outside of it cost up to ten times the product.

An LSTM and a GRU differ in their element-wise halves alone. A GRU's gates lie as n r z and the
state's part of n (`fused_loops.py`), so its weights [4H, I + H] hold zeros where the input has no
part in the last block and the state none in the first.

Shapes: `L` window length, `I` input width, `H` units, `B` batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from rnn_core.kernel_sources import sources_digest
from rnn_core.models import blas, fused_kernels
from rnn_core.models.blas import product
from rnn_core.models.fused_kernels import (
    add_rows,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
)

Array = NDArray[np.float32]
Bits = NDArray[np.int16]
"""bfloat16 by its bits, the upper half of a float32's."""


@intrinsic
def _nearest(typing_context, value):  # type: ignore[no-untyped-def]
    """The bits of the nearest bfloat16. In Python the words would be promoted to 64 bits, and a
    vector instruction would take half as many."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole, half = ir.IntType(32), ir.IntType(16)
        word = builder.bitcast(args[0], whole)
        upper = builder.lshr(word, ir.Constant(whole, 16))
        # Half a unit of the last place that is kept, less one bit if that place is even.
        odd = builder.and_(upper, ir.Constant(whole, 1))
        raised = builder.add(builder.add(word, ir.Constant(whole, 0x7FFF)), odd)
        nearest = builder.lshr(raised, ir.Constant(whole, 16))
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        quiet = builder.or_(upper, ir.Constant(whole, 64))  # the sum could carry into infinity
        return builder.trunc(builder.select(is_nan, quiet, nearest), half)

    return types.int16(types.float32), code


@numba.njit(nogil=True, error_model="numpy")
def round_to_bfloat16(values: Array, rounded: Bits) -> None:
    """Round to the nearest bfloat16, ties to even; NaN stays NaN.

    Args:
        values: C-contiguous.
        rounded: of the same size, C-contiguous, written.
    """
    source, target = values.reshape(-1), rounded.reshape(-1)
    for i in range(source.size):
        target[i] = _nearest(source[i])  # type: ignore[call-arg]


@numba.njit(nogil=True, error_model="numpy")
def _copy(values: Array, target: Array) -> None:
    source, place = values.reshape(-1), target.reshape(-1)
    for i in range(source.size):
        place[i] = source[i]


@numba.njit(nogil=True, error_model="numpy")
def _origin(block: int, is_lstm: bool) -> tuple[int, bool, bool]:
    """The block of torch's rows that ours is made of, and whether input and state have a part."""
    if is_lstm:
        return block, True, True
    return (block + 2) % 3, block < 3, block > 0  # ours n r z and the state's n, torch's r z n


@numba.njit(nogil=True, error_model="numpy")
def _pack(
    w_input: Array, w_state: Array, b_input: Array, b_state: Array, weights: Bits, bias: Array
) -> None:
    """Weights of both operands beside each other, rounded, [4H, I + H], and their bias [4H]."""
    units, width = w_state.shape[1], w_input.shape[1]
    is_lstm = w_state.shape[0] == 4 * units
    weights[:] = 0
    bias[:] = 0.0
    for k in range(4):
        block, of_input, of_state = _origin(k, is_lstm)
        for j in range(units):
            row, target = weights[k * units + j], block * units + j
            if of_input:
                round_to_bfloat16(w_input[target], row[:width])
                bias[k * units + j] += b_input[target]
            if of_state:
                round_to_bfloat16(w_state[target], row[width:])
                bias[k * units + j] += b_state[target]


@numba.njit(nogil=True, error_model="numpy")
def _unpack(
    to_weights: Array,
    to_bias: Array,
    to_w_input: Array,
    to_w_state: Array,
    to_b_input: Array,
    to_b_state: Array,
) -> None:
    """The gradients of torch's parameters."""
    units, width = to_w_state.shape[1], to_w_input.shape[1]
    for k in range(4):
        block, of_input, of_state = _origin(k, to_w_state.shape[0] == 4 * units)
        ours, torchs = slice(k * units, (k + 1) * units), slice(block * units, (block + 1) * units)
        if of_input:
            to_w_input[torchs] = to_weights[ours, :width]
            to_b_input[torchs] = to_bias[ours]
        if of_state:
            to_w_state[torchs] = to_weights[ours, width:]
            to_b_state[torchs] = to_bias[ours]


def _layer(sources: str) -> tuple[Callable[..., None], Callable[..., None]]:
    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def forward(
        gemm: int,
        x: Array,
        w_input: Array,
        w_state: Array,
        b_input: Array,
        b_state: Array,
        weights: Bits,
        operands: Bits,
        states: Array,
        cells: Array,
        gates: Array,
    ) -> None:
        """x [L, I, B] and torch's parameters; to be written: weights [4H, I + H], operands
        [L or 1, I + H, B], states [L + 1, H, B], cells as states or [0, H, B] of a GRU, gates
        [L or 0, 4H, B]."""
        _ = sources
        width, is_lstm, is_kept = x.shape[1], cells.shape[0] > 0, gates.shape[0] > 0
        now = np.empty((weights.shape[0], x.shape[2]), np.float32)
        bias = np.empty(weights.shape[0], np.float32)
        _pack(w_input, w_state, b_input, b_state, weights, bias)
        states[0] = 0.0
        cells[:1] = 0.0
        operands[0, width:] = 0
        for t in range(x.shape[0]):
            operand = operands[t if is_kept else 0]
            round_to_bfloat16(x[t], operand[:width])
            product(gemm, weights, 0, operand, 0, 0.0, now)
            if is_lstm:
                lstm_forward(now, bias, cells[t], cells[t + 1], states[t + 1])
            else:
                gru_forward(now, bias, states[t], states[t + 1])
            if is_kept:
                _copy(now, gates[t])
            if t + 1 < x.shape[0]:
                round_to_bfloat16(states[t + 1], operands[t + 1 if is_kept else 0, width:])

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def backward(
        gemm: int,
        weights: Bits,
        operands: Bits,
        states: Array,
        cells: Array,
        gates: Array,
        to_states: Array,
        carried: Array,
        to_x: Array,
        to_w_input: Array,
        to_w_state: Array,
        to_b_input: Array,
        to_b_state: Array,
    ) -> None:
        """Gradients: to_states [L or 0, H, B] and carried [H, B] given, the others written, to_x
        [L or 0, I, B] and those of torch's parameters."""
        _ = sources
        is_lstm, units = cells.shape[0] > 0, carried.shape[0]
        width = weights.shape[1] - units
        w_state = weights[:, width:].copy()
        to_weights, to_bias = np.zeros(weights.shape, np.float32), np.zeros(4 * units, np.float32)
        carried_cell = np.zeros_like(carried)
        rounded = np.empty(gates.shape[1:], np.int16)
        to_operand = np.empty((width + units, carried.shape[1]), np.float32)
        for t in range(gates.shape[0] - 1, -1, -1):
            if to_states.shape[0] > 0:
                carried += to_states[t]
            now = gates[t]
            if is_lstm:
                lstm_backward(carried, carried_cell, now, cells[t], cells[t + 1])
            else:
                gru_backward(carried, now, states[t])
            add_rows(now, to_bias)
            round_to_bfloat16(now, rounded)
            product(gemm, rounded, 0, operands[t], 1, 1.0, to_weights)
            # A GRU's state has a direct part besides, which is in `carried`.
            if to_x.shape[0] > 0:
                product(gemm, weights, 1, rounded, 0, 0.0, to_operand)
                to_x[t] = to_operand[:width]
                if is_lstm:
                    carried[:] = to_operand[width:]
                else:
                    carried += to_operand[width:]
            elif t > 0:
                product(gemm, w_state, 1, rounded, 0, 0.0 if is_lstm else 1.0, carried)
        _unpack(to_weights, to_bias, to_w_input, to_w_state, to_b_input, to_b_state)

    return forward, backward


layer_forward, layer_backward = _layer(sources_digest((blas, fused_kernels)))
