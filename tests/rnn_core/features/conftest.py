"""Markets and comparisons shared by the feature tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from rnn_core.panel.panel import Panel

FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def _gapped_market(
    seed: int,
    *,
    instruments: int = 3,
    sessions: int = 140,
    gap_share: float = 0.1,
    tick: float | None = None,
    level: float = 30.0,
    holes: float = 0.02,
) -> Panel:
    """A random market with suspensions short and long, late listings, missing and odd cells."""
    rng = np.random.default_rng(seed)
    shape = (instruments, sessions)
    close = level * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=1))
    still = rng.integers(0, sessions, instruments)
    for i, t in enumerate(still):
        close[i, t : t + rng.integers(1, 80)] = close[i, t]
    if tick:
        close = np.maximum(np.round(close / tick), 1) * tick
    spread = np.abs(rng.normal(0, 0.01, (2, *shape)))
    high, low = close * (1 + spread[0]), close * (1 - spread[1])
    if tick:  # ties among the extremes too
        high, low = np.ceil(high / tick) * tick, np.floor(low / tick) * tick
    fields = {
        "open": close * (1 + rng.normal(0, 0.005, shape)),
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(np.exp(rng.normal(10, 1, shape))) * (rng.random(shape) > 0.03),
        "vwap": close * (1 + rng.normal(0, 0.002, shape)),
    }
    present = rng.random(shape) >= gap_share
    for i in range(instruments):
        if rng.random() < 0.5:
            start = rng.integers(0, sessions)
            present[i, start : start + rng.integers(3, 75)] = False
        if rng.random() < 0.3:
            present[i, : rng.integers(0, sessions)] = False
    for values in fields.values():
        values[rng.random(shape) < holes / 2] = np.nan
        values[rng.random(shape) < holes / 4] = rng.choice([np.inf, -np.inf, 0.0])
        values[~present] = np.nan
    return Panel(
        pd.bdate_range("2020-01-01", periods=sessions, name="datetime"),
        pd.Index([f"S{i:03d}" for i in range(instruments)], name="instrument"),
        fields,
        present,
    )


def _cut(panel: Panel, sessions: slice, instruments: slice = slice(None)) -> Panel:
    """The part of a panel that someone with less history, or fewer names, would have."""
    return Panel(
        panel.sessions[sessions],
        panel.instruments[instruments],
        {
            name: np.ascontiguousarray(values[instruments, sessions])
            for name, values in panel.fields.items()
        },
        np.ascontiguousarray(panel.present[instruments, sessions]),
    )


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two float32 arrays are equal bit for bit, any NaN equal to any other."""
    same = a.view(np.uint32) == b.view(np.uint32)
    return a.shape == b.shape and bool((same | (np.isnan(a) & np.isnan(b))).all())


@pytest.fixture(scope="session")
def gapped_market() -> Callable[..., Panel]:
    """Make a random gapped market from a seed."""
    return _gapped_market


@pytest.fixture(scope="session")
def cut() -> Callable[..., Panel]:
    """Cut sessions and instruments out of a panel."""
    return _cut


@pytest.fixture(scope="session")
def same_bits() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Compare float32 arrays bit for bit."""
    return _same_bits


@pytest.fixture(scope="session")
def one_name() -> Callable[..., Panel]:
    """A panel of one instrument from short lists; fields not given repeat the close."""

    def make(close: list[float], **fields: list[float]) -> Panel:
        values = {name: np.array([fields.get(name, close)], dtype=float) for name in FIELDS}
        return Panel(
            pd.bdate_range("2024-01-01", periods=len(close), name="datetime"),
            pd.Index(["A"], name="instrument"),
            values,
            ~np.isnan(np.array([close])),
        )

    return make
