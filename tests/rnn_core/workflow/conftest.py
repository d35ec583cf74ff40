"""A provider folder of a small simulated market."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.rnn_core.workflow.workflow_cases import SESSIONS, SPANS


@pytest.fixture(scope="session")
def bars() -> pd.DataFrame:
    """12 names with suspensions and late listings."""
    return adjusted_market(12, SESSIONS, 1, signal=0.3, suspension_rate=0.05)


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory, bars: pd.DataFrame) -> Path:
    """The folder; nobody writes to it."""
    root = tmp_path_factory.mktemp("provider")
    codes = sorted(bars["instrument"].unique())
    whole = (f"{SESSIONS[0]:%Y-%m-%d}", "2099-12-31")
    spans = [(code, *SPANS.get(k, whole)) for k, code in enumerate(codes)]
    return dump_provider(root / "data", bars, sessions=SESSIONS, spans=spans)
