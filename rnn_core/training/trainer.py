"""One trainer for every network: fit -> run_epoch -> train_step, and one visible loop.

Every epoch: shuffle the rows, take full batches, minimise the squared error, score the validation
rows, keep the weights if the score is the best so far, save a checkpoint, report. A training ends
after `n_epochs`, or after `early_stop` epochs in a row without a strictly better score, with the
best weights.

Differences from qlib's trainer (quirk numbers of its register): the loss of an epoch
is the running one, without a second pass over the training rows, and validation builds no graph
(Q19); validation counts every row, the tail too (Q13); a training set smaller than a batch is one
batch, where qlib's has none, and otherwise the shuffled tail is left to another epoch as in qlib;
order, dropout and weights have generators of their own (Q18); NaN is an error that says where it
began (Q20); there are no shared default results (Q30). Without validation rows every epoch is run
and the last weights are kept.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `LSTM.fit`, `train_epoch`.

Shapes: `S` samples, `B` batch, `L` window length, `F` features.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_

from rnn_core.training.checkpoint import (
    EpochRow,
    TrainingState,
    copy_weights,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    training_identity,
)
from rnn_core.training.device import PeakMemory, repeatable, resolve_device
from rnn_core.training.divergence import StepMonitor, TrainingDivergedError, all_finite
from rnn_core.training.file_folder import Folder, folder_at
from rnn_core.training.fit_result import EpochReport, FitResult
from rnn_core.training.gradients import LossFunction, batch_gradient, trainable, weight_tensor
from rnn_core.training.precision import product_precision, resolve_precision
from rnn_core.training.scoring import MetricFunction, Validator, split_label
from rnn_core.training.seeding import epoch_order, seeded_dropout
from rnn_core.training.source import WindowSource
from rnn_core.training.trainer_config import TrainerConfig
from rnn_core.training.workers import Workers, can_shard

_LOG = logging.getLogger(__name__)


class Trainer:
    """Trains a network that maps windows [B, L, F] to scores [B].

    Args:
        config: settings.
        callback: called after every epoch, once its checkpoint is on disk. An exception of it
            ends the training.
        loss_fn: in place of the mean squared error, called once a batch with all of its rows; NaN
            is the label of a row without one.
        metric_fn: in place of `config.metric`, called once an epoch with all validation rows.

    Examples:
        >>> result = Trainer(config).fit(seeded_network(make, 0), train, valid)
        >>> len(result.history), result.stopped_early
        (2, False)
    """

    def __init__(
        self,
        config: TrainerConfig,
        *,
        callback: Callable[[EpochReport], None] | None = None,
        loss_fn: LossFunction | None = None,
        metric_fn: MetricFunction | None = None,
    ) -> None:
        self.config = config
        self.callback = callback
        self.loss_fn, self.metric_fn = loss_fn, metric_fn

    def fit(
        self,
        network: nn.Module,
        train: WindowSource,
        valid: WindowSource | None,
        *,
        weights: ArrayLike | None = None,
        data_fingerprint: str = "",
        checkpoint_dir: str | Path | Folder | None = None,
        keep_checkpoint: bool = False,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> FitResult:
        """Train until the validation score stops rising.

        Same network, settings, data and kind of CPU: same bits, interrupted or not, on any number
        of threads. (With dropout or buffers in the network: on the same number of threads.)

        Args:
            network: with its initial weights (see `seeded_network`); trained in place.
            train: windows [B, L, F + 1], the label last.
            valid: alike; selects the best epoch. None: all epochs are run, the last one is kept.
            weights: of the training rows, [S], 0 or more; None for ones. The loss is
                sum(w * error^2) / number of rows, so weights of mean 1 keep its scale.
            data_fingerprint: a name for the contents of both sources; a checkpoint is
                resumed only under the same name.
            checkpoint_dir: folder of the checkpoint that is saved after every epoch, and resumed;
                None for no checkpoint. The end of the training removes it.
            keep_checkpoint: leave it in the folder, for a caller that has yet to save the result.
            optimizer: over parameters of the network, in place of the one that `config` names.

        Returns:
            The network with its best weights, and the facts of the training.

        Raises:
            ValueError: a source without samples or without finite labels, windows of another
                width than the network's, weights that do not fit, an optimizer over other
                parameters, a device that is not there, or a checkpoint of a training with functions
                or an optimizer of the caller's own, which a checkpoint cannot tell apart.
            TrainingDivergedError: a number that is not finite.
        """
        config, start = self.config, time.perf_counter()
        for name, source in (("training", train), ("validation", valid)):
            if source is not None and len(source) == 0:
                raise ValueError(
                    f"the {name} source has no samples; check its range of sessions and flt_data"
                )
        if checkpoint_dir is not None and (self.loss_fn or self.metric_fn or optimizer):
            raise ValueError(
                "a checkpoint cannot tell one loss_fn, metric_fn or optimizer from another, so it "
                "could resume another training: leave checkpoint_dir out"
            )
        # The state of the training: fresh, or that of the checkpoint.
        device, reason = resolve_device(config.device)
        memory = PeakMemory(device)
        network.to(device).train()
        example = split_label(train.batch(torch.zeros(1, dtype=torch.int64), device))[0]
        precision, why = resolve_precision(device, config.precision, network, example)
        validator = None if valid is None else Validator(valid, config.metric, self.metric_fn)
        optimizer = (
            make_optimizer(config, network) if optimizer is None else _over(network, optimizer)
        )
        state = TrainingState(network, optimizer, precision=precision)
        state.row_weights = weight_tensor(weights, len(train), device)
        folder = None if checkpoint_dir is None else folder_at(checkpoint_dir)
        settings = dataclasses.asdict(config)
        if precision != "float32":  # in which earlier releases computed on every CPU
            settings["computed_in"] = precision
        identity = training_identity(settings, data_fingerprint, network, device, state.row_weights)
        if folder is not None and load_checkpoint(folder, state, identity):
            _LOG.info("going on after epoch %d from %s", len(state.history) - 1, folder)
        _LOG.info(
            "training %s, %d rows, on %s; %s", type(network).__name__, len(train), reason, why
        )

        # One epoch after the other: train, validate, save the checkpoint, report.
        samples, seconds = 0, 0.0
        state.sharded = self.loss_fn is None and can_shard(network, example)
        with (
            product_precision(device, precision),
            repeatable(device, config.deterministic),
            Workers(device) as workers,
        ):
            while not self._finished(state):
                row, duration = self.run_epoch(state, train, validator, device, workers)
                samples, seconds = samples + row.samples, seconds + duration
                if folder is not None:
                    save_checkpoint(folder, state, identity)
                if self.callback is not None and state.best is not None:
                    self.callback(
                        EpochReport(
                            row.epoch,
                            config.n_epochs,
                            row.train_loss,
                            row.valid_score,
                            state.best.epoch,
                            row.samples / duration,
                        )
                    )

        # The best weights are the result; the checkpoint has served.
        network.load_state_dict(state.best_weights)
        network.eval()
        if folder is not None and not keep_checkpoint:
            remove_checkpoint(folder)
        best = state.best or state.history[0]
        return FitResult(
            network=network,
            history=pd.DataFrame([dataclasses.asdict(row) for row in state.history]),
            best_epoch=best.epoch,
            best_score=best.valid_score,
            stopped_early=state.epochs_since_best >= config.early_stop,
            samples_per_second=samples / seconds if seconds else 0.0,
            seconds=time.perf_counter() - start,
            device=str(device),
            device_reason=reason,
            precision=precision,
            peak_memory=memory.read(),
        )

    def run_epoch(
        self,
        state: TrainingState,
        train: WindowSource,
        validator: Validator | None,
        device: torch.device,
        workers: Workers,
    ) -> tuple[EpochRow, float]:
        """Pass once over the training rows, then score the validation rows.

        Args:
            state: changed in place: weights, moments, one more row, perhaps the best weights.
            train: windows [B, L, F + 1].
            validator: of the validation source, if there is one.
            device: where to run.
            workers: for the shards of a batch.

        Returns:
            The epoch's row, and the seconds its training pass took.

        Raises:
            TrainingDivergedError: a number that is not finite.
            ValueError: no finite label in either source.
        """
        # The training pass; its order and dropout are functions of the seed and the epoch.
        epoch, n_samples = len(state.history), len(train)
        size = min(self.config.batch_size, n_samples)  # fewer rows than a batch: one batch
        order = epoch_order(n_samples, self.config.seed, epoch).to(device)
        monitor = StepMonitor(epoch, device)
        start = time.perf_counter()
        state.network.train()
        dropout = seeded_dropout(device, self.config.seed, epoch)
        with nullcontext() if state.sharded else dropout:  # shards draw no random numbers
            for first in range(0, n_samples - size + 1, size):  # full batches only
                self.train_step(state, train, order[first : first + size], monitor, workers)
        train_loss, samples = monitor.totals()
        duration = time.perf_counter() - start

        # Without validation rows every epoch counts as the best so far.
        if validator is not None:
            score = validator.score(state.network, device, epoch, workers)
            is_best = state.best is None or score > state.best.valid_score
        elif bool(all_finite(state.network.parameters())):
            score, is_best = math.nan, True
        else:
            raise TrainingDivergedError(epoch, n_samples // size, "weights")
        if is_best:
            state.best_weights = copy_weights(state.network)
        row = EpochRow(epoch, train_loss, score, is_best, samples)
        state.history.append(row)
        return row, duration

    def train_step(
        self,
        state: TrainingState,
        train: WindowSource,
        indices: Tensor,
        monitor: StepMonitor,
        workers: Workers,
    ) -> None:
        """Take one step of the optimizer on the loss of the labelled rows.

        Args:
            state: its weights and moments are changed.
            train: windows [B, L, F + 1].
            indices: of the batch, [B], on the device.
            monitor: records whether weights, input and loss were finite.
            workers: for the shards of the batch.

        Raises:
            TrainingDivergedError: a number was not finite, at this step or one since the last
                reading.
        """
        weights_ok = all_finite(state.network.parameters())
        sums = batch_gradient(
            state.network,
            train,
            indices,
            sharded=state.sharded,
            workers=workers,
            row_weights=state.row_weights,
            precision=state.precision,
            loss_fn=self.loss_fn,
        )
        n_rows = sums.rows.clamp(min=1)
        for parameter, gradient in zip(trainable(state.network), sums.gradients, strict=True):
            parameter.grad = gradient / n_rows
        clip_grad_value_(state.network.parameters(), self.config.clip_value)
        state.optimizer.step()
        monitor.record(weights_ok, sums.input_ok, sums.squares, sums.rows)

    def _finished(self, state: TrainingState) -> bool:
        """True if there is no further epoch to run."""
        return (
            len(state.history) >= self.config.n_epochs
            or state.epochs_since_best >= self.config.early_stop
        )


def make_optimizer(config: TrainerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that the settings name.

    Args:
        config: its `optimizer` and `lr`.
        network: on the device of the training.

    Returns:
        Adam, on an accelerator as one kernel, or plain gradient descent.
    """
    if config.optimizer == "adam":
        fused = next(network.parameters()).device.type == "cuda"
        return torch.optim.Adam(network.parameters(), lr=config.lr, fused=fused)
    return torch.optim.SGD(network.parameters(), lr=config.lr)


def _over(network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return a caller's optimizer, if its parameters are those of the network."""
    known = {id(parameter) for parameter in network.parameters()}
    groups = optimizer.param_groups
    if not all(id(parameter) in known for group in groups for parameter in group["params"]):
        raise ValueError(
            "the optimizer holds parameters of another network, and would train nothing: make it "
            "over the parameters of the network that is to be trained"
        )
    return optimizer
