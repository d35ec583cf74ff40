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


def prepare_home(market: Market) -> Path:
    """Create DAGSTER_HOME and put the instance's settings there.

    Raises:
        WarehouseError: the folder cannot be made or written.
    """
    home = market.paths.dagster
    settings = home / "dagster.yaml"
    wanted = SETTINGS.read_text(encoding="utf-8").replace("{home}", home.as_posix()).encode()
    try:
        if not settings.is_file() or settings.read_bytes() != wanted:
            atomic_write(settings, wanted)
    except OSError as error:
        raise WarehouseError(
            f"cannot prepare {home}: {error}; check that {market.paths.root.parent} is writable, "
            f"or set RNN_DATA_DIR to a folder that is"
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def dagster_instance(market: Market) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster instance of a market."""
    import dagster as dg

    prepare_home(market)
    with dg.DagsterInstance.get() as instance:
        yield instance
