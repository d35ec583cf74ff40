"""The places of a market's state: all that a command knows of it before it makes a calendar."""

from __future__ import annotations

import shlex
from pathlib import Path

from pipelines.config.market_file import FactoryConfig
from pipelines.market.paths import Paths, data_root, state_root
from pipelines.warehouse.store import StateFile, Store
from pipelines.warehouse.stores import open_store


class MarketState:
    """Configuration and places of one market.

    Args:
        config: the validated YAML.
        root: the folder of the market's state (default `data/NAME`).
        named: the configuration as a command names it; None for the default one.

    Attributes:
        paths: the folders of this machine.
        state: the market's state, wherever it lies; `tables`, `bundles`, `reports` are its folders.
        pages: the pages of all markets' reports, beside the states.
    """

    def __init__(
        self, config: FactoryConfig, *, root: Path | None = None, named: str | None = None
    ) -> None:
        self.config = config
        self._named = named
        self.paths = Paths((root or data_root() / config.name).absolute())
        options = config.storage_options
        place = str(state_root(config.state, config.name, self.paths.root))
        self.state: Store = open_store(place, options)
        self.bundles, self.reports = self.state.below("models"), self.state.below("reports")
        self.pages: Store = open_store(f"{place.rpartition('/')[0]}/reports", options)
        tables = self.state.below("warehouse")
        self.tables: Store = open_store(config.warehouse, options) if config.warehouse else tables

    @property
    def page(self) -> StateFile:
        """The report as one page, beside those of the other markets."""
        return self.pages.file(self.paths.page.name)

    @property
    def served_page(self) -> StateFile:
        """The page of the scores and models that are served today, beside it."""
        return self.pages.file(self.paths.served_page.name)

    def command(self, words: str) -> str:
        """A command of `rnn-pipelines` for this market, ready to be pasted."""
        option = f" --config {shlex.quote(self._named)}" if self._named else ""
        return f"rnn-pipelines {words}{option}"
