"""A market's DAGSTER_HOME: made on first use, settings kept as the package ships them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import WarehouseError
from pipelines.warehouse.store import atomic_write

if TYPE_CHECKING:
    import dagster as dg

    from pipelines.market.market import Market

SETTINGS = Path(__file__).parent / "dagster.yaml"
WORKSPACE = """\
# What the webserver and the daemon load; written by `rnn-pipelines ui`.
load_from:
  - python_module:
      module_name: pipelines.definitions
      location_name: pipelines
"""


def prepare_home(market: Market) -> Path:
    """Create DAGSTER_HOME and put the instance's settings there.

    Raises:
        WarehouseError: the folder cannot be made or written.
    """
    home = market.paths.dagster
    settings = SETTINGS.read_text(encoding="utf-8").replace("{home}", home.as_posix())
    _keep(market, home / "dagster.yaml", settings)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def prepare_workspace(market: Market) -> Path:
    """Put the file that names the code location beside the instance's settings.

    With it the UI starts from any folder: `dg dev` by itself looks for a project around it.

    Returns:
        Its path.

    Raises:
        WarehouseError: the folder cannot be made or written.
    """
    path = market.paths.dagster / "workspace.yaml"
    _keep(market, path, WORKSPACE)
    return path


def _keep(market: Market, path: Path, text: str) -> None:
    """Write a file unless it says so already."""
    wanted = text.encode()
    try:
        if not path.is_file() or path.read_bytes() != wanted:
            atomic_write(path, wanted)
    except OSError as error:
        raise WarehouseError(
            f"cannot prepare {path.parent}: {error}; check that {market.paths.root.parent} is "
            f"writable, or set RNN_DATA_DIR to a folder that is"
        ) from error


# A command's run prints to the terminal. Dagster would tail a log of it by two processes a step,
# which die of Ctrl-C with a trace of their own.
_OF_COMMANDS = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}


@contextmanager
def dagster_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster instance of a market, as commands use it."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    home = prepare_home(market)
    ref = InstanceRef.from_dir(str(home), overrides=_OF_COMMANDS)
    with dg.DagsterInstance.from_ref(ref) as instance:
        yield instance
