"""One good bar, and rows that differ from it."""

from __future__ import annotations

import pandas as pd

GOOD = {
    "date": "2024-01-02",
    "instrument": "A",
    "open": 10.0,
    "high": 11.0,
    "low": 9.0,
    "close": 10.5,
    "volume": 100.0,
    "amount": 1020.0,
    "adj_ratio": 1.0,
}


def bars(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([{**GOOD, **change} for change in changes])
