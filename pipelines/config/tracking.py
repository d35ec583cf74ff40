"""The section `tracking` of the YAML: metric loggers, by name, each with its options.

It decides nothing that a partition or a bundle holds, so it is part of no fingerprint. An option
may be a secret, as a token in an address: the messages here name keys and never quote a value.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from pipelines.errors import did_you_mean
from rnn_core.own_parts import entry_points, import_part, is_own
from rnn_core.suggestions import near_matches

ENTRY_POINTS = "pipelines.loggers"
"""The group of entry points of metric loggers."""
METHODS = ("start", "epoch", "end")


@dataclass(frozen=True)
class ShippedLogger:
    """A logger of this project.

    Attributes:
        place: `module:Class`.
        package: the package that it needs, which an extra of the same name brings.
    """

    place: str
    package: str


LOGGERS = {"mlflow": ShippedLogger("pipelines.training.mlflow_logger:MlflowLogger", "mlflow")}


def logger_class(name: str) -> type:
    """The class of a metric logger, imported.

    Args:
        name: of a shipped one, an entry point, or `package.module:Class`.

    Raises:
        ValueError: there is none of that name, or the package that it needs is not installed.
    """
    if name in LOGGERS:
        shipped = LOGGERS[name]
        if importlib.util.find_spec(shipped.package) is None:
            raise ValueError(
                f"{name} needs the package {shipped.package}, which is not installed: "
                f"pip install 'rnn-signal-factory[{name}]'"
            )
        logger: type = import_part(shipped.place, ENTRY_POINTS)
        return logger
    if not is_own(name, ENTRY_POINTS):
        hint = did_you_mean(name, [*LOGGERS, *entry_points(ENTRY_POINTS)])
        raise ValueError(
            f"unknown logger {name!r}; {hint}, or write one of your own as package.module:Class"
        )
    own: type = import_part(name, ENTRY_POINTS)
    return own


def _checked(section: Any) -> dict[str, dict[str, Any]]:
    """The loggers of the section, each confirmed to keep the contract."""
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ValueError("expected loggers by name, as `mlflow: {experiment: …}`")
    loggers = {}
    for name, options in section.items():
        given = {} if options is None else options
        if not isinstance(given, Mapping):
            raise ValueError(f"{name}: expected its options by name, as `experiment: …`, or none")
        _require_contract(str(name), logger_class(str(name)), given)
        loggers[str(name)] = dict(given)
    return loggers


def _require_contract(name: str, cls: type, options: Mapping[str, Any]) -> None:
    """Require the methods of `pipelines.training.tracking.Logger`, and options that it takes.

    Raises:
        ValueError: a method is missing or takes something else, or an option is not known.
    """
    for method in (*METHODS, *(["session"] if hasattr(cls, "session") else [])):
        function = getattr(cls, method, None)
        if not callable(function):
            own = [word for word in vars(cls) if not word.startswith("_")]
            raise ValueError(
                f"{name} has no method {method}(facts){near_matches(method, own)}; a logger has "
                f"start, epoch and end, each of which takes one mapping"
            )
        try:
            inspect.signature(function).bind(None, {})
        except TypeError as error:
            raise ValueError(
                f"{name}.{method} is called with one mapping, and its arguments do not allow it: "
                f"{error}"
            ) from error
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in parameters and not takes_any:
            raise ValueError(f"{name} has no option {option!r}{near_matches(option, parameters)}")
    try:
        inspect.signature(cls).bind(**options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


_OPTIONS = {
    "type": ["object", "null"],
    "properties": {
        "experiment": {"type": "string"},
        "uri": {"type": "string"},
        "tags": {"type": "object"},
    },
    "additionalProperties": False,
}
_SCHEMA = {
    "type": ["object", "null"],
    "properties": {"mlflow": _OPTIONS},
    "additionalProperties": {"type": ["object", "null"]},
}
Tracking = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(_checked),
    WithJsonSchema(_SCHEMA),
    Field(exclude=True, repr=False),  # never dumped, so that no fingerprint or page holds it
]
"""Options of metric loggers by name; read and checked by the section `tracking`."""
