"""Recorded outputs of pyqlib on a synthetic market (tests/fixtures/make_evaluation.py)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def recorded(fixtures_dir: Path) -> Path:
    return fixtures_dir / "evaluation"


@pytest.fixture(scope="session")
def pairs(recorded: Path) -> tuple[pd.Series, pd.Series]:
    """(pred, label), shuffled: the order of rows must not matter."""
    rows = pd.read_parquet(recorded / "pairs.parquet").set_index(["datetime", "instrument"])
    pred, label = (rows.loc[rows["side"] == side, "value"] for side in ("pred", "label"))
    return pred.sample(frac=1, random_state=1), label.sample(frac=1, random_state=2)


@pytest.fixture(scope="session")
def daily(recorded: Path) -> pd.DataFrame:
    return pd.read_parquet(recorded / "daily.parquet").set_index("datetime")


@pytest.fixture(scope="session")
def bars(recorded: Path) -> pd.DataFrame:
    return pd.read_parquet(recorded / "bars.parquet")


@pytest.fixture(scope="session")
def signals(recorded: Path) -> pd.DataFrame:
    return pd.read_parquet(recorded / "signals.parquet").set_index(["datetime", "instrument"])
