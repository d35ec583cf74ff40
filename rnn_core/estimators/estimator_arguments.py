"""Arguments of the estimators: names and defaults of qlib's classes, with their checks.

A family's arguments are one frozen dataclass, which is the signature of the estimator and the
content of its bundle.

Rules matched: qlib contrib/model/pytorch_lstm_ts.py, pytorch_gru_ts.py, pytorch_krnn.py, the
`__init__` of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from rnn_core.models.families import require_type
from rnn_core.suggestions import near_matches

_LEAST = {"GPU": None, "seed": 0, "seeds": 1, "threads": 1, "n_jobs": None}
_OPTIONAL = ("seed", "threads", "n_jobs")


@dataclass(frozen=True, kw_only=True)
class TrainingArguments:
    """Arguments that all estimators take."""

    n_epochs: int = 200
    lr: float = 1e-3
    metric: str = "loss"
    batch_size: int = 2000
    early_stop: int = 20
    loss: str = "mse"
    optimizer: str = "adam"
    n_jobs: int | None = None
    GPU: int = 0
    seed: int | None = None
    seeds: int = 1
    threads: int | None = None
    deterministic: bool = False
    precision: str = "float32"


@dataclass(frozen=True, kw_only=True)
class RecurrentArguments(TrainingArguments):
    """Arguments of `LSTM` and `GRU`."""

    d_feat: int = 20
    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KRNNArguments(TrainingArguments):
    """Arguments of `KRNN`."""

    fea_dim: int = 6
    cnn_dim: int = 64
    cnn_kernel_size: int = 3
    rnn_dim: int = 64
    rnn_dups: int = 3
    rnn_layers: int = 2
    dropout: float = 0.0
    legacy_layout: bool = False


Given = TypeVar("Given", bound=TrainingArguments)


def checked_arguments(kind: type[Given], owner: str, given: Mapping[str, Any]) -> Given:
    """Check arguments by name; trainer and network check the values of their own.

    Args:
        kind: the dataclass of the family.
        owner: name of the estimator, for messages.
        given: name to value.

    Returns:
        The arguments, defaults for the rest.

    Raises:
        TypeError: an unknown name; the message names the nearest.
        ValueError: a value of the wrong type or outside its range.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in names:
            raise TypeError(
                f"{owner} has no argument {name!r}, expected some of {', '.join(sorted(names))}"
                f"{near_matches(name, names)}"
            )
    arguments = kind(**given)
    for field in dataclasses.fields(kind):
        value = getattr(arguments, field.name)
        if field.name in _LEAST:
            if value is None and field.name in _OPTIONAL:
                continue
            require_type(field.name, value, int)
            least = _LEAST[field.name]
            if least is not None and value < least:
                raise ValueError(f"{field.name} is {value}, expected {least} or more")
        elif isinstance(field.default, bool):
            require_type(field.name, value, bool)
    return arguments


@contextmanager
def torch_threads(wanted: int | None) -> Iterator[None]:
    """Set torch's number of CPU threads inside the block.

    Args:
        wanted: the number; None leaves it as it is.

    Yields:
        Nothing.
    """
    n_threads = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
