"""Handlers by name: qlib's configuration mapping becomes a handler.

    handler:
      class: Alpha158
      module_path: qlib.contrib.data.handler
      kwargs: {start_time: 2008-01-01, ...}

`HANDLERS` is the only list of classes. `module_path` is compared with the modules that qlib's files
name, and nothing is imported by it.

Rule matched: qlib utils/mod.py `init_instance_by_config`, as `DatasetH` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rnn_core.data.alpha import Alpha158, Alpha158vwap, Alpha360, Alpha360vwap
from rnn_core.data.handler import DataHandlerLP
from rnn_core.suggestions import near_matches

HANDLERS: Mapping[str, type[Alpha158] | type[Alpha360]] = MappingProxyType(
    {
        "Alpha158": Alpha158,
        "Alpha158vwap": Alpha158vwap,
        "Alpha360": Alpha360,
        "Alpha360vwap": Alpha360vwap,
    }
)
"""The handlers that a configuration may name, by qlib's names."""

HANDLER_MODULES = ("qlib.contrib.data.handler", "rnn_core.data", "rnn_core.data.alpha")
"""The values of `module_path`; nothing is imported by it."""


def make_handler(config: Mapping[str, Any]) -> DataHandlerLP:
    """Make a handler from qlib's configuration mapping.

    Args:
        config: `class`, one of `HANDLERS`; `kwargs`, the arguments of the class, `bars` among
            them; and `module_path`, which is optional.

    Returns:
        The handler.

    Raises:
        TypeError: `config` is no such mapping; and as the handler.
        ValueError: `module_path` is unknown; and as the handler.
        KeyError: the class is unknown; and as the handler.

    Examples:
        >>> make_handler({"class": "Alpha158", "kwargs": {"bars": bars}}).fetch().shape[1]
        159
    """
    if not isinstance(config, Mapping) or not {"class"} <= set(config) <= {
        "class",
        "module_path",
        "kwargs",
    }:
        raise TypeError(
            f"handler is {config!r:.60}, expected a mapping with class, module_path and kwargs"
        )
    name, module = config["class"], config.get("module_path")
    if name not in HANDLERS:
        raise KeyError(
            f"no handler {name!r}, expected one of {', '.join(HANDLERS)}"
            f"{near_matches(name, HANDLERS)}"
        )
    if module is not None and module not in HANDLER_MODULES:
        raise ValueError(f"module_path of {name} is {module!r}, expected {HANDLER_MODULES[0]}")
    return HANDLERS[name](**(config.get("kwargs") or {}))
