"""The contract of estimators that are not networks, and the family that one of them makes.

`EstimatorModel` is all that a class needs to stand as the `family` of a model in a YAML: its
docstring is the manual.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Protocol

from rnn_core.suggestions import near_matches

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rnn_core.models.samples import Samples


class EstimatorModel(Protocol):
    """A model that is fitted on all of its rows at once, in numpy: boosted trees, a regression.

    Its constructor takes hyper-parameters only, each with a default; the YAML gives the others. It
    checks their ranges and raises ValueError. An estimator computes on the CPU. Optional:

        random = False          class attribute: the seed changes nothing, so there is one member
        missing_values = True   class attribute: NaN and infinite features are welcome; without it
                                they are refused before `fit`, as they are for networks
        code_version = 1        class attribute: stands for the digest of the source
        importance(columns)     a frame indexed by feature, its columns figures, the first of which
                                orders it; shown where the model was trained

    Examples:
        >>> model: EstimatorModel = LinearModel(alpha=0.01)
        >>> history = model.fit(samples, None, seed=0, threads=1)
        >>> model.predict(samples).shape  # [S]
        (200,)
    """

    def fit(
        self, train: Samples, valid: Samples | None, *, seed: int, threads: int
    ) -> pd.DataFrame | None:
        """Learn `train.label` from `train.rows()` or `train.windows`, float32.

        Labels may be NaN (such rows teach nothing); `train.weights` may be None, for ones. `valid`
        is for choosing (a penalty, the number of trees), None where there are no validation rows.
        The same data and seed give the same bits on any number of threads.

        Returns:
            None, or the history, a row a step: `valid_score`, higher is better, and `best`, True
            for the step that is kept; with `epoch` and `train_loss` it is drawn as a curve.
        """

    def predict(self, samples: Samples) -> NDArray[np.floating[Any]]:
        """Return scores [S]; the score of a sample depends on no other, not in its last bit."""

    def save(self, folder: Path) -> None:
        """Write all that `load` needs into an empty folder, as files that run no code (no pickle).

        Equal fits write equal bytes, so nothing of the time or the machine belongs there.
        """

    def load(self, folder: Path) -> None:
        """Read what `save` wrote into an estimator that was made with the same arguments."""


_METHODS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "fit": (("train", "valid"), ("seed", "threads")),
        "predict": (("samples",), ()),
        "save": (("folder",), ()),
        "load": (("folder",), ()),
    }
)
"""Each method of the contract with its arguments by position and by name."""


@dataclass(frozen=True)
class EstimatorFamily:
    """A family whose members are estimators.

    Args:
        name: the key in configs and bundles.
        estimator: the class.
        hyper: a frozen dataclass of the constructor's arguments, with their defaults.
        origin: which code it is: `code_version`, or what `own_parts` says of another package.

    Examples:
        >>> family_of("linear").name, isinstance(family_of("linear"), EstimatorFamily)
        ('linear', True)
    """

    name: str
    estimator: type[Any]
    hyper: type[Any]
    origin: Mapping[str, str]

    @classmethod
    def shipped(cls, name: str, estimator: type[Any], code_version: str) -> EstimatorFamily:
        """Make the entry of a shipped estimator; its version is bumped when results change.

        It is no attribute of the class, which a subclass in another package would inherit.
        """
        return cls(name, estimator, hyper_class(name, estimator), {"code_version": code_version})

    @property
    def random(self) -> bool:
        """True if the seed changes what is learned."""
        return bool(getattr(self.estimator, "random", True))

    @property
    def missing_values(self) -> bool:
        """True if features may be NaN or infinite."""
        return bool(getattr(self.estimator, "missing_values", False))

    @property
    def package(self) -> str:
        """The package that a shipped estimator needs beside this one; "" for none."""
        return "" if "module" in self.origin else getattr(self.estimator, "package", "")

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Add the defaults of the hyper-parameters that are not given; see `resolved`."""
        return resolved(self.name, self.hyper, given)

    def build(self, hyper: Mapping[str, Any] = MappingProxyType({})) -> EstimatorModel:
        """Make an estimator that is not fitted.

        Args:
            hyper: hyper-parameters that differ from the defaults.

        Raises:
            ValueError: an unknown hyper-parameter, one outside its range, or the package that the
                estimator needs is not installed; the message has the line that installs it.
        """
        if self.package and not _installed(self.package):
            raise ValueError(
                f"{self.name} needs the package {self.package}, which is not installed: pip "
                f"install 'rnn-signal-factory[{self.estimator.extra}]'"
            )
        estimator: EstimatorModel = self.estimator(**self.resolve(hyper))
        return estimator


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def missing_methods(estimator: type[Any]) -> list[str]:
    """Say what of the contract a class lacks, method by method; nothing if it keeps it."""
    faults = []
    for name, (positional, named) in _METHODS.items():
        wanted = f"{name}({', '.join([*positional, *(['*'] if named else []), *named])})"
        method = getattr(estimator, name, None)
        if not callable(method):
            faults.append(f"lacks {wanted}")
            continue
        try:
            signature = inspect.signature(method)
            signature.bind(None, *positional, **dict.fromkeys(named))
        except (TypeError, ValueError):
            faults.append(f"has {name}{signature}, expected {wanted}")
    return faults


def hyper_class(name: str, part: type[Any], *, leave_out: Sequence[str] = ()) -> type[Any]:
    """Turn the arguments of a constructor into a frozen dataclass of hyper-parameters.

    Raises:
        ValueError: an argument has no default.
    """
    fields = []
    for argument, parameter in inspect.signature(part).parameters.items():
        if argument in leave_out:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"{name}: the argument {argument} has no default; a configuration may leave out "
                f"any hyper-parameter, so each needs one"
            )
        fields.append((argument, type(parameter.default), parameter.default))
    return dataclasses.make_dataclass(f"{part.__name__}Hyper", fields, frozen=True)


def resolved(owner: str, hyper: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults of the hyper-parameters that are not given.

    Args:
        owner: the family, for the message.
        hyper: the dataclass of all hyper-parameters.
        given: argument name to value; may be empty.

    Returns:
        Every hyper-parameter, in the order of the dataclass.

    Raises:
        ValueError: an unknown name, or a value of the wrong type.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(hyper)}
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(
                f"{owner} has no hyper-parameter {name!r}, expected some of "
                f"{', '.join(defaults)}{near_matches(name, defaults)}"
            )
        require_type(name, value, type(defaults[name]))
    return {**defaults, **given}


def require_type(name: str, value: object, kind: type) -> None:
    """Refuse a setting whose type is not its default's; a whole number may stand for a float.

    A default of None says nothing about the type, so its owner checks the value. PyYAML reads
    `1e-3` as text, so the message explains that case.

    Args:
        name: of the setting.
        value: as given.
        kind: type of its default.

    Raises:
        ValueError: another type.
    """
    if kind is NoneType:
        return
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        hint = "; YAML reads 1e-3 as text, write 0.001 or 1.0e-3" if kind is float else ""
        raise ValueError(
            f"{name} is {value!r} of type {type(value).__name__}, expected {kind.__name__}{hint}"
        )
