"""Settings of one training, with their validation.

A wrong setting should fail before an hour of training, not after it, so every field is checked
here, by type as well as by range: PyYAML reads `1e-3` as text, and `True` passes for a 1.

Rule matched: qlib contrib/model/pytorch_lstm_ts.py `LSTM.__init__`, names and defaults of its
benchmark file.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnn_core.models.estimator_protocol import require_type
from rnn_core.models.families import model_family
from rnn_core.suggestions import near_matches
from rnn_core.training.own_metric import SHIPPED, is_own_metric, own_metric

_CHOICES = {
    "loss": ("mse",),
    "metric": SHIPPED,
    "optimizer": ("adam", "gd"),
    "precision": ("float32", "tf32", "bfloat16"),
}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_LARGEST_SEED = 2**63 - 1
_MOST = 10_000_000


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of one training.

    Args:
        n_epochs: most passes over the training rows.
        lr: learning rate.
        batch_size: rows of a training batch.
        early_stop: epochs in a row without a better validation score that end the training.
        loss: "mse", the mean squared error over rows with a finite label.
        metric: the score that selects the best epoch, higher is better: "loss" is minus the mean
            squared error over all validation rows, "ic" the mean over sessions of the Pearson
            correlation of score and label. Or a metric of another package, by its name (see
            `rnn_core.training.Metric`).
        optimizer: "adam", or "gd" for plain gradient descent.
        clip_value: gradients are clipped to [-clip_value, clip_value], element by element.
        seed: of the order of rows and of dropout; `seeded_network` takes it for the weights.
        device: "auto" (the accelerator if there is one), "cpu", "cuda" or "cuda:K".
        deterministic: only repeatable kernels on an accelerator, at some cost in speed; needs
            CUBLAS_WORKSPACE_CONFIG in the environment. The CPU's are repeatable anyway.
        precision: of the products: "float32", "tf32" (on CUDA), or "bfloat16" for mixed precision
            (on CUDA, or a CPU with AMX; see `precision.py`). A CPU computes in float32 what it
            lacks.

    Raises:
        ValueError: a field of the wrong type or outside its range; the message names it.

    Examples:
        >>> TrainerConfig(lr=0.01).n_epochs
        200
        >>> TrainerConfig(lr=-1)
        Traceback (most recent call last):
            ...
        ValueError: lr is -1, expected a finite number above 0
    """

    n_epochs: int = 200
    lr: float = 1e-3
    batch_size: int = 800
    early_stop: int = 10
    loss: str = "mse"
    metric: str = "loss"
    optimizer: str = "adam"
    clip_value: float = 3.0
    seed: int = 0
    device: str = "auto"
    deterministic: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            require_type(field.name, getattr(self, field.name), type(field.default))
        for name in ("n_epochs", "batch_size", "early_stop"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected a whole number from 1 to {_MOST:,}"
                )
        for name in ("lr", "clip_value"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, expected a finite number above 0")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if name == "metric" and value not in choices and is_own_metric(value):
                own_metric(value)
            elif value not in choices:
                raise ValueError(
                    f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}"
                    f"{near_matches(value, choices)}"
                )
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed is {self.seed}, expected a whole number in [0, 2**63)")
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(
                f'device is {self.device!r}, expected "auto", "cpu", "cuda" or "cuda:K"'
            )

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> TrainerConfig:
        """Build the settings from a parsed config file.

        Args:
            given: field name to value; fields that are left out keep their default.

        Returns:
            The checked settings.

        Raises:
            ValueError: an unknown field (the message names the nearest) or a bad value.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for name in given:
            if name not in names:
                raise ValueError(
                    f"no training setting {name!r}, expected some of {', '.join(names)}"
                    f"{near_matches(name, names)}"
                )
        return cls(**given)

    @classmethod
    def for_family(cls, family: str, **given: Any) -> TrainerConfig:
        """Build a family's benchmark settings, with changes.

        Args:
            family: a key of `MODEL_FAMILIES`.
            **given: fields that differ from them.

        Returns:
            The checked settings.

        Raises:
            ValueError: an unknown family or field, or a bad value.
        """
        return cls.from_mapping({**dataclasses.asdict(model_family(family).training), **given})
