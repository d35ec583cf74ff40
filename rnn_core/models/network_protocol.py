"""The contract of a network of another package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Network(Protocol):
    """A `torch.nn.Module` that maps windows to scores.

    Its constructor takes `d_feat`, the number of features F, and hyper-parameters that all have
    defaults: `Net(d_feat, width=32)`. What a YAML gives beside the trainer's keys are these
    arguments. It is trained, checked, stored and served as the shipped networks are.

    A score depends on its own window alone, so a network has no batch statistics that change with
    the rows beside it in evaluation mode. Randomness comes from torch's generator, which the
    trainer seeds. What it has learned is in its state dict: tensors, which a bundle stores without
    pickle; what `forward` keeps elsewhere is lost.

    Examples:
        >>> network: Network = GRUModel(d_feat=6)
        >>> network(windows).shape  # [B]
        torch.Size([8])
    """

    def __call__(self, windows: Tensor, /) -> Tensor:
        """Score windows [B, L, F], float32, oldest session first; return [B], finite."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return all that was learned, as tensors by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Restore what `state_dict` returned, in a network of the same arguments."""
