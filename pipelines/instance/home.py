"""DAGSTER_HOME of a data folder, the Dagster instance over it, and the code locations of its UI.

All markets of the folder share the home, so that one webserver and one daemon serve them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
from alembic.util import CommandError
from dagster._check import CheckError
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from pipelines.errors import ConfigError, WarehouseError
from pipelines.instance.file_lock import FOLDER, file_lock
from pipelines.instance.read_only import read_only
from pipelines.instance.settings import (
    SETTINGS,
    broken_promises,
    complete_settings,
    keep_settings,
    names_moved_module,
    parse_yaml,
    read_settings,
)
from pipelines.market.market import Market
from pipelines.warehouse.store import atomic_write

WORKSPACE = "workspace.yaml"
GENERATED_WORKSPACE = "generated_workspace.yaml"
OF_THE_DISK = (
    "disk is full",
    "readonly database",
    "disk I/O error",
    "is locked",
    "unable to open",
)
_MODULES = {"pipelines.definitions", "pipelines.code_locations"}
_HEAD = """\
# A code location of each market, written over by `rnn-pipelines ui`. Code locations of your own
# belong into workspace.yaml beside this file; the UI loads both.
load_from:
"""
_LOCATION = """\
  - python_module:
      module_name: pipelines.code_locations
      attribute: {name}
      location_name: {name}
"""


def prepare_home(home: Path) -> Path:
    """Create DAGSTER_HOME with the instance's settings, and name it in the environment.

    Raises:
        ConfigError: the owner's settings are no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    with writing_to(home):
        keep_settings(home)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def complete_home(home: Path) -> list[str]:
    """Prepare DAGSTER_HOME and append the keys that its owner's settings lack.

    Returns:
        Lines for a person: the keys that were added, and settings that break a promise.

    Raises:
        ConfigError: the owner's settings are no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    with writing_to(prepare_home(home)):
        return complete_settings(home)


def prepare_workspace(home: Path, markets: Iterable[str]) -> list[Path]:
    """Write the file of the markets' code locations beside the owner's `workspace.yaml`.

    With it the UI starts from any folder: `dg dev` by itself looks for a project around it.

    Args:
        home: DAGSTER_HOME.
        markets: their names.

    Returns:
        The files to load: the generated one, and the owner's where there is one. Where the owner's
        names the project's modules itself, only that.

    Raises:
        ConfigError: the owner's file is no YAML.
        WarehouseError: the folder cannot be made or written.
    """
    own, generated = home / WORKSPACE, home / GENERATED_WORKSPACE
    text = _HEAD + "".join(_LOCATION.format(name=name) for name in markets)
    with writing_to(home):
        content = own.read_bytes() if own.is_file() else None
        if content is not None and not _MODULES.isdisjoint(_scalars(parse_yaml(own, content))):
            return [own]
        if not generated.is_file() or generated.read_bytes() != text.encode():
            atomic_write(generated, text.encode())
    return [generated] if content is None else [generated, own]


def _scalars(value: Any) -> Iterator[Any]:
    """The leaves of nested lists and mappings."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _scalars(item)
    else:
        yield value


@contextmanager
def writing_to(home: Path) -> Iterator[None]:
    """Name the way out where DAGSTER_HOME cannot be written in the block.

    Raises:
        WarehouseError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise WarehouseError(
            f"cannot prepare {home}: {error}; check that {home.parent} is writable, or set "
            f"RNN_DATA_DIR to a folder that is"
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


def require_moved(market: Market) -> None:
    """Confirm that the record of a market is in the home of all markets.

    Raises:
        WarehouseError: it is still in a home of the market alone, as earlier releases had it.
    """
    earlier = market.paths.earlier_dagster
    if earlier.is_dir():
        raise WarehouseError(
            f"the record of {market.config.name} is in {earlier}, a home of its own of an earlier "
            f"release; `{market.command('sync')}` brings it over to {market.paths.dagster}"
        )


@contextmanager
def dagster_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster instance of a market, for commands that run something.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: DAGSTER_HOME cannot be made or written, or the market's record is still in
            a home of its own.
    """
    require_moved(market)
    with open_home(prepare_home(market.paths.dagster)) as instance:
        yield instance


