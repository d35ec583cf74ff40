"""One trainer, its settings, checkpoints, scores, and the bundles that trained models live in.

All but the settings load on first use, since they import torch, which takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnn_core.training.trainer_config import TrainerConfig

if TYPE_CHECKING:
    from rnn_core.training.bundle import (
        Bundle,
        bundle_fingerprint,
        load_bundle,
        save_bundle,
    )
    from rnn_core.training.bundle_files import BundleError
    from rnn_core.training.checkpoint import EpochRow
    from rnn_core.training.device import DeviceChoice, resolve_device
    from rnn_core.training.divergence import TrainingDivergedError
    from rnn_core.training.scoring import predict
    from rnn_core.training.seeding import seeded_network
    from rnn_core.training.source import SessionSource, WindowSource
    from rnn_core.training.trainer import EpochReport, FitResult, Trainer
    from rnn_core.training.validation import ValidationFacts, validation_facts

__all__ = [
    "Bundle",
    "BundleError",
    "DeviceChoice",
    "EpochReport",
    "EpochRow",
    "FitResult",
    "SessionSource",
    "Trainer",
    "TrainerConfig",
    "TrainingDivergedError",
    "ValidationFacts",
    "WindowSource",
    "bundle_fingerprint",
    "load_bundle",
    "predict",
    "resolve_device",
    "save_bundle",
    "seeded_network",
    "validation_facts",
]

_LAZY = {
    "Bundle": "rnn_core.training.bundle",
    "BundleError": "rnn_core.training.bundle_files",
    "DeviceChoice": "rnn_core.training.device",
    "EpochReport": "rnn_core.training.trainer",
    "EpochRow": "rnn_core.training.checkpoint",
    "FitResult": "rnn_core.training.trainer",
    "SessionSource": "rnn_core.training.source",
    "Trainer": "rnn_core.training.trainer",
    "TrainingDivergedError": "rnn_core.training.divergence",
    "ValidationFacts": "rnn_core.training.validation",
    "WindowSource": "rnn_core.training.source",
    "bundle_fingerprint": "rnn_core.training.bundle",
    "load_bundle": "rnn_core.training.bundle",
    "predict": "rnn_core.training.scoring",
    "resolve_device": "rnn_core.training.device",
    "save_bundle": "rnn_core.training.bundle",
    "seeded_network": "rnn_core.training.seeding",
    "validation_facts": "rnn_core.training.validation",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
