"""Several trained networks of one family as one, whose score is the mean of theirs.

Networks that differ in nothing but their seed differ in their errors, and the mean of their scores
has less of them (qlib's published figures are over 20 seeds for that reason). As a module an
ensemble is what a network is: it maps windows to scores, and its state dict holds every member's.

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
        ValueError: fewer than two.
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
        """Scores of a batch of windows.

        Args:
            x: [B, L, F], oldest session first.

        Returns:
            [B].
        """
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def members_of(network: nn.Module) -> tuple[nn.Module, ...]:
    """The networks that a score is the mean of.

    Args:
        network: an ensemble or a network.

    Returns:
        Its members, or itself alone.
    """
    return tuple(network.members) if isinstance(network, MeanEnsemble) else (network,)
