"""Shared fixtures: where the recorded reference outputs and the real markets lie."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("shared machine", deadline=None)  # a busy one is no failure
hypothesis.settings.load_profile("shared machine")

# Trainings of tests last seconds: workers of their own, as a machine of many cores has them, would
# take longer to start. Tests of the executors say which one they want.
os.environ.setdefault("RNN_TRAINING_EXECUTOR", "inline")

ROOT = Path(__file__).resolve().parents[1]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import nothing of the several hosts, servers and all, where none of it is run."""
    is_of_hosts = collection_path == ROOT / "tests" / "cluster"
    return True if is_of_hosts and "not cluster" in config.getoption("markexpr") else None


def _beside(name: str, variable: str) -> Path:
    """The folder `name` of the reference material, or a skip that says where it was sought."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not path.is_dir():
        pytest.skip(f"no reference material at {path} (set {variable} to use another place)")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded outputs of pyqlib on two real markets."""
    return _beside("golden", "RNN_GOLDEN_DIR")


@pytest.fixture(scope="session")
def market_dir() -> Path:
    """Two real markets as published."""
    return _beside("data", "RNN_MARKET_DIR")


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Small recorded fixtures that live in the repository."""
    return ROOT / "tests" / "fixtures"
