"""A market whose bars and scores a test writes itself, to carry a book through it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.assets.stages import stages
from pipelines.bars.adjustment import load_bars
from pipelines.config.loader import parse_config
from pipelines.market.extra_table import extra_table
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import OHLCV, PREDICTION
from rnn_core.evaluation import PortfolioResult
from tests.pipelines.conftest import TINY

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


SECTORS = ("Banks", "Steel", "Tech")


def hand_made(root: Path, portfolio: Mapping[str, Any], *, sectors: bool = False) -> Market:
    """A market of one model, `lstm`, with settings of its portfolio and nothing in it.

    With sectors its bars are said to lie in a file with such a column, which nobody reads.
    """
    raw = {**TINY, "models": {"lstm": TINY["models"]["lstm"]}}
    # The settings of the tiny market are TopkDropout's.
    own = {} if "strategy" in portfolio else TINY["portfolio"]
    raw["portfolio"] = {**own, **portfolio}
    if sectors:
        source = {
            "kind": "files", "path": str(root / "absent.parquet"), "basis": {"ratio": "adj_ratio"},
            "columns": {"extra": [{"sector": "category"}]},
        }  # fmt: skip
        raw["market"] = {**TINY["market"], "source": source}
    return Market(parse_config(raw), root=root)


def planted(
    tmp_path: Path,
    portfolio: Mapping[str, Any],
    *,
    sessions: int = 30,
    names: int = 12,
    seed: int = 5,
    history: int = 0,
    sectors: bool = False,
) -> tuple[Market, tuple[str, ...]]:
    """A market whose scores know a part of the move from D + 1 to D + 2, with splits.

    Args:
        tmp_path: a folder.
        portfolio: settings.
        sessions: from the first trained one on.
        names: in the market.
        seed: of everything drawn.
        history: sessions of bars before those of the answer.
        sectors: True for a sector a name in `ohlcv_extra`.

    Returns:
        The market, and its sessions from the one before the first trained on.
    """
    market = hand_made(tmp_path / "tiny", portfolio, sectors=sectors)
    own, rng = keys_of(market, sessions), np.random.default_rng(seed)
    start = market.sessions.position(own[0])
    history = min(history, start)
    keys = (*market.sessions.keys[start - history : start], *own)
    moves = rng.normal(0.0, 0.04, (len(keys) + 2, names))
    close, factor = np.full(names, 20.0), np.ones(names)
    for t, key in enumerate(keys):
        close = close * np.exp(moves[t])
        split = rng.random(names) < 0.02
        close, factor = np.where(split, close / 2, close), np.where(split, factor * 2, factor)
        opens = close * np.exp(rng.normal(0.0, 0.01, names))
        bars = {
            f"N{i:02}": {"close": close[i], "open": opens[i], "adj_factor": factor[i]}
            for i in range(names)
            if rng.random() > 0.05
        }
        write_bars(market, key, bars)
        if sectors:
            write_sectors(market, key, {n: SECTORS[int(n[1:]) % 3] for n in bars})
        if t > history:
            noise = rng.normal(0.0, 0.02, names)
            write_scores(
                market, key, {n: moves[t + 2][int(n[1:])] + noise[int(n[1:])] for n in bars}
            )
    return market, own


def prices_of_day(market: Market, key: str) -> dict[str, float]:
    """The adjusted closes of a session."""
    bars, _ = load_bars(market, [key], "test")
    return dict(zip(bars["instrument"], bars["close"].tolist(), strict=True))


def write_sectors(market: Market, key: str, sectors: Mapping[str, str]) -> None:
    """Write the column beside the bars of a session."""
    table = extra_table(market.config.market.extra)
    made = replace(MADE, inputs={"sector": f"{table.origins['sector']}{key}"})
    rows = pd.DataFrame({"instrument": list(sectors), "sector": list(sectors.values())})
    market.warehouse.write(table, table.name, key, rows, made)


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


def same_as(
    whole: PortfolioResult, market: Market, keys: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Confirm that stored books are a backtest to the last bit; returns their book and holdings."""
    book = rows_of(market, "book", keys).set_index("date")
    assert np.array_equal(book[list(whole.daily)].to_numpy(), whole.daily.to_numpy())
    held = rows_of(market, "portfolio", keys)
    columns = ["instrument", "amount", "price", "weight", "suspended"]
    assert held[columns].to_numpy().tolist() == whole.positions[columns].to_numpy().tolist()
    return book, held
