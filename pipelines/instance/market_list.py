"""The markets of a data folder, each with the YAML that describes it.

Commands that write keep the path of a market's YAML in the market's folder, so that the UI and
commands without a market's name find all of them. A shipped YAML is kept by its name.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config.loader import CONFIGS
from pipelines.config.market_file import RESERVED
from pipelines.errors import ConfigError, WarehouseError
from pipelines.market.paths import Paths
from pipelines.warehouse.store import atomic_write


def keep_config(paths: Paths, path: Path) -> str:
    """Keep which YAML describes a market.

    Args:
        paths: of the market.
        path: its YAML.

    Returns:
        The YAML as it is kept: the name of a shipped one, else the whole path.

    Raises:
        WarehouseError: the market's folder cannot be written.
    """
    config = kept_name(path)
    if _config_in(paths.config) != config:
        try:
            paths.root.mkdir(parents=True, exist_ok=True)
            atomic_write(paths.config, json.dumps({"config": config}).encode())
        except OSError as error:
            raise WarehouseError(
                f"cannot write {paths.config}: {error}; check that {paths.root.parent} is "
                f"writable, or set RNN_DATA_DIR to a folder that is"
            ) from error
    return config


def kept_name(path: Path) -> str:
    """A YAML as it is kept: the name of a shipped one, else the whole path."""
    return path.stem if path.resolve().parent == CONFIGS.resolve() else str(path.absolute())


def markets_of(data: Path) -> dict[str, str | None]:
    """The markets of a data folder and their YAMLs, in order of their names.

    Returns:
        The path of the YAML by market, or the name of a shipped one; None of a market of an earlier
        release, which kept no path, unless a shipped YAML has its name.
    """
    markets: dict[str, str | None] = {}
    for root in sorted(data.glob("[a-z]*")):
        paths, name = Paths(root), root.name
        config = _config_in(paths.config)
        is_earlier = paths.warehouse.is_dir() or paths.earlier_dagster.is_dir()
        if name in RESERVED or not (config or is_earlier):
            continue
        shipped = name if (CONFIGS / f"{name}.yaml").is_file() else None
        markets[name] = config or shipped
    return markets


def config_of(data: Path, name: str) -> str:
    """The YAML of a market of a data folder.

    Raises:
        ConfigError: there is no such market, or its YAML is not known.
    """
    config = markets_of(data).get(name)
    if config is None:
        raise ConfigError(
            f"{data} has no market {name} whose YAML is known; {unknown_config(name)}"
        )
    return config


def unknown_config(name: str) -> str:
    """The way to say which YAML describes a market."""
    return f"`rnn-pipelines sync --config YAML` says once which YAML describes {name}"


def _config_in(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_bytes())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
