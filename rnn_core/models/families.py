"""The table of model families: network, hyper-parameters and qlib's benchmark settings.

A family is a network class, its hyper-parameters as a frozen dataclass, and default settings of a
training. Everything that deals with a model by name (the trainer's defaults, bundles, the
pipeline's assets, workflow files) reads this one table, so a fourth family is one entry in
`MODEL_FAMILIES`: a module that takes the hyper-parameters and the number of features as keywords
and maps [B, L, F] to [B].

A network's module is imported when one is built, so reading this table (as a pipeline's definitions
do, many times a day) does not load torch.

Defaults: qlib examples/benchmarks/{LSTM,GRU,KRNN}/workflow_config_*. The defaults of LSTM and GRU
are those of the Alpha158 files; KRNN has only a file for Alpha360.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rnn_core.models.input_checks import require_sizes
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.suggestions import near_matches

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RecurrentHyper:
    """Hyper-parameters of `LSTMModel` and `GRUModel`."""

    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class KRNNHyper:
    """Hyper-parameters of `KRNNModel`."""

    cnn_dim: int = 8
    cnn_kernel_size: int = 3
    rnn_dim: int = 8
    rnn_dups: int = 2
    rnn_layers: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class TrainingDefaults:
    """Default training settings of a family."""

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
        fields = {f.name: f.default for f in dataclasses.fields(self.hyper)}
        for name, value in given.items():
            if name not in fields:
                raise ValueError(
                    f"{self.name} has no hyper-parameter {name!r}, expected some of "
                    f"{', '.join(fields)}{near_matches(name, fields)}"
                )
            require_type(name, value, type(fields[name]))
        return {**fields, **given}

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


def require_type(name: str, value: object, kind: type) -> None:
    """Refuse a setting whose type is not its default's; a whole number may stand for a float.

    PyYAML reads `1e-3` as text, so the message explains that case.

    Args:
        name: of the setting.
        value: as given.
        kind: type of its default.

    Raises:
        ValueError: another type.
    """
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        hint = "; YAML reads 1e-3 as text, write 0.001 or 1.0e-3" if kind is float else ""
        raise ValueError(
            f"{name} is {value!r} of type {type(value).__name__}, expected {kind.__name__}{hint}"
        )


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


ENTRY_POINTS = "rnn_core.models"
"""The group of entry points of networks."""

_own: dict[str, ModelFamily] = {}


def own_family(name: str) -> ModelFamily:
    """Import a network of another package, and make it known by its name from now on.

    The contract: a `torch.nn.Module` whose constructor takes `d_feat`, the number of features F,
    and hyper-parameters with defaults, and which maps windows [B, L, F] to scores [B]. A bundle
    stores its state dict; its configuration is what the constructor was given.

    Args:
        name: `package.module:Name`, or an entry point of the group `rnn_core.models`.

    Returns:
        The family, with general settings of the training.

    Raises:
        ValueError: it cannot be imported, or breaks the contract; the message says how.
    """
    part = load_part(name, ENTRY_POINTS)
    family = ModelFamily(
        name, lambda: part.value, "d_feat", _hyper_of(part), TrainingDefaults(), part.origin
    )
    _own[name] = family
    return family


def _hyper_of(part: OwnPart) -> type[Any]:
    """The hyper-parameters of a network's constructor as a dataclass."""
    from torch import nn

    if not issubclass(part.value, nn.Module):
        raise ValueError(f"{part.name} is no torch.nn.Module, which a network must be")
    parameters = dict(inspect.signature(part.value).parameters)
    if parameters.pop("d_feat", None) is None:
        raise ValueError(
            f"{part.name} takes no argument d_feat, the number of features of a window, "
            f"expected {part.value.__name__}(d_feat, ...) with defaults for all others"
        )
    fields = []
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"{part.name}: the argument {name} has no default; a configuration may leave out "
                f"any hyper-parameter, so each needs one"
            )
        fields.append((name, type(parameter.default), parameter.default))
    return dataclasses.make_dataclass(f"{part.value.__name__}Hyper", fields, frozen=True)


def require_scores(family: ModelFamily, hyper: Mapping[str, Any]) -> None:
    """Confirm that a network of another package maps windows [B, L, F] to finite scores [B].

    Raises:
        ValueError: it cannot be built, or gives another shape.
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            scores = family.build(3, hyper).eval()(torch.zeros(2, 4, 3))
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


def model_family(name: str) -> ModelFamily:
    """Look up a family by its name; nothing is imported for it.

    Args:
        name: a key of `MODEL_FAMILIES`, or a name that `own_family` has made known.

    Returns:
        The entry.

    Raises:
        ValueError: an unknown name; the message names the nearest.
    """
    if name in _own:
        return _own[name]
    if ":" in name:
        raise ValueError(
            f"the network {name} is of another package, and no configuration has named it; "
            f"`rnn_core.models.own_family({name!r})` makes it known"
        )
    if name not in MODEL_FAMILIES:
        raise ValueError(
            f"no model family {name!r}, expected one of {', '.join(MODEL_FAMILIES)}"
            f"{near_matches(name, MODEL_FAMILIES)}"
        )
    return MODEL_FAMILIES[name]


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
    """
    return model_family(family).build(d_feat, hyper)
