"""K small GRUs over the same input as one GRU of K * H units.

A GRU of 8 units is all overhead on a CPU: each of its steps is a dozen operations on a few
kilobytes. K of them side by side are the same recurrence with block-diagonal weights, so one call
does the work of K: the first layer's input weights are stacked, every other matrix holds the K
matrices on its diagonal and zeros elsewhere. The zeros are multiplied too, K times the products
that are needed, which pays while they are few. Measured, forward and backward, one thread, K GRUs
apart against jointly: 1.5 to 1.8 times as fast at K * H = 16, 1.5 to 2.1 at 48 with H = 8, about
equal at 48 with H = 16, 0.6 to 0.7 at 192. On an accelerator they stay apart: its kernels want
weights that lie in one piece.

The parameters remain those of the K modules; only the product is arranged anew. Results agree to
rounding, since zeros add nothing.

Shapes: `L` window length, `B` batch, `C` channels, `K` parallel RNNs, `H` hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from rnn_core.models.fused import can_fuse, run_layers

_MOST_UNITS = 32  # K * H up to which the joint recurrence was faster at every batch size tried


def runs_jointly(rnns: nn.ModuleList, device: torch.device) -> bool:
    """Whether GRUs of one shape are better run as one.

    Args:
        rnns: K GRUs of equal sizes.
        device: where they run.

    Returns:
        True on the CPU for two or more that are small.
    """
    units = len(rnns) * cast(nn.GRU, rnns[0]).hidden_size
    return device.type == "cpu" and len(rnns) > 1 and units <= _MOST_UNITS


def joint_weights(rnns: Iterable[nn.Module]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The weights of K GRUs of equal sizes as those of one.

    Args:
        rnns: K modules `nn.GRU`, unidirectional, with biases.

    Returns:
        By layer, of input [3*K*H, C or K*H] and state [3*K*H, K*H], and their biases [3*K*H].
    """
    grus = [cast(nn.GRU, rnn) for rnn in rnns]
    layers = []
    for layer in range(grus[0].num_layers):
        of_input = _by_gate(grus, f"weight_ih_l{layer}")  # [3, K, H, C or H]
        of_state = _by_gate(grus, f"weight_hh_l{layer}")  # [3, K, H, H]
        layers.append(
            (
                of_input.flatten(0, 2) if layer == 0 else _on_diagonal(of_input),
                _on_diagonal(of_state),
                _by_gate(grus, f"bias_ih_l{layer}").flatten(),
                _by_gate(grus, f"bias_hh_l{layer}").flatten(),
            )
        )
    return layers


def joint_states(rnns: nn.ModuleList, steps: Tensor) -> Tensor:
    """States of K GRUs of equal sizes at every step.

    Args:
        rnns: K modules `nn.GRU`, unidirectional, with biases, sequence first.
        steps: [L, B, C].

    Returns:
        [L, B, K, H].
    """
    first, layers = cast(nn.GRU, rnns[0]), joint_weights(rnns)
    units = len(rnns) * first.hidden_size
    if can_fuse(first, steps):
        states = run_layers(layers, steps)
    else:
        begin = steps.new_zeros(first.num_layers, steps.shape[1], units)
        flat = [weight for layer in layers for weight in layer]
        drop, train = first.dropout, first.training
        states, _ = torch.gru(steps, begin, flat, True, first.num_layers, drop, train, False, False)
    return states.view(*states.shape[:2], len(rnns), first.hidden_size)  # [L, B, K, H]


def _by_gate(grus: Sequence[nn.GRU], name: str) -> Tensor:
    """A parameter of the K GRUs, the three gates outermost: [3, K, H, ...]."""
    stacked = torch.stack([getattr(gru, name) for gru in grus])  # [K, 3 * H, ...]
    n_rnns, width = stacked.shape[:2]
    return stacked.view(n_rnns, 3, width // 3, *stacked.shape[2:]).transpose(0, 1)


def _on_diagonal(blocks: Tensor) -> Tensor:
    """[3, K, H, I] -> [3 * K * H, K * I], each gate's K blocks on a diagonal."""
    n_gates, n_rnns, hidden, width = blocks.shape
    wide = blocks.new_zeros(n_gates, n_rnns, hidden, n_rnns, width)
    each = torch.arange(n_rnns, device=blocks.device)
    wide[:, each, :, each] = blocks.transpose(0, 1)
    return wide.reshape(n_gates * n_rnns * hidden, n_rnns * width)
