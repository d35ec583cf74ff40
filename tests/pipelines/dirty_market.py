"""Bars with a row that breaks each rule, and a market that reads them from a file."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from tests.pipelines.conftest import TINY, make_market, materialize, merged, open_record

SATURDAY, MONDAY = "2020-02-08", "2020-02-10"
DAY = "2020-02-12"
END = "2020-04-15"  # nothing is trained here


def clean_bars(root: Path) -> pd.DataFrame:
    """Six names without a gap; S0006 splits 2:1 on DAY."""
    changes = {"market": {"source": {"suspension_rate": 0.0, "split_rate": 0.0,
                                     "late_listing_share": 0.0}, "end": END}}  # fmt: skip
    origin = make_market(root / "origin", changes)
    bars = origin.source.fetch(origin.sessions.keys)
    later = (bars["instrument"] == "S0006") & (bars["date"] >= DAY)
    bars.loc[later, ["open", "high", "low", "close"]] /= 2.0
    bars.loc[later, "volume"] *= 2.0
    bars.loc[later & (bars["date"] == DAY), "adj_ratio"] = 2.0
    return bars.reset_index(drop=True)


def soiled(bars: pd.DataFrame) -> tuple[pd.DataFrame, dict[tuple[str, str], str]]:
    """The bars with bad rows, and the rules that each breaks, by instrument and day."""
    bars = bars.copy()
    at = {(r.instrument, r.date): r.Index for r in bars.itertuples()}
    days = sorted(bars["date"].unique())
    k, expected = days.index(DAY), {}
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("S0001", {"open": np.nan}, "missing_price"),
        ("S0002", {"low": -1.0}, "non_positive_price"),
        ("S0003", {"volume": 0.0}, "zero_volume"),
        ("S0004", {"volume": np.nan}, "missing_volume"),
    ]
    second: list[tuple[str, dict[str, Any], str]] = [
        ("S0001", {"volume": -5.0}, "negative_volume"),
        ("S0002", {"amount": -5.0}, "negative_amount"),
        ("S0003", {"adj_ratio": np.nan}, "bad_adj_ratio"),
        ("S0004", {"high": 0.01}, "high_below_low"),
    ]
    for day, rows in ((days[k + 1], changes), (days[k + 2], second)):
        for name, change, rule in rows:
            bars.loc[at[name, day], list(change)] = list(change.values())
            expected[name, day] = rule
    body = days[k + 3]
    row = at["S0001", body]
    bars.loc[row, "low"] = bars.loc[row, ["open", "close", "high"]].max() * 0.999
    bars.loc[row, "high"] = bars.loc[row, "low"] * 1.2
    expected["S0001", body] = "low_above_body"
    row = at["S0002", body]
    bars.loc[row, "high"] = bars.loc[row, ["open", "close"]].max() * 0.9999
    bars.loc[row, "low"] = bars.loc[row, ["open", "close"]].min() * 0.9
    expected["S0002", body] = "high_below_body"
    more = [bars.loc[[at["S0003", body]]]]
    expected["S0003", body] = "duplicate"
    more.append(bars.loc[[at["S0004", body]]].assign(close=lambda r: r["close"] * 1.0001))
    expected["S0004", body] = "contradicting_duplicate"
    more.append(bars.loc[[at["S0005", body]]].assign(instrument=None))
    expected["", body] = "no_instrument"
    more.append(bars.loc[[at["S0005", "2020-02-07"]]].assign(date=SATURDAY))
    expected["S0005", SATURDAY] = "off_calendar"
    fallen = (bars["instrument"] == "S0005") & (bars["date"] >= days[k + 4])
    bars.loc[fallen, ["open", "high", "low", "close"]] /= 3.0  # unadjusted
    expected["S0005", days[k + 4]] = "jump"
    return pd.concat([bars, *more], ignore_index=True), expected


def file_market(
    root: Path, bars: pd.DataFrame, *, vwap: str = "amount", **quarantine: Any
) -> Market:
    root.mkdir(parents=True, exist_ok=True)
    bars.to_parquet(root / "bars.parquet", index=False)
    checks = {"bars": {"coverage": "off", "quarantined": "warn"}}
    market = {"quarantine": quarantine, "vwap": vwap, "end": END}
    raw = merged(TINY, {"market": market, "checks": checks})
    raw["market"]["source"] = {
        "kind": "files", "path": str(root / "bars.parquet"), "basis": {"ratio": "adj_ratio"},
    }  # fmt: skip
    return Market(parse_config(raw), root=root / "state")


def ingest(market: Market, *spans: tuple[str, str]) -> dg.DagsterInstance:
    keys = market.sessions.keys
    market.paths.root.mkdir(parents=True, exist_ok=True)
    instance = open_record(Path(mkdtemp(prefix="record-", dir=market.paths.root)))
    for first, last in spans or ((keys[0], keys[-1]),):
        materialize(market, ["ohlcv"], first, last, instance)
    return instance


def stored(market: Market, table: str) -> pd.DataFrame:
    return market.warehouse.read(table, market.sessions.keys, needed_by="test").frame


def aside_of(market: Market) -> dict[tuple[str, str], str]:
    rows = stored(market, "ohlcv_quarantine")
    days = rows["bar_date"].astype("datetime64[ns]").dt.strftime("%Y-%m-%d")
    return dict(zip(zip(rows["instrument"].fillna(""), days, strict=True), rows["rule"],
                    strict=True))  # fmt: skip
