"""Fixtures and commands of the tests over files as people bring them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.sources.files import FilesBars

PLAIN = ["date", "instrument", "open", "high", "low", "close", "volume"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own, and nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return tmp_path


@pytest.fixture
def bars(traded) -> pd.DataFrame:
    """The market with prices adjusted."""
    factor = traded["factor"] / traded.groupby("instrument")["factor"].transform("last")
    prices = {name: traded[name] * factor for name in ("open", "high", "low", "close")}
    return traded.assign(**prices)


def init(*flags: str) -> int:
    return main(["init", "--name", "m", "--calendar", "XNYS", *flags])  # the search takes seconds


def read(bars: pd.DataFrame) -> None:
    """The market that was written reads the bars."""
    source = load_config("m.yaml").market.source
    days = sorted(bars["date"].unique())
    got = FilesBars(source).fetch(days[:3])
    wanted = bars[bars["date"].isin(days[:3])]
    for name in PLAIN:
        assert sorted(got[name]) == sorted(wanted[name])
