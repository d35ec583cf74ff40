"""The base of the estimators: a dataset in, the one trainer, scores out.

The order is fit -> one trainer call for each seed -> members; predict -> the members' scores ->
their mean. The estimator keeps nothing before all networks are trained, so an interrupted `fit`
changes nothing. `rnn_core.estimators.estimator` lists the differences from qlib.

Shapes: `S` samples, `T` sessions of a window, `F` features of a session.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from rnn_core.caller import warn_caller
from rnn_core.data.datasets import TSDatasetH
from rnn_core.estimators.estimator_arguments import restored_on_error, torch_threads
from rnn_core.estimators.estimator_data import (
    Dataset,
    Reweighter,
    Windows,
    has_segment,
    prepare_windows,
    require_fitted_on,
    require_same_columns,
    row_weights,
)
from rnn_core.estimators.estimator_files import (
    Fit,
    Member,
    load_members,
    require_place,
    save_members,
)
from rnn_core.estimators.qlib_model import QlibModel
from rnn_core.models.families import model_family
from rnn_core.qlib_hooks import MODEL_HOOKS, refuse_overrides
from rnn_core.training.bundle_files import BundleError
from rnn_core.training.fit_result import EpochReport
from rnn_core.training.scoring import predict
from rnn_core.training.trainer import Trainer

_LOG = logging.getLogger(__name__)

KRNN_LAYOUT = (
    "KRNN cuts the flat rows as qlib's does, because the handler has semantics='qlib': that "
    "misreads Alpha360, whose columns lie field by field. legacy_layout=False reads them as they "
    "lie, legacy_layout=True says that this is meant"
)


class Estimator(QlibModel):
    """The base of the estimators; `QlibModel` has the attributes and functions of qlib's models.

    Arguments are named; those that all of qlib's classes have in the same place (the network's,
    then n_epochs to optimizer) may be given by position. An unknown one is ignored, as in qlib,
    with a warning.

    Args:
        n_epochs: most passes over the training rows.
        lr: learning rate.
        metric: the score that selects the best epoch: "loss" or "" (minus the mean squared error
            over the validation rows) or "ic" (the mean over sessions of the correlation with the
            label); any word if a subclass overrides `metric_fn`.
        batch_size: rows of a training batch.
        early_stop: epochs in a row without a better validation score that end the training.
        loss: "mse"; any word if a subclass overrides `loss_fn`.
        optimizer: "adam", or "gd" for plain gradient descent.
        n_jobs: accepted for qlib's sake and unused: batches are gathered without workers.
        GPU: number of the CUDA device; below 0, or without one, the CPU.
        seed: of weights, order and dropout; None draws one, which is logged and kept in `history`.
        seeds: networks to train, with the seeds seed, seed + 1, ...; the prediction is their mean.
        threads: of torch on the CPU while fitting and predicting; None leaves them as they are.
        deterministic: only repeatable kernels on CUDA; the CPU's are repeatable anyway.
        precision: "float32", "tf32" (on CUDA) or "bfloat16" (on CUDA, or a CPU with AMX); what a
            device lacks is computed in float32.
        **arguments: those of the family.

    Raises:
        TypeError: too many arguments by position, or a subclass overrides what is never called.
        ValueError: a value of the wrong type or outside its range.

    Examples:
        >>> issubclass(LSTM, Estimator), issubclass(Linear, Estimator)
        (True, False)
    """

    def __init__(self, *values: Any, **given: Any) -> None:
        refuse_overrides(self, Estimator, MODEL_HOOKS)
        super().__init__(*values, **given)

    def fit(
        self,
        dataset: Dataset,
        evals_result: dict[str, list[float]] | None = None,
        save_path: str | Path | None = None,
        reweighter: Reweighter | None = None,
        *,
        callback: Callable[[EpochReport], None] | None = None,
    ) -> Self:
        """Train on the segment "train", selecting the epoch on "valid".

        Without a segment "valid" every epoch is run and the last weights are kept. A second fit
        begins anew (qlib's goes on from the weights of the first).

        Args:
            dataset: its `prepare` gives samplers or frames.
            evals_result: filled as training goes: "train" with minus the running loss of every
                epoch, "valid" with its validation score. Networks of an ensemble follow one
                another.
            save_path: where to `save` when done; an estimator that is there is replaced.
            reweighter: weights the training rows. The loss is divided by the number of
                rows, as in qlib.
            callback: called after every epoch.

        Returns:
            The estimator.

        Raises:
            ValueError: data that do not fit the arguments, or hold features that are not finite;
                sizes of the network changed on the object, an optimizer of another network.
            TypeError: a method was replaced that is never called, or `train_optimizer` was used
                with several seeds.
            TrainingDivergedError: a number that is not finite; names epoch, batch and cause.
            BundleError: something else is at `save_path`; raised before the training.
        """
        # Whatever can fail early is checked before the training: the object, the place, the data.
        refuse_overrides(self, Estimator, MODEL_HOOKS)
        self._require_same_sizes()
        network = optimizer = None
        if self._network is not None:  # one that was asked for is the one that is trained
            network = self._begun()
        elif self._fit is not None:
            _LOG.warning("this fit begins anew and forgets the one before")
        if self._optimizer is not None and (network is not None or self._made_for is None):
            optimizer = self.train_optimizer
        if save_path is not None:
            require_place(save_path, replace=True)
        if self.n_jobs is not None:
            _LOG.info("n_jobs=%s is not used: there are no loader workers", self.n_jobs)
        arguments, layout = self._argument_values(), self._layout(dataset, warn=True)
        if "legacy_layout" in arguments:
            arguments["legacy_layout"] = layout
        train, valid = self._windows(dataset, "train", layout, learn=True), None
        if has_segment(dataset, "valid"):
            valid = self._windows(dataset, "valid", layout, learn=True)
            require_same_columns(train.columns, valid.columns, "train", "valid")
        else:
            _LOG.info(
                'no segment "valid": all %d epochs are run, the last one is kept', self.n_epochs
            )
        weights = None if reweighter is None else row_weights(reweighter, train)
        evals = {} if evals_result is None else evals_result
        evals.update(train=[], valid=[])

        def told(report: EpochReport) -> None:
            evals["train"].append(-report.train_loss)
            if valid is not None:
                evals["valid"].append(report.valid_score)
            if callback is not None:
                callback(report)

        # One network a seed; the estimator changes only when all of them are trained.
        first, members = self._first_seed(), []
        with torch_threads(self.threads), restored_on_error(network, optimizer):
            for seed in range(first, first + self.seeds):
                begun = network if network is not None and seed == first else None
                members.append(self._train(seed, begun, optimizer, train, valid, weights, told))
        self._forget()
        self._fit = Fit(
            type(self).__name__, arguments, train.columns, train.tabular, tuple(members)
        )
        if save_path is not None:
            self.save(save_path, replace=True)
        return self

    def predict(self, dataset: Dataset, segment: str | slice = "test") -> pd.Series[float]:
        """Score a segment by the mean over the networks.

        Args:
            dataset: as the one given to `fit`; a label is not asked for.
            segment: a name, or a slice of sessions.

        Returns:
            float32 named "score", index (datetime, instrument), sorted.

        Raises:
            RuntimeError: not fitted.
            ValueError: other columns than those fitted on, or features that are not finite.
        """
        scores = self.predict_members(dataset, segment)
        mean = scores.to_numpy().mean(axis=1, dtype=np.float64).astype(np.float32)
        return pd.Series(mean, index=scores.index, name="score")

    def predict_members(self, dataset: Dataset, segment: str | slice = "test") -> pd.DataFrame:
        """Score a segment with every network.

        Args:
            dataset: as for `predict`.
            segment: as for `predict`.

        Returns:
            float32, one column a seed, index (datetime, instrument), sorted.

        Raises:
            RuntimeError: not fitted.
            ValueError: as `predict`.
        """
        fit = self._require_fit()
        self._require_same_sizes()
        is_known = bool(fit.columns)  # the features are unknown if weights were loaded
        layout = fit.arguments.get("legacy_layout", False) if is_known else self._layout(dataset)
        windows = self._windows(dataset, segment, layout, learn=False)
        if is_known:
            require_fitted_on(fit.columns, fit.tabular, windows, segment)
        with torch_threads(self.threads):
            scores = {
                member.seed: predict(
                    member.network,
                    windows.source,
                    device=self._device(),
                    has_label=windows.has_label,
                )
                for member in fit.members
            }
        frame = pd.DataFrame(scores, index=windows.source.get_index(), dtype=np.float32)
        return frame.sort_index()

    @property
    def history(self) -> pd.DataFrame:
        """One row a network and epoch: seed, epoch, train_loss, valid_score, best, samples."""
        rows = [(m.seed, m.history) for m in self._require_fit().members]
        return pd.concat(
            [history.assign(seed=seed)[["seed", *history]] for seed, history in rows],
            ignore_index=True,
        )

    @property
    def member_scores(self) -> dict[int, float]:
        """Seed to best validation score, which selected the epoch; NaN without validation rows."""
        scores = {m.seed: m.record["best_score"] for m in self._require_fit().members}
        return {seed: math.nan if s is None else float(s) for seed, s in scores.items()}

    def save(self, path: str | Path, *, replace: bool = False) -> None:
        """Write the fit as plain files: arguments, weights and history; see `estimator_files`.

        Args:
            path: a folder.
            replace: True if an estimator at the path may be replaced.

        Raises:
            RuntimeError: not fitted.
            BundleError: something else is at the path, or an estimator and not `replace`.
        """
        fit = self._require_fit()
        if not fit.columns:
            raise RuntimeError(
                f"this {type(self).__name__} has loaded weights and does not know its features: "
                f"save its network's state_dict, or fit it"
            )
        save_members(
            path,
            fit,
            family=self.family,
            hyper=self._hyper,
            n_features=self._n_features,
            replace=replace,
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved estimator; no code can run.

        Args:
            path: as given to `save`.

        Returns:
            A fitted estimator.

        Raises:
            BundleError: there is no estimator, or one that is damaged or of another class.
        """
        fit = load_members(path)
        if fit.estimator != cls.__name__:
            raise BundleError(
                f"{path} holds a {fit.estimator}, not a {cls.__name__}: read it with "
                f"{fit.estimator}.load"
            )
        model = cls(**fit.arguments)
        model._fit = fit
        return model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({repr(self.arguments).partition('(')[2]}"

    def _layout(self, dataset: Dataset, *, warn: bool = False) -> bool:
        """Decide if flat rows are cut as qlib's KRNN does: as stated, else as the handler says."""
        chosen: bool | None = getattr(self, "legacy_layout", False)  # only the KRNN has a choice
        if chosen is not None:
            return chosen
        semantics = getattr(getattr(dataset, "handler", None), "semantics", "strict")
        legacy = semantics == "qlib" and not isinstance(dataset, TSDatasetH)
        if legacy and warn:
            warn_caller(KRNN_LAYOUT)
        return legacy

    def _windows(
        self, dataset: Dataset, segment: str | slice, legacy: bool, *, learn: bool
    ) -> Windows:
        return prepare_windows(
            dataset,
            segment,
            learn=learn,
            argument=model_family(self.family).feature_argument,
            n_features=self._n_features,
            legacy=legacy,
        )

    def _train(
        self,
        seed: int,
        network: nn.Module | None,
        optimizer: torch.optim.Optimizer | None,
        train: Windows,
        valid: Windows | None,
        weights: NDArray[np.float64] | None,
        told: Callable[[EpochReport], None],
    ) -> Member:
        """Train one network: the given one, or a fresh one of the seed."""

        def report(epoch: EpochReport) -> None:
            self._log(epoch, seed)
            told(epoch)

        trainer = Trainer(
            self._trainer_config(seed),
            callback=report,
            loss_fn=self._own_loss(weights is not None),
            metric_fn=self._own_metric(),
        )
        result = trainer.fit(
            self._fresh_network(seed) if network is None else network,
            train.source,
            valid.source if valid else None,
            weights=weights,
            optimizer=optimizer,
        )
        record = {
            "best_epoch": result.best_epoch,
            "best_score": result.best_score if valid else None,
            "stopped_early": result.stopped_early,
            "device": result.device,
        }
        return Member(result.network, seed, result.history, record)

    def _require_fit(self) -> Fit:
        """Return the fit, or refuse an estimator without one."""
        if self._fit is None:
            raise RuntimeError(
                f"this {type(self).__name__} is not fitted: call fit(dataset) first, or "
                f"{type(self).__name__}.load(path)"
            )
        return self._fit

    def _log(self, report: EpochReport, seed: int) -> None:
        """Log one line an epoch."""
        _LOG.info(
            "%s seed %d, epoch %d of %d: train loss %.6g, valid %.6g, best epoch %d, %.0f rows/s",
            type(self).__name__,
            seed,
            report.epoch,
            report.n_epochs,
            report.train_loss,
            report.valid_score,
            report.best_epoch,
            report.samples_per_second,
        )
