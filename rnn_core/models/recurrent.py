"""The common part of LSTM and GRU: a recurrent stack, and a linear head on its last step.

    [B, L, F] -> rnn -> [B, L, H] -> last session -> Linear(H, 1) -> [B]

Parameter names (`rnn.*`, `fc_out.*`) and their order are those of qlib, so weights can be
exchanged in both directions, and a seed gives the same initial weights as in qlib. The one
difference: the head drops its own axis only, so a batch of one row gives [1], not a scalar.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `LSTMModel`, pytorch_gru_ts.py `GRUModel`.

Shapes: `B` batch, `L` window length, `F` features, `H` hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_core.models.fused import can_fuse, run
from rnn_core.models.input_checks import (
    MOST_LAYERS,
    require_dropout,
    require_sizes,
    require_windows,
)

FEWEST_SHARED = 64
"""Features below which to make a product of a row costs no more than to copy it to its windows."""


class RecurrentRegressor(nn.Module):
    """A recurrent stack with a linear head on the newest session.

    Args:
        cell: `nn.LSTM` or `nn.GRU`.
        d_feat: F.
        hidden_size: H.
        num_layers: recurrent layers, stacked.
        dropout: between the layers, in [0, 1).

    Raises:
        ValueError: a size below 1 or a dropout outside [0, 1).
    """

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        d_feat: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        require_sizes(d_feat=d_feat, hidden_size=hidden_size)
        require_sizes(MOST_LAYERS, num_layers=num_layers)
        require_dropout(dropout)
        self.d_feat = d_feat
        self.rnn = cell(d_feat, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.fc_out = nn.Linear(hidden_size, 1)

    @property
    def n_features(self) -> int:
        """F, the width of the windows that this network reads."""
        return self.d_feat

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores of a batch of windows.

        Args:
            x: [B, L, F], oldest session first.

        Returns:
            [B], also for B = 1.

        Raises:
            ValueError: another shape.
        """
        require_windows(x, self.d_feat)
        rnn = self.rnn
        compiled = can_fuse(rnn, x)
        newest = run(rnn, x.permute(1, 2, 0)).newest.t() if compiled else rnn(x)[0][:, -1]  # [B, H]
        scores: Tensor = self.fc_out(newest)  # [B, 1]
        return scores.squeeze(-1)  # [B]


def scores_of_rows(network: nn.Module, rows: Tensor, places: Tensor) -> Tensor | None:
    """Compute the scores of windows that share rows, without a gradient.

    Args:
        network: in eval mode.
        rows: [R, F].
        places: numbers of the steps of B windows among the rows, int64 [L, B].

    Returns:
        [B], to the bit the scores of the windows themselves; None for a network that reads windows
        alone, where nothing would be saved, and for rows of another width, which the network itself
        refuses.
    """
    if rows.shape[1] < FEWEST_SHARED or not reads_rows(network):
        return None
    assert isinstance(network, RecurrentRegressor)  # noqa: S101 - what `reads_rows` asks first
    if not rows.shape[1] == network.d_feat == network.rnn.input_size:
        return None
    size = places.shape[1]
    blocks = -(-len(rows) // size)
    padded = torch.cat([rows, rows.new_zeros(blocks * size - len(rows), rows.shape[1])])
    steps = padded.view(blocks, size, -1).permute(0, 2, 1)  # [n, F, B]
    if not can_fuse(network.rnn, steps):
        return None
    with torch.no_grad():
        newest = run(network.rnn, steps, places).newest.t()  # [B, H]
        scores: Tensor = network.fc_out(newest)  # [B, 1]
    return scores.squeeze(-1)


def reads_rows(network: nn.Module) -> bool:
    """True if `scores_of_rows` computes what a call of the network does."""
    kind = type(network)
    return (
        isinstance(network, RecurrentRegressor)
        and "forward" not in vars(network)
        and kind.forward is RecurrentRegressor.forward
        and kind.__call__ is nn.Module.__call__
        and not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
        and type(network.fc_out) is nn.Linear
        and type(network.rnn) in (nn.GRU, nn.LSTM)
    )
