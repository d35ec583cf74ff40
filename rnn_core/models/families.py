"""The tables of model families: networks with their settings, and estimators that are none.

A family is a network class, its hyper-parameters as a frozen dataclass, and default settings of a
training. Everything that deals with a model by name (the trainer's defaults, bundles, the
pipeline's assets, workflow files) reads this one table, so a fourth family is one entry in
`MODEL_FAMILIES`: a module that takes the hyper-parameters and the number of features as keywords
and maps [B, L, F] to [B]. `ESTIMATOR_FAMILIES` has the models that the one trainer does not train:
an entry is a class that keeps the contract of `estimator_protocol`.

A network's module is imported when one is built, so reading this table (as a pipeline's definitions
do, many times a day) does not load torch.

Defaults: qlib examples/benchmarks/{LSTM,GRU,KRNN}/workflow_config_*. The defaults of LSTM and GRU
are those of the Alpha158 files; KRNN has only a file for Alpha360.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from rnn_core.models.estimator_protocol import (
    EstimatorFamily,
    hyper_class,
    missing_methods,
    resolved,
)
from rnn_core.models.input_checks import MOST_LAYERS, require_dropout, require_sizes
from rnn_core.models.lightgbm import LightGBMModel
from rnn_core.models.linear import LinearModel
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.suggestions import near_matches

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RecurrentHyper:
    """Hyper-parameters of `LSTMModel` and `GRUModel`.

    Examples:
        >>> RecurrentHyper()
        RecurrentHyper(hidden_size=64, num_layers=2, dropout=0.0)
    """

    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_sizes(hidden_size=self.hidden_size)
        require_sizes(MOST_LAYERS, num_layers=self.num_layers)
        require_dropout(self.dropout)


@dataclass(frozen=True)
class KRNNHyper:
    """Hyper-parameters of `KRNNModel`.

    Examples:
        >>> KRNNHyper(rnn_dups=3).rnn_dups
        3
    """

    cnn_dim: int = 8
    cnn_kernel_size: int = 3
    rnn_dim: int = 8
    rnn_dups: int = 2
    rnn_layers: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_sizes(
            cnn_dim=self.cnn_dim, cnn_kernel_size=self.cnn_kernel_size, rnn_dim=self.rnn_dim
        )
        require_sizes(MOST_LAYERS, rnn_dups=self.rnn_dups, rnn_layers=self.rnn_layers)
        require_dropout(self.dropout)


@dataclass(frozen=True)
class TrainingDefaults:
    """Default training settings of a family.

    Examples:
        >>> TrainingDefaults()
        TrainingDefaults(lr=0.001, batch_size=800, early_stop=10, n_epochs=200)
    """

    lr: float = 1e-3
    batch_size: int = 800  # rows
    early_stop: int = 10  # epochs without a better validation score
    n_epochs: int = 200


@dataclass(frozen=True)
class ModelFamily:
    """One entry of the table.

    Args:
        name: the key in configs, bundles and asset names.
        network: gives the module's class, [B, L, F] -> [B].
        feature_argument: the network's argument that takes F.
        hyper: the frozen dataclass of its other arguments, with defaults.
        training: the default training settings.
        origin: which code it is, of a network of another package (see `own_parts`); else empty.

    Examples:
        >>> family = model_family("krnn")
        >>> isinstance(family, ModelFamily), family.feature_argument, family.network().__name__
        (True, 'fea_dim', 'KRNNModel')
    """

    name: str
    network: Callable[[], type[nn.Module]]
    feature_argument: str
    hyper: type[Any]
    training: TrainingDefaults
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Add the defaults of the hyper-parameters that are not given.

        Args:
            given: argument name to value; may be empty.

        Returns:
            Every hyper-parameter, in the order of the dataclass.

        Raises:
            ValueError: an unknown name, or a value of the wrong type.
        """
        return resolved(self.name, self.hyper, given)

    def build(self, d_feat: int, hyper: Mapping[str, Any] = MappingProxyType({})) -> nn.Module:
        """Build the network with fresh weights from torch's current generator.

        Args:
            d_feat: F, features of one session.
            hyper: hyper-parameters that differ from the defaults.

        Returns:
            The module on the CPU, in training mode.

        Raises:
            ValueError: an unknown hyper-parameter or a value outside its range.
        """
        require_sizes(d_feat=d_feat)
        return self.network()(**{self.feature_argument: d_feat}, **self.resolve(hyper))


