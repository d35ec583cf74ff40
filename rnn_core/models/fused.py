"""Recurrent layers on the CPU, compiled: the values of `nn.GRU` and `nn.LSTM` in less time.

torch's GRU runs a dozen small operations a step and records each for the way back; its LSTM is
fused, in kernels that reach half of what the products alone would take. Here a layer is one node
of the graph (`fused_layers.py`). Values agree with torch's to rounding. Inside a block of
`bfloat16_layers` a layer's products take bfloat16 (`bfloat16_layer.py`).

The modules stay torch's, with their parameters and names; this code only computes their states. If
it does not apply (an accelerator, another precision, dropout between layers while training), the
module itself runs.

Shapes: `L` window length, `B` batch, `I` input width, `H` units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from rnn_core.models.bfloat16_layer import BFloat16Layer, takes_bfloat16
from rnn_core.models.blas import sgemm_address
from rnn_core.models.fused_layers import GRULayer, LSTMLayer

Layer: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
_PARAMETERS = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")


class States(NamedTuple):
    """States of a stack's last layer; ask for what is needed, its gradient costs.

    Args:
        all: after every step, [L, H, B].
        newest: after the last one, [H, B].
    """

    all: Tensor
    newest: Tensor


def can_fuse(rnn: nn.GRU | nn.LSTM, x: Tensor) -> bool:
    """True if the compiled layers can compute a module's values.

    Args:
        rnn: unidirectional, with biases, without projections.
        x: its input, rows first.

    Returns:
        False on an accelerator, in another precision than float32, with dropout to draw, without
        rows, and if torch's BLAS cannot be called.
    """
    return (
        x.device.type == "cpu"
        and x.shape[0] > 0
        and x.dtype == torch.float32
        and rnn.weight_ih_l0.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not (rnn.training and rnn.dropout > 0 and rnn.num_layers > 1)
        and sgemm_address() != 0
    )


def layer_weights(rnn: nn.GRU | nn.LSTM) -> list[Layer]:
    """Return the weights of each layer: of input and state, their biases.

    Args:
        rnn: the module.

    Returns:
        ([G, I], [G, H], [G], [G]) by layer, G = 3H of a GRU, 4H of an LSTM.
    """
    return [
        (
            getattr(rnn, f"{_PARAMETERS[0]}{layer}"),
            getattr(rnn, f"{_PARAMETERS[1]}{layer}"),
            getattr(rnn, f"{_PARAMETERS[2]}{layer}"),
            getattr(rnn, f"{_PARAMETERS[3]}{layer}"),
        )
        for layer in range(rnn.num_layers)
    ]


def run_layers(
    cell: type[GRULayer] | type[LSTMLayer],
    layers: Sequence[Layer],
    steps: Tensor,
    places: Tensor | None = None,
) -> States:
    """Compute the states of the last layer, from states of zero.

    Args:
        cell: kind of layer.
        layers: of `layer_weights`.
        steps: [L, I, B]; with `places` rows in blocks of B, [n, I, B].
        places: numbers of the windows' steps among those rows, int64 [L, B], if no gradient is
            wanted.

    Returns:
        The states, differentiable once.
    """
    keep = torch.is_grad_enabled()
    states = States(steps.contiguous(), steps[-1])
    if places is not None:
        of_rows = cell.apply(states.all, *layers[0], keep, places)  # type: ignore[no-untyped-call]
        states, layers = States(*of_rows), layers[1:]
    for weights in layers:
        layer = BFloat16Layer if takes_bfloat16(weights[1].shape[1]) else cell
        states = States(*layer.apply(states.all, *weights, keep))  # type: ignore[no-untyped-call]
    return states


def run(rnn: nn.GRU | nn.LSTM, steps: Tensor, places: Tensor | None = None) -> States:
    """Compute the states that a module would compute; ask `can_fuse` first.

    Args:
        rnn: the module.
        steps: [L, I, B], or rows with `places`, as in `run_layers`.
        places: of the windows' steps among the rows.

    Returns:
        States of its last layer.
    """
    cell = GRULayer if isinstance(rnn, nn.GRU) else LSTMLayer
    return run_layers(cell, layer_weights(rnn), steps, places)
