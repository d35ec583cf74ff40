"""`QlibModel`: the attributes of qlib's models, and the functions that a subclass may override.

    lstm_model, LSTM_model, gru_model ...   the network of the fit, or the one that it begins with
    train_optimizer, device, use_gpu        of that network
    fitted                                  True after a fit, and settable for loaded weights
    d_feat, n_epochs, lr, metric ...        the arguments; a fit reads them anew
    loss_fn, metric_fn                      called if a subclass, or the object, has its own

qlib makes the network in the constructor. Here it is made when it is first asked for, so an
estimator costs nothing before its fit; with a seed it has the same weights either way. Several
networks (`seeds`) show their first.

Rule matched: qlib contrib/model/pytorch_lstm.py, pytorch_lstm_ts.py, pytorch_gru.py,
pytorch_gru_ts.py, pytorch_krnn.py.

Shapes: `B` samples of a batch, `S` samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rnn_core.estimators.estimator_arguments import (
    TrainingArguments,
    by_name,
    checked_arguments,
    signature_of,
    takes_weight,
)
from rnn_core.estimators.estimator_files import Fit, Member
from rnn_core.models.families import build_network, model_family
from rnn_core.suggestions import near_matches
from rnn_core.training.device import resolve_device
from rnn_core.training.gradients import LossFunction
from rnn_core.training.seeding import seeded_network
from rnn_core.training.trainer import make_optimizer
from rnn_core.training.trainer_config import TrainerConfig

_OF_THE_TRAINER = [f.name for f in dataclasses.fields(TrainerConfig)]


class QlibModel:
    """Arguments, network, loss and metric of an estimator, under qlib's names."""

    family: ClassVar[str]
    Arguments: ClassVar[type[TrainingArguments]]

    n_epochs: int
    lr: float
    metric: str
    batch_size: int
    early_stop: int
    loss: str
    optimizer: str
    n_jobs: int | None
    GPU: int
    seed: int | None
    seeds: int
    threads: int | None
    deterministic: bool
    precision: str

    _fit: Fit | None
    _network: nn.Module | None
    _network_seed: int
    _optimizer: torch.optim.Optimizer | None
    _made_for: tuple[nn.Module, float, str] | None  # None: the optimizer is the caller's own
    _drawn_seed: int | None

    def __init_subclass__(cls) -> None:
        if "Arguments" in vars(cls):
            cls.__signature__ = signature_of(cls.Arguments)  # type: ignore[attr-defined]

    def __init__(self, *values: Any, **given: Any) -> None:
        owner = type(self).__name__
        placed = by_name(self.Arguments, owner, values)
        for name in placed:
            if name in given:
                raise TypeError(f"{owner} was given {name} twice, by position and by name")
        arguments = checked_arguments(self.Arguments, owner, {**placed, **given})
        for field in dataclasses.fields(arguments):
            setattr(self, field.name, getattr(arguments, field.name))
        self._forget()
        self._hyper, self._n_features = self._sizes()
        with torch.device("meta"):  # checks the sizes; takes no memory and no random numbers
            build_network(self.family, self._n_features, self._hyper)
        self._trainer_config(seed=self.seed or 0)

    @property
    def arguments(self) -> TrainingArguments:
        """The arguments as they are now, checked."""
        return checked_arguments(self.Arguments, type(self).__name__, self.get_params())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name, as scikit-learn asks for them."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self.Arguments)
        }

    def set_params(self, **params: Any) -> Self:
        """Change arguments, as scikit-learn does; a fit is forgotten.

        Raises:
            ValueError: an unknown argument, or a value of the wrong type or outside its range.
        """
        known, owner = self.get_params(), type(self).__name__
        unknown = [name for name in params if name not in known]
        if unknown:
            near = near_matches(unknown[0], known)
            raise ValueError(f"{owner} has no argument {unknown[0]!r}{near}")
        type(self)(**{**known, **params})  # refuses what the constructor would
        arguments = checked_arguments(self.Arguments, owner, {**known, **params})
        for name in known:
            setattr(self, name, getattr(arguments, name))
        self._forget()
        self._hyper, self._n_features = self._sizes()
        return self

    def __sklearn_clone__(self) -> Self:
        """An estimator of the same arguments that is not fitted, for `sklearn.base.clone`."""
        return type(self)(**self.get_params())

    @property
    def network(self) -> nn.Module:
        """The first network of the fit, or before one the network that a fit begins with."""
        return self._begun() if self._fit is None else self._fit.members[0].network

    @network.setter
    def network(self, value: Any) -> None:
        raise TypeError(
            f"the network of {type(self).__name__} cannot be replaced by {type(value).__name__}: "
            f"load weights into it with load_state_dict, or train a network of your own with "
            f"rnn_core.training.Trainer"
        )

    @property
    def train_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer over `network`, with which a first fit trains; set it to use another.

        It is one object as long as the network, `lr` and `optimizer` are the same.

        Raises:
            TypeError: there are several networks (`seeds`).
        """
        if self.seeds > 1:
            raise TypeError(
                f"train_optimizer belongs to one network and there are {self.seeds}: give seeds=1, "
                f"or lr and optimizer"
            )
        if self._optimizer is None or self._made_for not in (None, self._optimizer_settings()):
            self._optimizer = make_optimizer(self._trainer_config(seed=0), self.network)
            self._made_for = self._optimizer_settings()
        return self._optimizer

    @train_optimizer.setter
    def train_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer, self._made_for = optimizer, None

    @property
    def device(self) -> torch.device:
        """The device of fit and prediction."""
        return resolve_device(self._device()).device

    @device.setter
    def device(self, value: Any) -> None:
        raise TypeError(
            f"the device of {type(self).__name__} cannot be set to {value!r}: set GPU, the number "
            f"of a CUDA device, or -1 for the CPU"
        )

    @property
    def use_gpu(self) -> bool:
        """True unless the device is the CPU."""
        return self.device.type != "cpu"

    @property
    def fitted(self) -> bool:
        """True if there is a network to predict with.

        Set it to True to predict with weights that were loaded into `network`: such an estimator
        does not know the names of its features and cannot be saved. False forgets the fit.
        """
        return self._fit is not None

    @fitted.setter
    def fitted(self, value: bool) -> None:
        if not value:
            self._forget()
        elif self._fit is None:
            record = {"best_epoch": 0, "best_score": None, "stopped_early": False}
            member = Member(self.network.eval(), self._first_seed(), pd.DataFrame(), record)
            self._fit = Fit(type(self).__name__, self._argument_values(), (), False, (member,))

    def loss_fn(self, pred: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the mean squared error over the rows with a label.

        A subclass may override it, with or without `weight`; then it is called once a batch.

        Args:
            pred: [B].
            label: [B], NaN for a row without one.
            weight: [B]; None for ones.

        Returns:
            The loss, one number.
        """
        if self.loss != "mse":
            raise ValueError(f"loss is {self.loss!r}, expected 'mse': override loss_fn")
        mask = ~torch.isnan(label)
        squares = (pred[mask] - label[mask]).square()
        return squares.mean() if weight is None else (weight[mask] * squares).mean()

    def metric_fn(self, pred: Tensor, label: Tensor) -> Any:
        """Compute minus the loss over the rows with a label.

        A subclass may override it; then it is called once an epoch, with all validation rows.

        Args:
            pred: [S].
            label: [S], NaN for a row without one.

        Returns:
            The score, one number, higher is better.
        """
        if self.metric not in ("", "loss"):
            raise ValueError(f"metric is {self.metric!r}, expected 'loss': override metric_fn")
        mask = torch.isfinite(label)
        return -self.loss_fn(pred[mask], label[mask])

    def _overridden(self, name: str) -> Callable[..., Any] | None:
        """Return the loss or metric of a subclass or of the object; None for those above."""
        method: Callable[..., Any] = getattr(self, name)
        return None if getattr(method, "__func__", None) is getattr(QlibModel, name) else method

    def _own_loss(self, weighted: bool) -> LossFunction | None:
        """Return the overridden loss for the trainer, if there is one."""
        loss_fn = self._overridden("loss_fn")
        if loss_fn is None:
            return None
        if takes_weight(loss_fn):
            return lambda pred, label, weight: loss_fn(  # as qlib's *_ts classes: ones for none
                pred, label, torch.ones_like(label) if weight is None else weight
            )
        if weighted:
            raise TypeError(
                f"{type(self).__name__}.loss_fn takes (pred, label) and the reweighter gives "
                f"weights: define loss_fn(self, pred, label, weight=None)"
            )
        return lambda pred, label, _: loss_fn(pred, label)

    def _own_metric(self) -> Callable[[Tensor, Tensor], Any] | None:
        """Return the overridden metric, or minus an overridden loss if the loss is the metric."""
        metric_fn = self._overridden("metric_fn")
        if metric_fn is None and self.metric in ("", "loss") and self._overridden("loss_fn"):
            return self.metric_fn
        return metric_fn

    def _sizes(self) -> tuple[dict[str, Any], int]:
        """Return the hyper-parameters of the network, and F, as the attributes say."""
        family = model_family(self.family)
        hyper = {f.name: getattr(self, f.name) for f in dataclasses.fields(family.hyper)}
        return hyper, getattr(self, family.feature_argument)

    def _require_same_sizes(self) -> None:
        """Refuse sizes that were changed on the object."""
        if self._sizes() != (self._hyper, self._n_features):
            raise ValueError(
                f"the sizes of the network were changed after it was made, to {self._sizes()}: "
                f"make a new {type(self).__name__} with them"
            )

    def _forget(self) -> None:
        """Return to the state before any fit."""
        self._fit = self._network = self._optimizer = self._made_for = self._drawn_seed = None
        self._network_seed = 0

    def _argument_values(self) -> dict[str, Any]:
        """Return the arguments as they are now, by name."""
        return dataclasses.asdict(self.arguments)

    def _optimizer_settings(self) -> tuple[nn.Module, float, str]:
        """Return all that the optimizer follows from."""
        return self.network, self.lr, self.optimizer

    def _begun(self) -> nn.Module:
        """Return the network that a fit begins with; its weights follow the seed until others
        are loaded into it.
        """
        seed = self._first_seed()
        if self._network is None:
            self._network = self._fresh_network(seed).to(self.device)
        elif seed != self._network_seed:
            weights = self._network.state_dict()
            seeded = self._fresh_network(self._network_seed).state_dict()
            if all(torch.equal(value.cpu(), seeded[name]) for name, value in weights.items()):
                self._network.load_state_dict(self._fresh_network(seed).state_dict())
        self._network_seed = seed
        return self._network

    def _fresh_network(self, seed: int) -> nn.Module:
        """Build a network whose weights follow from a seed."""
        return seeded_network(
            lambda: build_network(self.family, self._n_features, self._hyper), seed
        )

    def _first_seed(self) -> int:
        """Return the seed of the first network; one is drawn, once a fit, if none was given."""
        if self.seed is not None:
            return self.seed
        if self._drawn_seed is None:
            self._drawn_seed = int(np.random.SeedSequence().generate_state(1)[0])
        return self._drawn_seed

    def _trainer_config(self, seed: int) -> TrainerConfig:
        """Build the trainer's settings for one network."""
        values = dataclasses.asdict(self.arguments)
        settings = {name: values[name] for name in _OF_THE_TRAINER if name in values}
        # A function of the subclass may give words of its own a meaning.
        if self._overridden("loss_fn"):
            settings["loss"] = "mse"
        if self.metric == "" or self._overridden("metric_fn"):
            settings["metric"] = "loss"
        return TrainerConfig(**{**settings, "seed": seed, "device": self._device()})

    def _device(self) -> str:
        """Translate `GPU` to the trainer's word: as in qlib, the CPU without CUDA."""
        if self.GPU < 0:
            return "cpu"
        if self.GPU == 0 or not torch.cuda.is_available():
            return "auto"
        return f"cuda:{self.GPU}"
