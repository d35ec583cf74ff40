"""The recorded frame of tests/fixtures/make_dataset.py and what pyqlib made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import simulate_market


@pytest.fixture(scope="session")
def recorded(fixtures_dir: Path) -> dict[str, Any]:
    """The arrays of dataset.npz."""
    with np.load(fixtures_dir / "dataset.npz") as stored:
        return dict(stored)


@pytest.fixture
def frame(recorded: dict[str, Any]) -> pd.DataFrame:
    """60 sessions, 9 instruments, 7 features and a label, float32, with every kind of trouble."""
    index = pd.MultiIndex.from_arrays(
        [pd.to_datetime(recorded["date"]), recorded["instrument"].astype(object)],
        names=["datetime", "instrument"],
    )
    columns = pd.MultiIndex.from_arrays([recorded["group"], recorded["name"]])
    return pd.DataFrame(recorded["values"].copy(), index=index, columns=columns)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """60 sessions of 5 simulated instruments, some of them suspended, with a vwap."""
    traded = simulate_market(5, pd.bdate_range("2020-01-01", periods=60), 5, suspension_rate=0.1)
    traded["vwap"] = (traded["high"] + traded["low"] + traded["close"]) / 3
    fields = ["open", "high", "low", "close", "volume", "vwap"]
    return traded[["date", "instrument", *fields]].reset_index(drop=True)
