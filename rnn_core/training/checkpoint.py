"""Checkpoints: one file, replaced after every epoch, from which an interrupted training resumes.

The file is in safetensors format. Tensors: the network's weights, the best weights so far, the
optimizer's moments. Header: one JSON text with the history and the identity of the training.
One rename replaces the file, so a reader never sees half of it. Nothing in the file can run code.
It holds no state of a random generator, since a training needs none (see `seeding.py`).

A checkpoint belongs to one training: the same settings, data, initial weights, kind of device and
version of torch. A checkpoint of another training is no error, because data and settings change
between runs; it is ignored, with a warning that names the differences, and overwritten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rnn_core.training.file_folder import Folder

_LOG = logging.getLogger(__name__)
_NAME = "checkpoint.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class EpochRow:
    """One row of a training's history.

    Args:
        epoch: from 0.
        train_loss: mean squared error over the epoch's rows, as they were trained on.
        valid_score: the validation score after the epoch; higher is better. NaN without one.
        best: True if the score was above every earlier one.
        samples: training rows with a label that the epoch visited.

    Examples:
        >>> EpochRow(epoch=0, train_loss=1.0, valid_score=-1.0, best=True, samples=80)
        EpochRow(epoch=0, train_loss=1.0, valid_score=-1.0, best=True, samples=80)
    """

    epoch: int
    train_loss: float
    valid_score: float
    best: bool
    samples: int


@dataclass
class TrainingState:
    """A training between two epochs, with all that its next epoch needs.

    Args:
        network: with the weights of the last epoch.
        optimizer: over its parameters.
        history: one row an epoch.
        best_weights: state dict of the best epoch; empty before the first.
        sharded: True if a batch may be cut (see `workers.py`); not part of a checkpoint.
        row_weights: of the training rows, [S] on the device; only its digest is in a checkpoint.
        precision: of the device's products; part of the training's identity.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    history: list[EpochRow] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    sharded: bool = False
    row_weights: Tensor | None = None
    precision: str = "float32"

    @property
    def best(self) -> EpochRow | None:
        """The best epoch so far."""
        return next((row for row in reversed(self.history) if row.best), None)

    @property
    def epochs_since_best(self) -> int:
        """Epochs in a row without a better score."""
        return len(self.history) - 1 - self.best.epoch if self.best else 0


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copy the state dict, on the same device."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def training_identity(
    config: dict[str, Any],
    data_fingerprint: str,
    network: nn.Module,
    device: torch.device,
    row_weights: Tensor | None = None,
) -> dict[str, Any]:
    """Return the facts that must be equal for a training to resume from a checkpoint.

    Args:
        config: settings of the training, JSON-able.
        data_fingerprint: the caller's name for the data.
        network: with its initial weights.
        device: where it trains.
        row_weights: of the training rows, if they have any.

    Returns:
        A JSON-able dict.
    """
    digest = hashlib.sha256(type(network).__qualname__.encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    weight_facts = {}
    if row_weights is not None:
        values = row_weights.cpu().numpy().tobytes()
        weight_facts = {"row weights": hashlib.sha256(values).hexdigest()}
    return {
        "format": _FORMAT,
        **{f"config.{name}": value for name, value in config.items()},
        "data": data_fingerprint,
        "initial weights": digest.hexdigest(),
        "device": device.type,
        "torch": torch.__version__,
        **weight_facts,
    }


def save_checkpoint(folder: Folder, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write or replace the checkpoint.

    Args:
        folder: made if absent.
        state: after an epoch.
        identity: of the training.
    """
    tensors = {f"network/{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in state.best_weights.items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{k}": v for k, v in moments.items()}
    header = {"identity": identity, "history": [dataclasses.asdict(r) for r in state.history]}
    data = safetensors.torch.save(
        {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()},
        metadata={"training": json.dumps(header)},
    )
    folder.write(data, _NAME)


def load_checkpoint(folder: Folder, state: TrainingState, identity: dict[str, Any]) -> bool:
    """Resume a fresh state from the checkpoint, if there is one of this training.

    Args:
        folder: where it was saved.
        state: fresh; changed in place.
        identity: of the training to resume.

    Returns:
        True if `state` was changed.
    """
    try:
        data = folder.read(_NAME)
    except FileNotFoundError:
        return False
    path = f"{folder}/{_NAME}"
    # A checkpoint that is damaged or of another training costs time, never correctness.
    try:
        header = json.loads(_metadata(data)["training"])
        tensors = safetensors.torch.load(data)
        other = dict(header["identity"])
        history = [EpochRow(**row) for row in header["history"]]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        _LOG.warning("checkpoint %s cannot be read (%s); training starts afresh", path, error)
        return False
    differences = sorted(
        k for k in identity.keys() | other.keys() if identity.get(k) != other.get(k)
    )
    if differences:
        _LOG.warning(
            "checkpoint %s is of another training (%s differ); training starts afresh",
            path,
            ", ".join(differences),
        )
        return False
    # The name of a tensor says which state dict it belongs to.
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = value
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["optimizer"].items():
        number, _, moment = key.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    # The weights and moments go to the device of the network.
    state.network.load_state_dict(parts["network"])
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    device = next(state.network.parameters()).device
    state.best_weights = {name: value.to(device) for name, value in parts["best"].items()}
    state.history = history
    return True


def _metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a file in safetensors format; `load` gives the tensors alone."""
    size = int.from_bytes(data[:8], "little")
    texts: dict[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
    return texts


def remove_checkpoint(folder: Folder) -> None:
    """Remove the checkpoint of a finished training, if there is one.

    Args:
        folder: where it was saved; kept.
    """
    folder.remove(_NAME)
