"""A Dagster component: a market among the definitions of a project of its owner's.

    # defs/us/defs.yaml, which `dg scaffold defs pipelines.MarketComponent us` writes
    type: pipelines.MarketComponent
    attributes:
      config: us.yaml

docs/own_assets.md says when to use it, and when a code location beside those of the markets.
"""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest, scaffold_component
from pydantic import BaseModel, Field

from pipelines.build import build_definitions
from pipelines.config.json_schema import schema_line
from pipelines.config.loader import CONFIGS, load_config
from pipelines.config.market_file import RESERVED
from pipelines.instance.home import require_moved
from pipelines.market.market import Market

_DRAFT = "simulated"  # a market that needs no data and no network


class ScaffoldParameters(BaseModel):
    """Options of `dg scaffold defs`.

    Attributes:
        config: the YAML of the market; without it a simulated market is drafted beside defs.yaml.
    """

    config: str | None = Field(default=None, description="the YAML of the market, or a shipped one")


class MarketScaffolder(Scaffolder[ScaffoldParameters]):
    """Write defs.yaml and, where no YAML of a market is named, one to begin with."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParameters]:
        """The options."""
        return ScaffoldParameters

    def scaffold(self, request: ScaffoldRequest[ScaffoldParameters]) -> None:
        """Write the files."""
        config = request.params.config
        if config is None:
            folder = request.target_path
            config = f"{folder.name}.yaml"
            (folder / config).write_text(_draft(folder.name), encoding="utf-8")
        scaffold_component(request, {"config": config})


def _draft(folder: str) -> str:
    """The YAML of a simulated market, named after a folder."""
    words = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    name = words if words[:1].isalpha() and words not in RESERVED else f"market_{words}"
    text = (CONFIGS / f"{_DRAFT}.yaml").read_text(encoding="utf-8")
    _, key, rest = text.partition(f"\nname: {_DRAFT}")
    head = (
        f"{schema_line()}\n"
        f"# A simulated market to begin with: `rnn-pipelines init` drafts the YAML of your bars.\n"
    )
    return head + key.replace(_DRAFT, name) + rest.replace(f"data/{_DRAFT}/", f"data/{name}/", 1)


@dg.scaffold_with(MarketScaffolder)
class MarketComponent(dg.Component, dg.Resolvable, dg.Model):
    """All assets, jobs, the schedule and the sensors of one market.

    Attributes:
        config: the market's YAML, relative to defs.yaml, or the name of a shipped one.
        data: the data folder, relative to defs.yaml; by default `$RNN_DATA_DIR`, else `data` below
            the folder that Dagster runs in. Commands find the market in the same folder.
    """

    config: str
    data: str | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the market.

        Raises:
            ConfigError: there is no such YAML, or it is wrong.
            WarehouseError: the market's record is still in a home of an earlier release.
        """
        beside = context.path / self.config
        path = beside if beside.is_file() else Path(self.config)
        config = load_config(path)
        root = None if self.data is None else (context.path / self.data).resolve() / config.name
        market = Market(config, root=root, named=str(path))
        require_moved(market)
        return build_definitions(market)
