"""A market of three names and eight sessions with a split, a dividend and a suspension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.config.sources import FilesSource
from pipelines.sources.files import FilesBars

DAYS = (
    *("2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"),
    *("2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11"),
)
SPLIT, DIVIDEND = 2.0, 0.4
"""AAA splits 2:1 on DAYS[3] and pays 0.4 on DAYS[5]; BBB does not trade on DAYS[2] and DAYS[3]
and is restated 4:5 (1.25) on DAYS[3], while it is suspended; CCC is listed on DAYS[6]."""


def traded() -> pd.DataFrame:
    """Bars as traded with the basis in every way: the oracle of all price bases.

    `adj_ratio` is written down from the events, and the other columns from it.
    """
    rows = []
    for k, day in enumerate(DAYS):
        rows.append(("AAA", day, (100.0 + k) / (SPLIT if k >= 3 else 1.0), 1.0))
        if k not in (2, 3):
            rows.append(("BBB", day, 20.0 + k, 1.0))
        if k >= 6:
            rows.append(("CCC", day, 7.0 + k, 1.0))
    frame = pd.DataFrame(rows, columns=["instrument", "date", "close", "adj_ratio"])
    frame = frame.sort_values(["instrument", "date"], ignore_index=True)
    before = frame.groupby("instrument")["close"].shift()
    at = {(r.instrument, r.date): r.Index for r in frame.itertuples()}
    frame.loc[at["AAA", DAYS[3]], "adj_ratio"] = SPLIT
    last = before[at["AAA", DAYS[5]]]
    frame.loc[at["AAA", DAYS[5]], "adj_ratio"] = last / (last - DIVIDEND)
    frame.loc[at["BBB", DAYS[4]], "adj_ratio"] = 1.25
    frame["preclose"] = (before / frame["adj_ratio"]).fillna(frame["close"])
    frame["factor"] = 3.0 * frame.groupby("instrument")["adj_ratio"].cumprod()
    newest = frame.groupby("instrument")["factor"].transform("last")
    frame["adj_close"] = frame["close"] * frame["factor"] / newest
    frame["open"] = frame["close"] * 0.99
    frame["high"] = frame["close"] * 1.02
    frame["low"] = frame["close"] * 0.97
    frame["volume"] = 1000.0 + 10.0 * np.arange(len(frame))
    frame["amount"] = frame["volume"] * frame["close"]
    return frame


@pytest.fixture
def market() -> pd.DataFrame:
    """`traded`."""
    return traded()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., FilesBars]:
    """Makes a source of files below the test's folder."""

    def make(path: str = "bars.parquet", *, needs_amount: bool = False, **keys: Any) -> FilesBars:
        given = {"kind": "files", "path": str(tmp_path / path), "basis": "adjusted", **keys}
        return FilesBars(FilesSource.model_validate(given), needs_amount=needs_amount)

    return make


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by instrument and day."""
    return frame.sort_values(["instrument", "date"], ignore_index=True)
