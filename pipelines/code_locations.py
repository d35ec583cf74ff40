"""Dagster code locations of all markets of the data folder: `pipelines.code_locations:MARKET`.

Each market is a location of its own, in a process of its own. A market that cannot be loaded, as
for a mistake in its YAML, shows the error in the UI and takes no other market down.
"""

from __future__ import annotations

import re
from functools import cache

import dagster as dg

from pipelines.build import build_definitions
from pipelines.config.loader import load_config
from pipelines.errors import ConfigError
from pipelines.instance.home import require_moved
from pipelines.instance.market_list import config_of
from pipelines.instance.names import TRAIN_UNITS
from pipelines.market.market import Market
from pipelines.market.paths import data_root

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def __getattr__(name: str) -> dg.Definitions:
    """The definitions of a market of the data folder.

    Raises:
        AttributeError: no market can have such a name.
        ConfigError: there is no such market, or its YAML is wrong.
        WarehouseError: its record is still in a home of an earlier release.
    """
    if not _NAME.fullmatch(name):
        raise AttributeError(name)
    return _definitions(name)


def train_units_job(name: str) -> dg.JobDefinition:
    """The job that trains units of a market, for processes that execute a step of it.

    Raises:
        ConfigError: there is no such market in the data folder, or its YAML is wrong.
    """
    return _definitions(name).resolve_job_def(f"{name}_{TRAIN_UNITS}")


@cache
def _definitions(name: str) -> dg.Definitions:
    path = config_of(data_root(), name)
    config = load_config(path)
    if config.name != name:
        raise ConfigError(f"{path} describes the market {config.name} now, not {name}")
    market = Market(config, named=path)
    require_moved(market)
    return build_definitions(market)
