"""One seeded market for every contestant of a benchmark, as a file that any interpreter can read.

A random walk with volumes, prices in float32. About 1 % of the rows are missing, in the three ways
in which real ones are: single sessions at random, long gaps in a tenth of the names, late listings
in a twentieth. Gaps are in because they are what separates the contestants: a dense market would
hide both the cost of missing values and the errors they cause.

Shape letters: `T` sessions, `N` instruments.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
LONGEST_GAP = 60
"""Sessions; the longest window of Alpha158, so that some windows are empty or nearly so."""


def simulate(instruments: int, sessions: int, seed: int = 7) -> dict[str, NDArray]:
    """The six fields as float32 [N, T], NaN where there is no row, and the axes.

    Returns:
        `FIELDS`, `present` (bool [N, T]), `sessions` (datetime64 [T]) and `instruments` (str [N]).
    """
    rng = np.random.default_rng(seed)
    shape = (instruments, sessions)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=1))
    open_ = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.005, shape)))
    volume = np.exp(rng.normal(14, 0.5, shape))
    fields = (open_, high, low, close, volume, (high + low + close) / 3)
    present = _rows(rng, instruments, sessions)
    market: dict[str, NDArray] = {
        name: np.where(present, values, np.nan).astype(np.float32)
        for name, values in zip(FIELDS, fields, strict=True)
    }
    market["present"] = present
    market["sessions"] = pd.bdate_range("2010-01-04", periods=sessions).to_numpy("datetime64[D]")
    market["instruments"] = np.array([f"S{i:05d}" for i in range(instruments)])
    return market


def _rows(rng: np.random.Generator, instruments: int, sessions: int) -> NDArray[np.bool_]:
    """Which rows exist, [N, T]."""
    present = rng.random((instruments, sessions)) >= 0.006
    for i in np.flatnonzero(rng.random(instruments) < 0.1):
        first = int(rng.integers(sessions))
        present[i, first : first + int(rng.integers(5, LONGEST_GAP + 1))] = False
    for i in np.flatnonzero(rng.random(instruments) < 0.05):
        present[i, : int(rng.integers(sessions // 10 + 1))] = False
    present[:, -1] = True  # every name has a row
    return present


def write(path: Path, market: dict[str, NDArray], names: tuple[str, ...]) -> None:
    """Save a market with the column names in whose order a contestant must write its features."""
    np.savez(path, names=np.array(names), **market)
