"""The gradient of one batch, whole or in shards.

The loss is the mean squared error over the rows with a finite label:

    loss = sum over known rows of (network(x) - y)^2 / number of known rows

Its gradient is that of the sum, divided by the number, so each shard needs only its own rows.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `loss_fn`, with weights of one. qlib leaves
out NaN labels only; here infinite ones are left out too.

Shapes: `B` batch, `L` window length, `F` features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnn_core.training.scoring import split_label
from rnn_core.training.source import WindowSource
from rnn_core.training.workers import Workers, shards


class BatchGradient(NamedTuple):
    """Sums over rows, all on the device.

    Args:
        squares: sum of squared errors over the known rows, float64 scalar.
        rows: number of known rows, int64 scalar.
        input_ok: whether every feature of every row is finite, bool scalar.
        gradients: of `squares`, one per trainable parameter, in their order.
    """

    squares: Tensor
    rows: Tensor
    input_ok: Tensor
    gradients: tuple[Tensor, ...]


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a step changes, in the network's order.

    Args:
        network: any module.

    Returns:
        Those that ask for a gradient.
    """
    return [p for p in network.parameters() if p.requires_grad]


def batch_gradient(
    network: nn.Module,
    source: WindowSource,
    indices: Tensor,
    *,
    sharded: bool,
    workers: Workers,
) -> BatchGradient:
    """Gather a batch and sum its squared errors and their gradients.

    Args:
        network: in training mode, on the device of `indices`.
        source: windows [B, L, F + 1], the label last.
        indices: [B].
        sharded: cut the batch, for a network that `can_shard`.
        workers: for the shards.

    Returns:
        The sums; shards are added in order, so they do not depend on the number of threads.
    """
    parameters = trainable(network)

    def one(part: Tensor) -> BatchGradient:
        x, y = split_label(source.batch(part, part.device))  # [b, L, F], [b]
        known = torch.isfinite(y)  # [b]
        squares = torch.where(known, network(x) - y, 0.0).square().sum()
        gradients = torch.autograd.grad(
            squares, parameters, allow_unused=True, materialize_grads=True
        )
        return BatchGradient(
            squares.detach().double(), known.sum(), torch.isfinite(x).all(), gradients
        )

    parts = workers.map(one, shards(indices)) if sharded else [one(indices)]
    total = parts[0]
    for part in parts[1:]:
        total = BatchGradient(
            total.squares + part.squares,
            total.rows + part.rows,
            total.input_ok & part.input_ok,
            tuple(a + b for a, b in zip(total.gradients, part.gradients, strict=True)),
        )
    return total