@contextmanager
def reading_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a market, for commands that write nothing, not even DAGSTER_HOME.

    The record is empty if there is no home or no database. Storages other than SQLite are
    opened as they are configured.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: the market's record is still in a home of its own.
    """
    require_moved(market)
    with open_home(market.paths.dagster, writes=False) as instance:
        yield instance


@contextmanager
def open_home(home: Path, *, writes: bool = True) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home, with the settings that hold for it.

    Args:
        home: DAGSTER_HOME.
        writes: False for a reader, which creates and changes no file.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
        WarehouseError: the record is damaged.
    """
    settings: dict[str, Any] = {}
    try:
        text, settings = read_settings(home)
        overrides = {} if "compute_logs" in settings else _NO_COMPUTE_LOGS
        with tempfile.TemporaryDirectory() as folder:
            # A reader takes this release's settings where a file of an earlier one lies.
            Path(folder, SETTINGS).write_text(text, encoding="utf-8")
            ref = InstanceRef.from_dir(str(home), config_dir=folder, overrides=overrides)
        with only_opener(home) if writes else nullcontext():
            opened = dg.DagsterInstance.from_ref(ref if writes else read_only(ref))
    except CommandError as error:  # its tables are of two revisions
        raise _damaged(home, error) from error
    except (dg.DagsterError, CheckError, SQLAlchemyError, ImportError, OSError) as error:
        if isinstance(error, DatabaseError) and _is_damage(error):
            raise _damaged(home, error) from error
        if isinstance(error, DatabaseError) and _is_of_the_disk(error):
            raise _unwritable(home, error) from error
        way_out = "correct the file"
        if names_moved_module(settings):
            way_out = next(broken_promises(home, settings))
        raise ConfigError(
            f"Dagster cannot open the instance of {home / SETTINGS}: {error}; {way_out}"
        ) from error
    try:
        with opened as instance:
            yield instance
    except (DatabaseError, CommandError) as error:
        if isinstance(error, DatabaseError) and _is_of_the_disk(error):
            raise _unwritable(home, error) from error
        if isinstance(error, DatabaseError) and not _is_damage(error):
            raise
        raise _damaged(home, error) from error


@contextmanager
def only_opener(home: Path) -> Iterator[None]:
    """Be the only process of this machine that opens the record for writing inside the block.

    Dagster makes the tables of a new record as it opens it and records their revision. Two
    processes at once record it twice, and no later one can open such a record.
    """
    path = home.parent / FOLDER / f"{home.name}.lock"
    with file_lock(path, {"pid": os.getpid()}, lambda _: None):
        yield


def _is_damage(error: DatabaseError) -> bool:
    """True of an error that says that the record is damaged, and not locked or on a full disk."""
    return type(error) is DatabaseError or "no such table" in str(error.orig)


def _is_of_the_disk(error: DatabaseError) -> bool:
    """True of SQLite's errors of a full disk, a lost permission or a lock that nobody gives up."""
    return any(words in str(error.orig) for words in OF_THE_DISK)


def _unwritable(home: Path, error: DatabaseError) -> WarehouseError:
    return WarehouseError(
        f"Dagster's record in {home} cannot be written: {error.orig}; check that the disk is not "
        f"full and the folder writable, then give the command again: what was made is kept"
    )


def _damaged(home: Path, error: DatabaseError | CommandError) -> WarehouseError:
    why = error.orig if isinstance(error, DatabaseError) else error
    return WarehouseError(
        f"Dagster's record in {home} is damaged: {why}; `rnn-pipelines sync` puts the damaged "
        f"files aside and rebuilds the record"
    )
