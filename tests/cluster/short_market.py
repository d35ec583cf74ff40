"""A short market of a network and an estimator, its state on a disk or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets
from tests.pipelines.built_once import copy_built_once
from tests.pipelines.conftest import (
    REPORTS,
    TINY,
    merged,
    own_record,
    run_everything,
    shared_folder,
)

MODELS = {"gru": {**TINY["models"]["gru"], "n_epochs": 1}, "linear": {}}


def configuration(
    state: str | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The tiny market, made short.

    Args:
        state: where its state lies if not below its root; `storage_options` with it.
        options: the storage options.
    """
    config = merged(TINY, {"market": {"end": "2020-04-14"}})
    config["models"] = MODELS
    config["training"]["retrain_every"] = 5
    if state is not None:
        config |= {"state": state, "storage_options": options}
    return config


def short_market(root: Path, **kwargs: Any) -> Market:
    """The market with its state below `root`."""
    return Market(parse_config(configuration()), root=root, **kwargs)


def built(market: Market) -> Market:
    """The market with its whole graph run."""
    with own_record() as record:
        run_everything(market, record)
        run_assets(build_definitions(market), record, REPORTS)
    return market


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """The market on the local disk with its whole graph run; not to be written to."""
    market = short_market(tmp_path_factory.mktemp("short") / "data" / "tiny")
    where = shared_folder(tmp_path_factory) / "short"
    # The reports lie beside the root, for all markets: so a data folder is built.
    copy_built_once(
        where, market.paths.root.parent, lambda root: built(short_market(root / "tiny"))
    )
    return market
