"""The gradient of one batch, whole or in shards.

The loss is the mean squared error over the rows with a finite label:

    loss = sum over known rows of w * (network(x) - y)^2 / number of known rows

with weights w of one unless the caller gives some. Its gradient is that of the sum, divided by
the number, so each shard needs only its own rows. A loss of the caller's own need not be such a
sum, so its batch is never cut.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `loss_fn`, which divides by the number of
rows and not by the sum of weights. qlib leaves out NaN labels only; this code also infinite ones.

Shapes: `B` batch, `L` window length, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from rnn_core.training.precision import mixed
from rnn_core.training.scoring import split_label
from rnn_core.training.source import WindowSource
from rnn_core.training.workers import Workers, shard_rows, shards

_TILE_ROWS = 16  # whole tiles of bfloat16: 208 rows take less time than 200

LossFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(scores [B], labels [B] with NaN, weights [B] or None) to the loss of the batch, a scalar.

Examples:
    >>> loss: LossFunction = lambda scores, labels, weights: (scores - labels).abs().nanmean()
    >>> len(Trainer(config, loss_fn=loss).fit(make(), train, valid).history)
    2
"""


class BatchGradient(NamedTuple):
    """Sums over rows, all on the device.

    Args:
        squares: weighted sum of squared errors over the known rows, float64 scalar; of a loss of
            the caller's own, its value times the number of known rows.
        rows: number of known rows, int64 scalar.
        input_ok: True if every feature of every row is finite, bool scalar.
        gradients: of `squares`, one per trainable parameter, in their order.
    """

    squares: Tensor
    rows: Tensor
    input_ok: Tensor
    gradients: tuple[Tensor, ...]


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a step changes, in the network's order."""
    return [p for p in network.parameters() if p.requires_grad]


def batch_gradient(
    network: nn.Module,
    source: WindowSource,
    indices: Tensor,
    *,
    sharded: bool,
    workers: Workers,
    row_weights: Tensor | None = None,
    precision: str = "float32",
    loss_fn: LossFunction | None = None,
) -> BatchGradient:
    """Gather a batch and sum its squared errors and their gradients.

    Args:
        network: in training mode, on the device of `indices`.
        source: windows [B, L, F + 1], the label last.
        indices: [B].
        sharded: cut the batch, for a network that `can_shard`.
        workers: for the shards.
        row_weights: of all rows of the source, [S] on the device; None for ones.
        precision: of the forward pass, see `precision.py`.
        loss_fn: in place of the mean squared error; `sharded` is then False.

    Returns:
        The sums; shards are added in order, so they do not depend on the number of threads.

    Raises:
        TypeError: `loss_fn` returned no scalar tensor.
    """
    parameters = trainable(network)

    # One thread computes a shard, from gather to gradient.
    def one(part: Tensor) -> BatchGradient:
        x, y = split_label(source.batch(part, part.device))  # [b, L, F], [b]
        label_mask = torch.isfinite(y)  # [b]
        with mixed(part.device, precision):
            scores = network(x)  # [b]
        weights = None if row_weights is None else row_weights.index_select(0, part)  # [b]
        if loss_fn is not None:
            squares = _scalar(loss_fn(scores.float(), y, weights)) * label_mask.sum()
        else:
            errors = torch.where(label_mask, scores.float() - y, 0.0).square()  # [b]
            if weights is not None:
                errors = errors * weights
            squares = errors.sum()
        gradients = torch.autograd.grad(
            squares, parameters, allow_unused=True, materialize_grads=True
        )
        # The ends tell of all cells, NaN included, in a fifth of the time of a mask of them.
        input_ok = torch.isfinite(torch.stack(torch.aminmax(x))).all()
        return BatchGradient(squares.detach().double(), label_mask.sum(), input_ok, gradients)

    # The order of the sum is that of the shards, whichever thread is done first.
    if sharded:
        unit = _TILE_ROWS if precision == "bfloat16" else 1
        parts = workers.map(one, shards(indices, shard_rows(network), unit))
    else:
        parts = [one(indices)]
    total = parts[0]
    for part in parts[1:]:
        total = BatchGradient(
            total.squares + part.squares,
            total.rows + part.rows,
            total.input_ok & part.input_ok,
            tuple(a + b for a, b in zip(total.gradients, part.gradients, strict=True)),
        )
    return total


def _scalar(loss: object) -> Tensor:
    """Return the answer of a loss function, if it is one number."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else loss
        raise TypeError(f"loss_fn returned {shape!r:.60}, expected a tensor of one number")
    return loss.reshape(())


def weight_tensor(weights: ArrayLike | None, n_rows: int, device: torch.device) -> Tensor | None:
    """Move the weights of the training rows to the device, float32 [S]; see `checked_weights`."""
    if weights is None:
        return None
    return torch.from_numpy(checked_weights(weights, n_rows).astype(np.float32)).to(device)


def checked_weights(weights: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Check the weights of the training rows.

    Args:
        weights: [S].
        n_rows: S.

    Raises:
        ValueError: another length, a weight below 0 or not finite, or none above 0.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n_rows,):
        raise ValueError(
            f"weights of shape {values.shape}, expected ({n_rows},): one for each training row"
        )
    bad = int((~np.isfinite(values) | (values < 0)).sum())
    if bad or not values.any():
        raise ValueError(
            f"{bad} of {n_rows} weights are negative or not finite, and {int((values > 0).sum())} "
            f"are above 0; expected finite numbers of 0 or more, some above"
        )
    return values