Family: TypeAlias = ModelFamily | EstimatorFamily


def _lstm() -> type[nn.Module]:
    from rnn_core.models.lstm import LSTMModel

    return LSTMModel


def _gru() -> type[nn.Module]:
    from rnn_core.models.gru import GRUModel

    return GRUModel


def _krnn() -> type[nn.Module]:
    from rnn_core.models.krnn import KRNNModel

    return KRNNModel


_LSTM = ModelFamily("lstm", _lstm, "d_feat", RecurrentHyper, TrainingDefaults())
_GRU = ModelFamily("gru", _gru, "d_feat", RecurrentHyper, TrainingDefaults(lr=2e-4))
_KRNN = ModelFamily(
    "krnn", _krnn, "fea_dim", KRNNHyper, TrainingDefaults(batch_size=2000, early_stop=20)
)

MODEL_FAMILIES: Mapping[str, ModelFamily] = MappingProxyType(
    {family.name: family for family in (_LSTM, _GRU, _KRNN)}
)
"""The shipped networks by name.

Examples:
    >>> sorted(MODEL_FAMILIES)
    ['gru', 'krnn', 'lstm']
"""

ESTIMATOR_FAMILIES: Mapping[str, EstimatorFamily] = MappingProxyType(
    {
        "linear": EstimatorFamily.shipped("linear", LinearModel, "1"),
        "lightgbm": EstimatorFamily.shipped("lightgbm", LightGBMModel, "1"),
    }
)
"""The shipped estimators that are no networks, by name.

Examples:
    >>> sorted(ESTIMATOR_FAMILIES)
    ['lightgbm', 'linear']
"""

SHIPPED: Mapping[str, Family] = MappingProxyType({**MODEL_FAMILIES, **ESTIMATOR_FAMILIES})
"""Every shipped family by its name in a configuration."""


ENTRY_POINTS = "rnn_core.models"
"""The group of entry points of networks and estimators."""

_own: dict[str, Family] = {}


def own_family(name: str) -> Family:
    """Import a network or an estimator of another package, and make it known by its name.

    A `torch.nn.Module` is a network, whose contract is `rnn_core.models.Network`; any other class
    is an estimator, whose contract is `rnn_core.models.EstimatorModel`.

    Args:
        name: `package.module:Name`, or an entry point of the group `rnn_core.models`.

    Returns:
        The family; that of a network has general settings of the training.

    Raises:
        ValueError: it cannot be imported, or breaks the contract; the message says how.

    Examples:
        >>> own_family("nowhere:Net")
        Traceback (most recent call last):
            ...
        ValueError: cannot import nowhere for 'nowhere:Net': ModuleNotFoundError: No ...
    """
    part = load_part(name, ENTRY_POINTS)
    torch = sys.modules.get("torch")  # who subclasses its modules has imported it
    family: Family
    if torch is not None and issubclass(part.value, torch.nn.Module):
        family = _own_network(part)
    else:
        family = _own_estimator(part)
    _own[name] = family
    return family


def _own_network(part: OwnPart) -> ModelFamily:
    """The family of a network of another package."""
    if "d_feat" not in inspect.signature(part.value).parameters:
        raise ValueError(
            f"{part.name} takes no argument d_feat, the number of features of a window, "
            f"expected {part.value.__name__}(d_feat, ...) with defaults for all others"
        )
    hyper = hyper_class(part.name, part.value, leave_out=("d_feat",))
    return ModelFamily(
        part.name, lambda: part.value, "d_feat", hyper, TrainingDefaults(), part.origin
    )


