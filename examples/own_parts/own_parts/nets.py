"""Networks: windows [B, L, F] in, a score a window [B] out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ALSTM(nn.Module):
    """An LSTM whose score sees its last state beside an attention over all steps.

    Qin et al. (2017), "A dual-stage attention-based recurrent neural network for time series
    prediction", in the simpler form of Feng et al. (2019), "Enhancing stock movement prediction
    with adversarial training".

    Args:
        d_feat: F, features of a step.
        hidden_size: H, units of the LSTM and of its input layer.
        num_layers: layers of the LSTM.
        dropout: between the layers of the LSTM.
    """

    def __init__(
        self, d_feat: int, hidden_size: int = 64, num_layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(d_feat, hidden_size), nn.Tanh())
        self.recurrent = nn.LSTM(
            hidden_size, hidden_size, num_layers, batch_first=True, dropout=dropout
        )
        self.attention = nn.Sequential(
            nn.Linear(hidden_size, hidden_size // 2 or 1), nn.Tanh(),
            nn.Linear(hidden_size // 2 or 1, 1, bias=False),
        )  # fmt: skip
        self.score = nn.Linear(2 * hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Score windows [B, L, F] -> [B]."""
        states, _ = self.recurrent(self.enter(x))  # [B, L, H]
        weights = torch.softmax(self.attention(states), dim=1)  # [B, L, 1]
        summary = (weights * states).sum(dim=1)  # [B, H]
        return self.score(torch.cat([states[:, -1], summary], dim=1)).squeeze(1)


class Transformer(nn.Module):
    """An encoder with sinusoidal positions; the last step is scored.

    Vaswani et al. (2017), "Attention is all you need".

    Args:
        d_feat: F, features of a step.
        d_model: width of the encoder; a multiple of `nhead`.
        nhead: attention heads.
        num_layers: encoder layers.
        dropout: inside the encoder.
    """

    def __init__(
        self,
        d_feat: int,
        d_model: int = 64,
        nhead: int = 2,
        num_layers: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(d_feat, d_model)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead, dim_feedforward=4 * d_model, dropout=dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.score = nn.Linear(d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Score windows [B, L, F] -> [B]."""
        entered = self.enter(x)  # [B, L, D]
        return self.score(self.encoder(entered + _positions(entered))[:, -1]).squeeze(1)


def _positions(x: Tensor) -> Tensor:
    """Sines and cosines of the positions of steps, [L, D] for [B, L, D]."""
    length, width = x.shape[1:]
    step = torch.arange(length, device=x.device, dtype=x.dtype)[:, None]  # [L, 1]
    even = torch.arange(0, width, 2, device=x.device, dtype=x.dtype)  # [D / 2]
    angle = step * torch.exp(even * (-math.log(10_000.0) / width))  # [L, D / 2]
    out = torch.zeros(length, width, device=x.device, dtype=x.dtype)
    out[:, 0::2], out[:, 1::2] = torch.sin(angle), torch.cos(angle[:, : width // 2])
    return out
