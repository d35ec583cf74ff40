"""The LSTM of qlib's benchmarks: two layers of 64 units, score from the last session.

`recurrent.py` describes the network, which LSTM and GRU share.
"""

from __future__ import annotations

from torch import nn

from rnn_core.models.recurrent import RecurrentRegressor


class LSTMModel(RecurrentRegressor):
    """Stacked LSTM, [B, L, F] -> [B].

    Args:
        d_feat: F, features of one session.
        hidden_size: H, units of each layer.
        num_layers: stacked layers.
        dropout: between the layers, in [0, 1).

    Raises:
        ValueError: a size below 1 or a dropout outside [0, 1).

    Examples:
        >>> LSTMModel(d_feat=6, hidden_size=16)(windows).shape
        torch.Size([8])
    """

    def __init__(
        self, d_feat: int = 6, hidden_size: int = 64, num_layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__(nn.LSTM, d_feat, hidden_size, num_layers, dropout)
