"""A market whose bars and scores a test writes itself, to carry a book through it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.assets.stages import stages
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import OHLCV, PREDICTION
from tests.pipelines.conftest import market_of

MADE = Provenance("by hand", "1", "")


@dataclass
class HandMadeRun:
    """The part of `Run` that the stage of a portfolio uses."""

    market: Market
    stage: Stage
    keys: tuple[str, ...]
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))

    def provenance(self, key: str, versions: Any, status: str = "ok") -> Provenance:
        stage = self.stage
        made = dict(stage.inputs(key, versions))
        return Provenance(stage.name, stage.code_version, stage.config_hash, made, status)

    def done(self, key: str, info: Any, **metadata: Any) -> None:
        """Nothing is recorded."""


def hand_made(root: Path, portfolio: Mapping[str, Any]) -> Market:
    """A market of one model, `lstm`, with settings of its portfolio and nothing in it."""
    return market_of(root, "lstm", {"portfolio": dict(portfolio)})


def keys_of(market: Market, count: int) -> tuple[str, ...]:
    """The session before the first trained one, and so many from that one on."""
    first = market.sessions.position(market.plan.first_trained)
    return market.sessions.keys[first - 1 : first + count]


def write_bars(market: Market, key: str, bars: Mapping[str, Mapping[str, float]]) -> None:
    """Write the bars of a session.

    Args:
        market: the market.
        key: the session.
        bars: by name, `close` as traded and, where it is not 1, `adj_factor`; `open` is the close
            unless it is given.
    """
    rows = []
    for name, bar in bars.items():
        close = bar["close"]
        price = bar.get("open", close)
        rows.append(
            {
                "instrument": name,
                "open": price,
                "high": max(price, close),
                "low": min(price, close),
                "close": close,
                "volume": 1000.0,
                "amount": 1000.0 * close,
                "adj_factor": bar.get("adj_factor", 1.0),
                "member": True,
            }
        )
    market.warehouse.write(OHLCV, "ohlcv", key, pd.DataFrame(rows), MADE)


def write_scores(market: Market, key: str, scores: Mapping[str, float]) -> None:
    """Write the scores of a session."""
    table = PREDICTION.named("lstm_prediction")
    rows = pd.DataFrame(
        {
            "instrument": list(scores),
            "score": pd.array(list(scores.values()), dtype="float32"),
            "seed_scores": None,
            "as_of": pd.Timestamp(key).date(),
            "fingerprint": "by hand",
        }
    )
    market.warehouse.write(table, table.name, key, rows if scores else table.empty(), MADE)


def trade(market: Market, keys: Sequence[str]) -> None:
    """Carry the book through some sessions."""
    stage = next(stage for stage in stages(market) if stage.name == "lstm_portfolio")
    stage.make(HandMadeRun(market, stage, tuple(keys)))


def rows_of(market: Market, kind: str, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of a table of the portfolio: `portfolio`, `book`, `trades` or `orders`."""
    return market.warehouse.read(f"lstm_{kind}", keys, needed_by="test").frame
