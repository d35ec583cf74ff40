"""Sources whose newest bars are not there yet, or are bad, and markets that lack sessions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from tests.pipelines.conftest import TINY, ChangedBars, merged, partition_bytes


class LateBars(ChangedBars):
    """A source that knows its days and has none from a session on.

    Args:
        market: the market whose bars it gives.
        first: the first session that it does not have.
    """

    def __init__(self, market: Market, first: str) -> None:
        super().__init__(market.source, lambda bars: bars[bars["date"] < first])
        self._days = [key for key in market.sessions.keys if key < first]

    def days(self, first: str | None = None) -> pd.Series:
        """Six bars a day before the session."""
        keys = [key for key in self._days if first is None or key >= first]
        return pd.Series(6, index=pd.Index(keys, dtype="str"))


def bad_bars(market: Market, key: str) -> ChangedBars:
    """A source whose bars of one session break a rule, all of them."""

    def spoil(bars: pd.DataFrame) -> pd.DataFrame:
        return bars.assign(volume=bars["volume"].where(bars["date"] != key, 0.0))

    return ChangedBars(market.source, spoil)


def with_source(market: Market, source: object, changes: Mapping[str, Any] | None = None) -> Market:
    """The market with another source, and changes to its configuration."""
    models = {name: TINY["models"][name] for name in market.config.models}
    config = merged({**TINY, "models": models}, changes or {})
    return Market(parse_config(config), root=market.paths.root, source=source)


def cut_before(finished: Market, root: Path, key: str, models: Sequence[str] = ("lstm",)) -> Market:
    """A copy of a finished market with some of its models, without the sessions from one on."""
    others = tuple(f"{name}_" for name in TINY["models"].keys() - set(models))

    def left_out(folder: str, names: list[str]) -> list[str]:
        if Path(folder) == finished.paths.warehouse:
            return [name for name in names if name.startswith(others)]
        return [name for name in names if name.startswith("date=") and name[5:] >= key]

    shutil.copytree(finished.paths.root, root, ignore=left_out)
    config = {**TINY, "models": {name: TINY["models"][name] for name in models}}
    return Market(parse_config(config), root=root)


def files_of(finished: Market, market: Market, before: str = "9999") -> dict[str, str]:
    """The files that a market should have: those of the finished one, of its models."""
    others = tuple(f"{name}_" for name in TINY["models"] if name not in market.config.models)
    return {
        path: digest
        for path, digest in partition_bytes(finished).items()
        if not path.startswith(others) and path.split("date=")[1][:10] < before
    }