def _own_estimator(part: OwnPart) -> EstimatorFamily:
    """The family of an estimator of another package."""
    faults = missing_methods(part.value)
    if faults:
        raise ValueError(
            f"{part.name} is no torch.nn.Module, as a network is, and no estimator: it "
            f"{'; it '.join(faults)} (see rnn_core.models.EstimatorModel)"
        )
    return EstimatorFamily(part.name, part.value, hyper_class(part.name, part.value), part.origin)


def require_scores(family: ModelFamily, hyper: Mapping[str, Any]) -> None:
    """Confirm that a network of another package maps windows [B, L, F] to scores [B].

    Raises:
        ValueError: it cannot be built, gives another shape, or scores a window otherwise beside
            another one.
    """
    import torch

    windows = torch.sin(torch.arange(24.0)).reshape(2, 4, 3)
    alone: list[torch.Tensor] = []
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            network = family.build(3, hyper).eval()
            scores = network(windows)
            alone = [network(windows[:1]), network(windows[1:])]
    except Exception as error:  # whatever foreign code raises
        raise ValueError(
            f"{family.name} fails on windows of 4 sessions of 3 features: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != (2,):
        found = list(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ValueError(
            f"{family.name} maps windows [2, 4, 3] to {found}, expected a tensor [2]: a score a "
            f"window"
        )
    if not torch.allclose(scores, torch.cat(alone), rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"{family.name} scores a window otherwise beside another one than alone, expected "
            f"scores that depend on their own window: a session is scored today alone and "
            f"tomorrow in a range"
        )


def family_of(name: str) -> Family:
    """Look up a family of either kind by its name; nothing is imported for it.

    Args:
        name: a key of `SHIPPED`, or a name that `own_family` has made known.

    Returns:
        The entry.

    Raises:
        ValueError: an unknown name; the message names the nearest.

    Examples:
        >>> family_of("lstn")
        Traceback (most recent call last):
            ...
        ValueError: no model family 'lstn', expected one of lstm, gru, krnn, linear, ...
    """
    return _found(name, SHIPPED)


def model_family(name: str) -> ModelFamily:
    """Look up the family of a network by its name; nothing is imported for it.

    Args:
        name: a key of `MODEL_FAMILIES`, or a name that `own_family` has made known.

    Returns:
        The entry.

    Raises:
        ValueError: an unknown name (the message names the nearest), or that of an estimator.

    Examples:
        >>> model_family("lstm").hyper()
        RecurrentHyper(hidden_size=64, num_layers=2, dropout=0.0)
    """
    family = SHIPPED.get(name) or _found(name, MODEL_FAMILIES)
    if isinstance(family, EstimatorFamily):
        raise ValueError(
            f"{name} is an estimator and no network; `rnn_core.models.family_of` has both kinds"
        )
    return family


def _found(name: str, shipped: Mapping[str, Any]) -> Family:
    """The family of a name, or an error with the nearest of the shipped ones."""
    if name in _own:
        return _own[name]
    if ":" in name:
        raise ValueError(
            f"the model {name} is of another package, and no configuration has named it; "
            f"`rnn_core.models.own_family({name!r})` makes it known"
        )
    if name not in shipped:
        raise ValueError(
            f"no model family {name!r}, expected one of {', '.join(shipped)}"
            f"{near_matches(name, shipped)}"
        )
    family: Family = shipped[name]
    return family


def build_network(
    family: str, d_feat: int, hyper: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """Build a network by the name of its family.

    Args:
        family: a key of `MODEL_FAMILIES`.
        d_feat: F, features of one session.
        hyper: hyper-parameters that differ from the family's defaults.

    Returns:
        The module on the CPU, in training mode, with fresh weights from torch's current
        generator; `rnn_core.training.seeded_network` makes them repeatable.

    Raises:
        ValueError: an unknown family or hyper-parameter (the message names the nearest), or a
            value of the wrong type or outside its range.

    Examples:
        >>> build_network("gru", 6, {"hidden_size": 16})(windows).shape
        torch.Size([8])
    """
    return model_family(family).build(d_feat, hyper)
