"""Arguments of the estimators: names, order and defaults of qlib's classes, with their checks.

A family's arguments are one frozen dataclass, which is the content of its bundle. Those that all of
qlib's classes take in the same place may be given by position; the rest by name, since qlib's
classes for tables and for windows differ there (`GPU` against `n_jobs`).

Rules matched: qlib contrib/model/pytorch_lstm_ts.py, pytorch_gru_ts.py, pytorch_krnn.py, the
`__init__` of each.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from rnn_core.caller import warn_caller
from rnn_core.models.estimator_protocol import require_type
from rnn_core.suggestions import near_matches

_LEAST = {"GPU": None, "seed": 0, "seeds": 1, "threads": 1, "n_jobs": None}
_OPTIONAL = ("seed", "threads", "n_jobs", "legacy_layout")
_TRAINING_ORDER = ("n_epochs", "lr", "metric", "batch_size", "early_stop", "loss", "optimizer")


@dataclass(frozen=True, kw_only=True)
class TrainingArguments:
    """Arguments that all estimators take."""

    n_epochs: int = 200
    lr: float = 1e-3
    metric: str = ""
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

    d_feat: int = 6
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
    legacy_layout: bool | None = None


Given = TypeVar("Given", bound=TrainingArguments)


def checked_arguments(kind: type[Given], owner: str, given: Mapping[str, Any]) -> Given:
    """Check arguments by name; trainer and network check the values of their own.

    An unknown name is ignored, as in qlib, with a warning that names it and the nearest known one.

    Args:
        kind: the dataclass of the family.
        owner: name of the estimator, for messages.
        given: name to value.

    Returns:
        The arguments, defaults for the rest.

    Raises:
        ValueError: a value of the wrong type or outside its range.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for name, value in given.items():
        if name not in names:
            warn_caller(
                f"{owner} has no argument {name!r} and ignores {value!r:.60}, as qlib does"
                f"{near_matches(name, names)}; it takes {', '.join(sorted(names))}",
            )
    arguments = kind(**{name: value for name, value in given.items() if name in names})
    if isinstance(arguments.optimizer, str):
        arguments = dataclasses.replace(arguments, optimizer=arguments.optimizer.lower())
    for field in dataclasses.fields(kind):
        value = getattr(arguments, field.name)
        if value is None and field.name in _OPTIONAL:
            continue
        if field.name in _LEAST:
            require_type(field.name, value, int)
            least = _LEAST[field.name]
            if least is not None and value < least:
                raise ValueError(f"{field.name} is {value}, expected {least} or more")
        elif str(field.type).startswith("bool"):
            require_type(field.name, value, bool)
    return arguments


def positional_names(kind: type[TrainingArguments]) -> tuple[str, ...]:
    """Return the arguments that may be given by position, in qlib's order.

    Args:
        kind: the dataclass of the family.

    Returns:
        Their names: those of the network, then those of the training up to `optimizer`.
    """
    training = [field.name for field in dataclasses.fields(TrainingArguments)]
    own = [field.name for field in dataclasses.fields(kind) if field.name not in training]
    return (*(name for name in own if name != "legacy_layout"), *_TRAINING_ORDER)


def signature_of(kind: type[TrainingArguments]) -> inspect.Signature:
    """Return the signature of an estimator.

    Args:
        kind: the dataclass of the family.

    Returns:
        The signature; unknown keywords are taken, and ignored with a warning.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    first = positional_names(kind)
    by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            name,
            by_place if name in first else inspect.Parameter.KEYWORD_ONLY,
            default=fields[name].default,
            annotation=fields[name].type,
        )
        for name in dict.fromkeys([*first, *fields])
    ]
    return inspect.Signature(
        [*parameters, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]
    )


def by_name(kind: type[TrainingArguments], owner: str, values: Sequence[Any]) -> dict[str, Any]:
    """Name the arguments that were given by position.

    Args:
        kind: the dataclass of the family.
        owner: name of the estimator, for messages.
        values: the arguments.

    Returns:
        Name to value.

    Raises:
        TypeError: more than may be given by position.
    """
    names = positional_names(kind)
    if len(values) > len(names):
        raise TypeError(
            f"{owner} was given {len(values)} arguments by position, expected {len(names)} at "
            f"most ({', '.join(names)}): name n_jobs, GPU and seed, which qlib's classes order "
            f"differently"
        )
    return dict(zip(names, values, strict=False))


def takes_weight(loss_fn: Callable[..., Any]) -> bool:
    """True if a loss function takes (pred, label, weight), as those of qlib's *_ts classes do.

    Args:
        loss_fn: the function, or a module of torch's.
    """
    try:
        inspect.signature(getattr(loss_fn, "forward", loss_fn)).bind(None, None, None)
    except TypeError:
        return False
    return True


@contextmanager
def restored_on_error(*states: nn.Module | torch.optim.Optimizer | None) -> Iterator[None]:
    """Give networks and optimizers the state back that they had, if the block ends in an error.

    Args:
        states: None is passed over.

    Yields:
        Nothing.
    """
    before = [(s, copy.deepcopy(s.state_dict())) for s in states if s is not None]
    try:
        yield
    except BaseException:
        for state, values in before:
            state.load_state_dict(values)
        raise


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
