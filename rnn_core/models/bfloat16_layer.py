"""A GRU or LSTM layer with products in bfloat16, as one node of the graph, and when it is used.

x [L, I, B], the weights of `nn.GRU` or `nn.LSTM`, and whether to keep what the way back needs, give
the states [L, H, B] and the newest one [H, B], as the layers of `fused_layers.py` do.

`bfloat16_layers` is a block in which `fused.run_layers` takes this layer; outside of any, it is
never used. The block is the calling thread's own.

Shapes: `L` window length, `I` input width, `H` units, `B` batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rnn_core.models.bfloat16_loops import layer_backward, layer_forward
from rnn_core.models.blas import bfloat16_address
from rnn_core.models.fused_layers import Gradients, arrays, given, room, taken

FEWEST_UNITS = 32
"""Units of a layer below which the product in bfloat16 is not faster than in float32."""


@dataclass
class Use:
    """The layers that were computed in a block.

    Args:
        layers: their number so far.
    """

    layers: int = 0


_block: ContextVar[Use | None] = ContextVar("bfloat16_layers", default=None)


@contextmanager
def bfloat16_layers() -> Iterator[Use]:
    """Compute the products of recurrent layers in bfloat16 inside the block, if possible.

    Yields:
        The count of the layers that were.
    """
    use = Use()
    token = _block.set(use)
    try:
        yield use
    finally:
        _block.reset(token)


def takes_bfloat16(units: int) -> bool:
    """True if a layer is to be computed so, which is then counted.

    Args:
        units: of the layer.

    Returns:
        False outside of `bfloat16_layers`, below `FEWEST_UNITS`, and if torch's BLAS lacks the
        product.
    """
    use = _block.get()
    if use is None or units < FEWEST_UNITS or bfloat16_address() == 0:
        return False
    use.layers += 1
    return True


class BFloat16Layer(Function):
    """A layer of `nn.GRU` or `nn.LSTM`, by the number of its rows, from a state of zeros."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        w_input: Tensor,
        w_state: Tensor,
        b_input: Tensor,
        b_state: Tensor,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        units, width = w_state.shape[1], w_input.shape[1]
        is_lstm = len(w_state) == 4 * units
        if is_lstm:
            weights, bias = torch.cat([w_input, w_state], 1), b_input + b_state
        else:  # rows n r z, and the state's part of n
            weights, bias = x.new_zeros(4 * units, width + units), x.new_zeros(4 * units)
            weights[: 3 * units, :width] = w_input.roll(units, 0)
            weights[units:, width:] = w_state
            bias[: 3 * units] = b_input.roll(units)
            bias[units:] += b_state
        bits = weights.bfloat16().view(torch.int16)
        states, gates = room(x, units, keep)
        cells = torch.empty_like(states) if is_lstm else states[:0]
        operands = bits.new_empty(len(gates), width + units, x.shape[2])
        gates = gates if keep else gates[:0]
        layer_forward(bfloat16_address(), *arrays(x, bits, bias, operands, states, cells, gates))
        ctx.width = width
        ctx.gates, ctx.others = gates, (bits, operands, states, cells)
        ctx.set_materialize_grads(False)
        return states[1:], states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_states: Tensor | None, to_newest: Tensor | None) -> Gradients:  # noqa: D102
        gates, (bits, operands, states, cells) = taken(ctx), ctx.others
        length, units, rows = len(operands), states.shape[1], states.shape[2]
        width, is_lstm = ctx.width, len(cells) > 0
        to_x = states.new_empty(length if ctx.needs_input_grad[0] else 0, width, rows)
        to_weights, to_bias = states.new_zeros(bits.shape), states.new_zeros(4 * units)
        factors = bits, bits[:, width:].contiguous(), operands
        gradients = *given(states, to_states, to_newest), to_x, to_weights, to_bias
        layer_backward(bfloat16_address(), *arrays(*factors, states, cells, gates, *gradients))
        to_w_input, to_w_state = to_weights[:, :width], to_weights[:, width:]
        if is_lstm:
            parts = to_w_input, to_w_state, to_bias, to_bias.clone()
        else:
            parts = (
                to_w_input[: 3 * units].roll(-units, 0),
                to_w_state[units:],
                to_bias[: 3 * units].roll(-units),
                to_bias[units:],
            )
        return to_x if len(to_x) else None, *parts, None
