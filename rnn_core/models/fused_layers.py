"""A GRU or LSTM layer as one node of the graph, computed by the loops of `fused_loops.py`.

x [L, I, B], the weights of `nn.GRU` or `nn.LSTM`, and whether to keep what the way back needs, give
the states [L, H, B] and the newest one [H, B]; an output that nobody asks the gradient of costs
none. A node can be walked back once, since the way back uses up what the way there kept.

Shapes: `L` window length, `I` input width, `H` units, `B` batch.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rnn_core.models.blas import sgemm_address
from rnn_core.models.fused_loops import (
    gru_layer_backward,
    gru_layer_forward,
    lstm_layer_backward,
    lstm_layer_forward,
)

Gradients: TypeAlias = tuple[Tensor | None, ...]
_none = torch.empty(0, 0, dtype=torch.int64)


class GRULayer(Function):
    """A layer of `nn.GRU` from a state of zeros."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        w_input: Tensor,
        w_state: Tensor,
        b_input: Tensor,
        b_state: Tensor,
        keep: bool,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        units = w_state.shape[1]
        w_input = w_input.roll(units, 0)  # rows r z n -> n r z
        bias = x.new_zeros(4 * units)  # n r z, and the state's part of n
        bias[: 3 * units] = b_input.roll(units)
        bias[units:] += b_state
        states, gates = room(x, units, keep, places)
        tensors = (
            x,
            _none if places is None else places,
            w_input,
            w_state.contiguous(),
            bias,
            states,
            gates,
        )
        gru_layer_forward(sgemm_address(), *arrays(*tensors))
        ctx.gates = gates
        ctx.save_for_backward(x, w_input, w_state, states)
        ctx.set_materialize_grads(False)
        return states[1:], states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_states: Tensor | None, to_newest: Tensor | None) -> Gradients:  # noqa: D102
        x, w_input, w_state, states = ctx.saved_tensors
        units = w_state.shape[1]
        upstream = given(states, to_states, to_newest)
        found = _gradients(ctx, x, w_input, w_state)
        tensors = x, w_input, w_state.contiguous(), states, taken(ctx), *upstream, *found
        gru_layer_backward(sgemm_address(), *arrays(*tensors))
        to_x, to_w_input, to_w_state, to_bias = found
        return (
            to_x if len(to_x) else None,
            to_w_input.roll(-units, 0),
            to_w_state,
            to_bias[: 3 * units].roll(-units),
            to_bias[units:],
            None,
            None,
        )


class LSTMLayer(Function):
    """A layer of `nn.LSTM` from a state of zeros."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        w_input: Tensor,
        w_state: Tensor,
        b_input: Tensor,
        b_state: Tensor,
        keep: bool,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        w_input = w_input.contiguous()
        states, gates = room(x, w_state.shape[1], keep, places)
        cells = torch.empty_like(states)
        weights = w_input, w_state.contiguous(), b_input + b_state
        tensors = x, _none if places is None else places, *weights, states, cells, gates
        lstm_layer_forward(sgemm_address(), *arrays(*tensors))
        ctx.gates, ctx.cells = gates, cells
        ctx.save_for_backward(x, w_input, w_state, states)
        ctx.set_materialize_grads(False)
        return states[1:], states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_states: Tensor | None, to_newest: Tensor | None) -> Gradients:  # noqa: D102
        x, w_input, w_state, states = ctx.saved_tensors
        upstream = given(states, to_states, to_newest)
        found = _gradients(ctx, x, w_input, w_state)
        tensors = x, w_input, w_state.contiguous(), states, ctx.cells, taken(ctx), *upstream, *found
        lstm_layer_backward(sgemm_address(), *arrays(*tensors))
        to_x, to_w_input, to_w_state, to_bias = found
        to_biases = to_bias, to_bias.clone()
        return to_x if len(to_x) else None, to_w_input, to_w_state, *to_biases, None, None


def arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    """The tensors' own memory."""
    return [tensor.detach().numpy() for tensor in tensors]


def room(x: Tensor, units: int, keep: bool, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """States [L + 1, H, B] and gates [L or 1, 4H, B], to be written."""
    length, rows = len(x if places is None else places), x.shape[2]
    return (
        x.new_empty(length + 1, units, rows),
        x.new_empty(length if keep else 1, 4 * units, rows),
    )


def taken(ctx: Any) -> Tensor:
    """The gates that the way there kept, once."""
    gates: Tensor | None = ctx.gates
    if gates is None:
        raise RuntimeError(
            "the gradient of a compiled recurrent layer was asked for a second time, and the first "
            "one used up what it needs; compute the network's output again"
        )
    ctx.gates = None
    return gates


def given(
    states: Tensor, to_states: Tensor | None, to_newest: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of all states, [L, H, B] or none of them, and of the newest, free to be written."""
    every = states[:0] if to_states is None else to_states.contiguous()
    newest = torch.zeros_like(states[-1])
    if to_newest is not None:
        newest += to_newest
    return every, newest


def _gradients(
    ctx: Any, x: Tensor, w_input: Tensor, w_state: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Room for the gradients of the input, if it wants one, both weights and the biases."""
    return (
        torch.empty_like(x) if ctx.needs_input_grad[0] else x[:0],
        torch.zeros_like(w_input, memory_format=torch.contiguous_format),
        torch.zeros_like(w_state, memory_format=torch.contiguous_format),
        x.new_zeros(4 * w_state.shape[1]),
    )
