"""The sample market with short trainings, its state in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.config.loader import config_path, load_config
from pipelines.market.market import Market
from tests.pipelines.conftest import merged
from tests.ui.dev import command

NOT_OURS = ("DAGSTER_HOME", "RNN_CONFIG", "RNN_DATA_DIR")


@dataclass(frozen=True)
class Sandbox:
    """A market on disk, for processes that know nothing of this one.

    Attributes:
        config: its YAML.
        environment: of processes that work on it.
        market: the same, in this process.
    """

    config: Path
    environment: Mapping[str, str]
    market: Market

    def run(self, *arguments: str) -> str:
        """A command of `rnn-pipelines` over the market."""
        return command(self.environment, *arguments, "--config", str(self.config))


def make_sandbox(folder: Path, changes: Mapping[str, Any]) -> Sandbox:
    """The sample market with changes to its configuration, its state below a folder."""
    raw = yaml.safe_load(config_path("sample").read_text(encoding="utf-8"))
    config = folder / "sample.yaml"
    config.write_text(yaml.safe_dump(merged(raw, changes), sort_keys=False), encoding="utf-8")
    data = folder / "data"
    loaded = load_config(config)
    return Sandbox(config, environment_of(data), Market(loaded, root=data / loaded.name))


def environment_of(data: Path) -> dict[str, str]:
    """The environment of processes that work on a data folder."""
    ours = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    return {**ours, "RNN_DATA_DIR": str(data), "OMP_NUM_THREADS": "1"}
