"""An ensemble of trained networks of one family, whose score is the mean of their scores.

Networks that differ in nothing but their seed differ in their errors, and the mean of their scores
has smaller ones (qlib's published figures are over 20 seeds for that reason). An ensemble is a
module like a network: it maps windows to scores, and its state dict holds that of every member.

Shapes: `B` batch, `L` window length, `F` features, `K` members.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MeanEnsemble(nn.Module):
    """The mean of K networks, [B, L, F] -> [B].

    Args:
        members: networks of one family and one shape, two or more.

    Raises:
        ValueError: there are fewer than two members.

    Examples:
        >>> pair = MeanEnsemble([LSTMModel(), LSTMModel()])
        >>> pair(windows).shape
        torch.Size([8])
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if len(self.members) < 2:
            raise ValueError(
                f"an ensemble of {len(self.members)} networks, expected two or more; use the "
                f"network itself"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores of a batch of windows.

        Args:
            x: [B, L, F], oldest session first.

        Returns:
            [B].
        """
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def members_of(network: nn.Module) -> tuple[nn.Module, ...]:
    """Return the networks that a score averages: an ensemble's members, or the network alone."""
    return tuple(network.members) if isinstance(network, MeanEnsemble) else (network,)
