"""A recurrent layer forward and backward, compiled whole: products by BLAS, loops for the rest.

Everything lies with the batch innermost, states as [H, B], gates as [4H, B]: a gate is then one
piece of memory, for the loops of `fused_kernels.py` and as an operand of a product alike. A step's
gates are made, used and turned into their gradients in place, while they are in the cache, and the
gradients of the weights are taken from them there. The state before the first step is zero, so that
step has no product with it.

Windows of neighbouring sessions share their rows. Where they are scored, x can be given as rows and
the place of every window's steps among them: the input's product is then made once a row. It has as
many columns as that of a step, so that its sums, and the scores, have the same bits.

A GRU's gates lie as n r z and, once more, the state's part of n, so that the input's product has
one block of rows and the state's another: `w_input` and its gradient have their rows in that order.

numba keeps compiled code by the file it stands in alone; the entries here close over a hash of the
files they call, so that a change there compiles anew.

Shapes: `L` window length, `I` input width, `H` units, `B` batch, `G` rows of a product.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
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
Places = NDArray[np.int64]
Loops = tuple[Callable[..., None], Callable[..., None]]


@numba.njit(nogil=True, error_model="numpy")
def _products(sgemm: int, w_input: Array, x: Array, places: Places) -> Array:
    """The input's product of every row, [n, G, B], for windows that share rows; else nothing."""
    n = x.shape[0] if places.shape[0] > 0 else 0
    shared = np.empty((n, w_input.shape[0], x.shape[2]), np.float32)
    for k in range(n):
        product(sgemm, w_input, 0, x[k], 0, 0.0, shared[k])
    return shared


@numba.njit(nogil=True, error_model="numpy")
def _pick(shared: Array, places: Places, now: Array) -> None:
    """Copy the products of a step's rows, [G, B], a run of neighbours at a time."""
    size, first = shared.shape[2], 0
    while first < places.size:
        block, start = places[first] // size, places[first] % size
        n = 1
        while (
            first + n < places.size and start + n < size and places[first + n] == places[first] + n
        ):
            n += 1
        for j in range(shared.shape[1]):
            source, target = shared[block, j], now[j]
            for b in range(n):
                target[first + b] = source[start + b]
        first += n


def _gru(sources: str) -> Loops:
    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def forward(
        sgemm: int,
        x: Array,
        places: Places,
        w_input: Array,
        w_state: Array,
        bias: Array,
        states: Array,
        gates: Array,
    ) -> None:
        """x [L, I, B] without places, else [n, I, B] of rows and places [L, B]; w_input [3H, I],
        w_state [3H, H], bias [4H], states [L + 1, H, B] to be written, gates [L or 1, 4H, B] to be
        written."""
        _ = sources
        units = w_state.shape[1]
        shared = _products(sgemm, w_input, x, places)
        states[0] = 0.0
        for t in range(states.shape[0] - 1):
            at = t if gates.shape[0] > 1 else 0
            now = gates[at]
            if places.shape[0] > 0:
                _pick(shared, places[t], now)
            else:
                product(sgemm, w_input, 0, x[t], 0, 0.0, now[: 3 * units])
            now[3 * units :] = 0.0
            if t > 0:
                product(sgemm, w_state, 0, states[t], 0, 1.0, now[units:])
            gru_forward(now, bias, states[t], states[t + 1])

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def backward(
        sgemm: int,
        x: Array,
        w_input: Array,
        w_state: Array,
        states: Array,
        gates: Array,
        to_states: Array,
        carried: Array,
        to_x: Array,
        to_w_input: Array,
        to_w_state: Array,
        to_bias: Array,
    ) -> None:
        """Gradients: to_states [L or 0, H, B] and carried [H, B] given, the others written, to_x
        [L or 0, I, B]."""
        _ = sources
        units = w_state.shape[1]
        for t in range(x.shape[0] - 1, -1, -1):
            if to_states.shape[0] > 0:
                carried += to_states[t]
            now = gates[t]
            gru_backward(carried, now, states[t])
            of_input, of_state = now[: 3 * units], now[units:]
            add_rows(now, to_bias)
            product(sgemm, of_input, 0, x[t], 1, 1.0, to_w_input)
            if to_x.shape[0] > 0:
                product(sgemm, w_input, 1, of_input, 0, 0.0, to_x[t])
            if t > 0:
                product(sgemm, of_state, 0, states[t], 1, 1.0, to_w_state)
                product(sgemm, w_state, 1, of_state, 0, 1.0, carried)

    return forward, backward


def _lstm(sources: str) -> Loops:
    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def forward(
        sgemm: int,
        x: Array,
        places: Places,
        w_input: Array,
        w_state: Array,
        bias: Array,
        states: Array,
        cells: Array,
        gates: Array,
    ) -> None:
        """As of the GRU; w_input [4H, I], w_state [4H, H], cells [L + 1, H, B] to be written."""
        _ = sources
        shared = _products(sgemm, w_input, x, places)
        states[0] = 0.0
        cells[0] = 0.0
        for t in range(states.shape[0] - 1):
            at = t if gates.shape[0] > 1 else 0
            now = gates[at]
            if places.shape[0] > 0:
                _pick(shared, places[t], now)
            else:
                product(sgemm, w_input, 0, x[t], 0, 0.0, now)
            if t > 0:
                product(sgemm, w_state, 0, states[t], 0, 1.0, now)
            lstm_forward(now, bias, cells[t], cells[t + 1], states[t + 1])

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def backward(
        sgemm: int,
        x: Array,
        w_input: Array,
        w_state: Array,
        states: Array,
        cells: Array,
        gates: Array,
        to_states: Array,
        carried: Array,
        to_x: Array,
        to_w_input: Array,
        to_w_state: Array,
        to_bias: Array,
    ) -> None:
        """As of the GRU."""
        _ = sources
        carried_cell = np.zeros_like(carried)
        for t in range(x.shape[0] - 1, -1, -1):
            if to_states.shape[0] > 0:
                carried += to_states[t]
            now = gates[t]
            lstm_backward(carried, carried_cell, now, cells[t], cells[t + 1])
            add_rows(now, to_bias)
            product(sgemm, now, 0, x[t], 1, 1.0, to_w_input)
            if to_x.shape[0] > 0:
                product(sgemm, w_input, 1, now, 0, 0.0, to_x[t])
            if t > 0:
                product(sgemm, now, 0, states[t], 1, 1.0, to_w_state)
                product(sgemm, w_state, 1, now, 0, 0.0, carried)

    return forward, backward


_SOURCES = sources_digest((blas, fused_kernels))
gru_layer_forward, gru_layer_backward = _gru(_SOURCES)
lstm_layer_forward, lstm_layer_backward = _lstm(_SOURCES)
