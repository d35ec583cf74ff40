"""The recorded frame of tests/fixtures/make_dataset.py and what pyqlib made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


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
