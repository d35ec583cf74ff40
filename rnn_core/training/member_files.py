"""The files of one trained member, and the member made from them again.

A network is the safetensors file of its state dict, an estimator the files that it wrote itself.
Neither can run code when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import nn

from rnn_core.models.ensemble import MeanEnsemble
from rnn_core.models.estimator_protocol import EstimatorFamily
from rnn_core.models.families import build_network, family_of
from rnn_core.models.input_checks import require_sizes
from rnn_core.training.estimator_state import restored, state_files
from rnn_core.training.members import Member

WEIGHTS = "weights.safetensors"


def member_files(member: Member) -> dict[str, bytes]:
    """Collect the files of a trained network or a fitted estimator: bytes by name.

    Raises:
        ValueError: an estimator wrote files that a bundle may not hold.
    """
    if isinstance(member, nn.Module):
        return {WEIGHTS: weights_bytes(member)}
    return state_files([member])


def member_of(
    family: str, n_features: int, hyper: Mapping[str, Any], contents: Mapping[str, bytes]
) -> Member:
    """Make a member from its files.

    Args:
        family: a shipped family, or one that `own_family` has made known.
        n_features: F, of a network.
        hyper: all hyper-parameters.
        contents: as of `member_files`; other names are passed over.

    Returns:
        A network on the CPU in eval mode, or an estimator.

    Raises:
        ValueError: the files are no state of the family.
        RuntimeError: the weights are those of another network.
        SafetensorError: the weights cannot be read.
        KeyError: there are no weights.
    """
    kind = family_of(family)
    if isinstance(kind, EstimatorFamily):
        return restored(kind, hyper, contents)[0]
    return network_of(family, n_features, hyper, contents[WEIGHTS])


def network_of(
    family: str, n_features: int, hyper: Mapping[str, Any], weights: bytes, n_members: int = 1
) -> nn.Module:
    """Build a network, or an ensemble of several, with stored weights, in eval mode on the CPU.

    Raises:
        ValueError: the arguments describe another network than the weights.
    """
    stored = safetensors.torch.load(weights)
    require_sizes(max(len(stored), 1), members=n_members)  # each has a tensor at least
    with torch.device("meta"):  # no memory, no random numbers: the weights come from the file
        network = built(family, n_features, hyper, n_members)
    expected = {name: value.shape for name, value in network.state_dict().items()}
    if expected != {name: value.shape for name, value in stored.items()}:
        raise ValueError("its weights are not those of the network that config.yaml describes")
    network.to_empty(device="cpu").load_state_dict(stored)
    return network.eval()


def built(family: str, n_features: int, hyper: Mapping[str, Any], n_members: int) -> nn.Module:
    """Build a single network, or an ensemble of `n_members`."""
    members = [build_network(family, n_features, hyper) for _ in range(n_members)]
    return members[0] if n_members == 1 else MeanEnsemble(members)


def weights_bytes(network: nn.Module) -> bytes:
    """Serialise the state dict, which safetensors orders by type and name."""
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in network.state_dict().items()}
    return safetensors.torch.save(tensors)
