"""The common part of LSTM and GRU: a recurrent stack, and a linear head on its last step.

    [B, L, F] -> rnn -> [B, L, H] -> last session -> Linear(H, 1) -> [B]

Parameter names (`rnn.*`, `fc_out.*`) and their order are those of qlib, so weights can be
exchanged in both directions, and a seed gives the same initial weights as in qlib. The one
difference: the head drops its own axis only, so a batch of one row gives [1], not a scalar.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `LSTMModel`, pytorch_gru_ts.py `GRUModel`.

Shapes: `B` batch, `L` window length, `F` features, `H` hidden.
"""

from __future__ import annotations

from torch import Tensor, nn

from rnn_core.models.fused import can_fuse, run
from rnn_core.models.input_checks import (
    MOST_LAYERS,
    require_dropout,
    require_sizes,
    require_windows,
)


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
