"""Samples for tests of estimators: windows of noise, and a label that some features make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rnn_core.models import Samples

COLUMNS = ("a", "b", "c", "d")


def make_samples(
    sessions: int = 60,
    names: int = 20,
    seed: int = 0,
    *,
    weights: np.ndarray | None = None,
    missing: float = 0.0,
) -> Samples:
    """Windows [S, 3, 4]; the label is a - 0.5 b of the newest session, plus as much noise."""
    draw = np.random.default_rng(seed)
    days, instruments = pd.bdate_range("2020-01-01", periods=sessions), range(names)
    index = pd.MultiIndex.from_product([[f"n{k:02d}" for k in instruments], days]).swaplevel()
    windows = draw.standard_normal((len(index), 3, 4)).astype(np.float32)
    newest = windows[:, -1].astype(np.float64)
    label = newest[:, 0] - 0.5 * newest[:, 1] + draw.standard_normal(len(index))
    windows[draw.random(windows.shape) < missing] = np.nan
    return Samples(
        lambda first, stop: windows[first:stop],
        index.set_names(["datetime", "instrument"]),
        COLUMNS,
        steps=3,
        label=label.astype(np.float32),
        weights=weights,
    )
