"""A market's DAGSTER_HOME, the Dagster instance over it, and the code locations of its UI."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._check import CheckError
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from pipelines.errors import ConfigError, WarehouseError
from pipelines.instance.read_only import read_only
from pipelines.instance.settings import (
    SETTINGS,
    broken_promises,
    complete_settings,
    is_released,
    keep_settings,
    names_moved_module,
    parse_yaml,
    read_settings,
)
from pipelines.market.market import Market
from pipelines.warehouse.store import atomic_write

WORKSPACE = "workspace.yaml"
GENERATED_WORKSPACE = "generated_workspace.yaml"
_MODULE = "pipelines.definitions"
_LOCATIONS = f"""\
load_from:
  - python_module:
      module_name: {_MODULE}
      location_name: pipelines
"""
_RELEASED_WORKSPACE = (  # earlier releases wrote it as workspace.yaml
    f"# What the webserver and the daemon load; written by `rnn-pipelines ui`.\n{_LOCATIONS}"
)
_GENERATED = f"""\
# The project's code location, written over by `rnn-pipelines ui`. Code locations of your own belong
# into workspace.yaml beside this file; the UI loads both.
{_LOCATIONS}"""


def prepare_home(market: Market) -> Path:
    """Create DAGSTER_HOME with the instance's settings, and name it in the environment.

    Raises:
        ConfigError: the owner's settings are no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    with _writing(market) as home:
        keep_settings(home)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def complete_home(market: Market) -> list[str]:
    """Prepare DAGSTER_HOME and append the keys that its owner's settings lack.

    Returns:
        Lines for a person: the keys that were added, and settings that break a promise.

    Raises:
        ConfigError: the owner's settings are no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    home = prepare_home(market)
    with _writing(market):
        return complete_settings(home)


def prepare_workspace(market: Market) -> list[Path]:
    """Write the file of the project's code location beside the owner's `workspace.yaml`.

    With it the UI starts from any folder: `dg dev` by itself looks for a project around it.

    Returns:
        The files to load: the generated one, and the owner's where there is one. Where the owner's
        names the project's module itself, only that.

    Raises:
        ConfigError: the owner's file is no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    with _writing(market) as home:
        own, generated = home / WORKSPACE, home / GENERATED_WORKSPACE
        content = own.read_bytes() if own.is_file() else None
        if content == _RELEASED_WORKSPACE.encode():
            own.unlink()
            content = None
        if content is not None and _MODULE in _scalars(parse_yaml(own, content)):
            return [own]
        if not generated.is_file() or generated.read_bytes() != _GENERATED.encode():
            atomic_write(generated, _GENERATED.encode())
    return [generated] if content is None else [generated, own]


def _scalars(value: Any) -> Iterator[Any]:
    """The leaves of nested lists and mappings."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _scalars(item)
    else:
        yield value


def owned_files(home: Path) -> list[Path]:
    """The files of a DAGSTER_HOME that its owner wrote."""
    files = [home / name for name in (SETTINGS, WORKSPACE)]
    texts = {path: path.read_bytes().decode(errors="replace") for path in files if path.is_file()}
    return [p for p, text in texts.items() if text != _RELEASED_WORKSPACE and not is_released(text)]


@contextmanager
def _writing(market: Market) -> Iterator[Path]:
    home = market.paths.dagster
    try:
        yield home
    except OSError as error:
        raise WarehouseError(
            f"cannot prepare {home}: {error}; check that {market.paths.root.parent} is writable, "
            f"or set RNN_DATA_DIR to a folder that is"
        ) from error


# A command's run prints to the terminal. Dagster would tail a log of it by two processes a step,
# which die of Ctrl-C with a trace of their own.
_NO_COMPUTE_LOGS = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}


@contextmanager
def dagster_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster instance of a market, for commands that run something.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: DAGSTER_HOME cannot be made or written.
    """
    with _instance(prepare_home(market), writes=True) as instance:
        yield instance


@contextmanager
def reading_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a market, for commands that write nothing, not even DAGSTER_HOME.

    The record is empty if there is no home or no database. Storages other than SQLite are
    opened as they are configured.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
    """
    with _instance(market.paths.dagster, writes=False) as instance:
        yield instance


@contextmanager
def _instance(home: Path, *, writes: bool) -> Iterator[dg.DagsterInstance]:
    settings: dict[str, Any] = {}
    try:
        text, settings = read_settings(home)
        overrides = {} if "compute_logs" in settings else _NO_COMPUTE_LOGS
        with tempfile.TemporaryDirectory() as folder:
            # A reader takes this release's settings where a file of an earlier one lies.
            Path(folder, SETTINGS).write_text(text, encoding="utf-8")
            ref = InstanceRef.from_dir(str(home), config_dir=folder, overrides=overrides)
        opened = dg.DagsterInstance.from_ref(ref if writes else read_only(ref))
    except (dg.DagsterError, CheckError, SQLAlchemyError, ImportError, OSError) as error:
        way_out = "correct the file"
        if names_moved_module(settings):
            way_out = next(broken_promises(home, settings))
        raise ConfigError(
            f"Dagster cannot open the instance of {home / SETTINGS}: {error}; {way_out}"
        ) from error
    try:
        with opened as instance:
            yield instance
    except DatabaseError as error:
        if isinstance(error, OperationalError):  # locked, or a full disk: the record is whole
            raise
        raise WarehouseError(
            f"Dagster's record in {home} is damaged: {error.orig}; move the folder away, put your "
            f"own dagster.yaml back, if any, and `rnn-pipelines sync` rebuilds the record"
        ) from error
