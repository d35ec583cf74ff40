"""A market's DAGSTER_HOME: made on first use, settings kept as the package ships them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import WarehouseError
from pipelines.store import atomic_write

if TYPE_CHECKING:
    import dagster as dg

    from pipelines.market import Market

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


@contextmanager
def dagster_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster instance of a market."""
    import dagster as dg

    prepare_home(market)
    with dg.DagsterInstance.get() as instance:
        yield instance
