"""The facts of a training: of an epoch, for a callback, and of all, as `Trainer.fit` gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn


@dataclass(frozen=True)
class EpochReport:
    """The facts of an epoch, for the callback.

    Args:
        epoch: from 0.
        n_epochs: the most there will be.
        train_loss: running mean squared error of the epoch.
        valid_score: after the epoch; higher is better. NaN without validation rows.
        best_epoch: the best so far.
        samples_per_second: training rows per second of training, validation apart.

    Examples:
        >>> tell = lambda report: print(report.epoch, report.n_epochs)
        >>> result = Trainer(config, callback=tell).fit(make(), train, valid)
        0 2
        1 2
    """

    epoch: int
    n_epochs: int
    train_loss: float
    valid_score: float
    best_epoch: int
    samples_per_second: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """A finished training.

    Args:
        network: the one given to `fit`, with the best weights, in eval mode, on `device`.
        history: one row an epoch: epoch, train_loss, valid_score, best, samples. No times, so
            equal trainings have equal histories.
        best_epoch: from 0.
        best_score: its validation score, which selected the epoch and so measures no performance.
            NaN without validation rows; the last epoch is then the best one.
        stopped_early: True if `early_stop` ended the training.
        samples_per_second: training rows per second of training, in this call; 0 if a checkpoint
            of a finished training left nothing to do.
        seconds: of this call.
        device: of the training.
        device_reason: the reason for the device, in words.
        precision: of the products: "float32", "tf32" or "bfloat16".
        peak_memory: bytes; on an accelerator the most that were allocated there, on the CPU the
            most that the process has held so far.

    Examples:
        >>> Trainer(config).fit(make(), train, valid).history.columns.tolist()
        ['epoch', 'train_loss', 'valid_score', 'best', 'samples']
    """

    network: nn.Module
    history: pd.DataFrame
    best_epoch: int
    best_score: float
    stopped_early: bool
    samples_per_second: float
    seconds: float
    device: str
    device_reason: str
    precision: str
    peak_memory: int

    @property
    def member(self) -> nn.Module:
        """The network, as the member of a model."""
        return self.network

    @property
    def record(self) -> dict[str, Any]:
        """The facts for a manifest."""
        return {n: getattr(self, n) for n in ("best_epoch", "best_score", "stopped_early")}

    @property
    def computed_on(self) -> dict[str, str]:
        """The device and the precision, for a manifest."""
        return {"device": self.device, "precision": self.precision}
