"""One trainer, its settings, checkpoints, scores, and the bundles that trained models live in."""

from __future__ import annotations

from rnn_core.training.bundle import (
    Bundle,
    bundle_fingerprint,
    load_bundle,
    save_bundle,
)
from rnn_core.training.bundle_files import BundleError
from rnn_core.training.checkpoint import EpochRow
from rnn_core.training.config import TrainerConfig
from rnn_core.training.device import DeviceChoice, resolve_device
from rnn_core.training.divergence import TrainingDivergedError
from rnn_core.training.scoring import predict
from rnn_core.training.seeding import seeded_network
from rnn_core.training.source import SessionSource, WindowSource
from rnn_core.training.trainer import EpochReport, FitResult, Trainer

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
    "WindowSource",
    "bundle_fingerprint",
    "load_bundle",
    "predict",
    "resolve_device",
    "save_bundle",
    "seeded_network",
]
