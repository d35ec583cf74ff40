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
        parameters = w_input.contiguous(), w_state.contiguous(), b_input, b_state
        states, gates = room(x, units, keep)
        cells = torch.empty_like(states) if len(w_state) == 4 * units else states[:0]
        bits = x.new_empty(4 * units, width + units, dtype=torch.int16)
        operands = bits.new_empty(len(gates), width + units, x.shape[2])
        gates = gates if keep else gates[:0]
        tensors = x, *parameters, bits, operands, states, cells, gates
        layer_forward(bfloat16_address(), *arrays(*tensors))
        ctx.gates, ctx.others = gates, (bits, operands, states, cells)
        ctx.shapes = w_input.shape, w_state.shape, b_input.shape, b_state.shape
        ctx.set_materialize_grads(False)
        return states[1:], states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_states: Tensor | None, to_newest: Tensor | None) -> Gradients:  # noqa: D102
        gates, (bits, operands, states, cells) = taken(ctx), ctx.others
        upstream = given(states, to_states, to_newest)
        length = len(operands) if ctx.needs_input_grad[0] else 0
        to_x = states.new_empty(length, ctx.shapes[0][1], states.shape[2])
        found = [states.new_empty(shape) for shape in ctx.shapes]
        tensors = bits, operands, states, cells, gates, *upstream, to_x, *found
        layer_backward(bfloat16_address(), *arrays(*tensors))
        return to_x if length else None, *found, None
