"""A source of windows in ten lines, and a problem that a small network can learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from rnn_core.models import LSTMModel
from rnn_core.training import seeded_network


class ArraySource:
    """Windows that lie in one tensor [S, L, F]."""

    def __init__(self, windows: Tensor) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        return self.windows.to(device)[indices.to(device)]


class IndexedSource(ArraySource):
    """The same, with `n_names` instruments on every session."""

    n_names = 10

    def get_index(self) -> pd.MultiIndex:
        t, n = np.divmod(np.arange(len(self)), self.n_names)
        days = pd.Timestamp("2024-01-01") + pd.to_timedelta(t, unit="D")
        names = [f"N{k:02d}" for k in n]
        return pd.MultiIndex.from_arrays([days, names], names=["datetime", "instrument"])


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny operations on several threads wait for each other; tests of threads set their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def array_source() -> type[ArraySource]:
    return ArraySource


@pytest.fixture(scope="session")
def make_source() -> Callable[..., IndexedSource]:
    """Windows [S, 5, 4]: three features and a label, their mean of the last step plus noise."""

    def make(n_samples: int, seed: int = 0) -> IndexedSource:
        generator = torch.Generator().manual_seed(seed)
        windows = torch.randn(n_samples, 5, 4, generator=generator)
        noise = 0.3 * torch.randn(n_samples, generator=generator)
        windows[:, -1, -1] = windows[:, -1, :3].mean(dim=1) + noise
        return IndexedSource(windows)

    return make


@pytest.fixture(scope="session")
def make_network() -> Callable[..., LSTMModel]:
    def make(seed: int = 0, **hyper: Any) -> LSTMModel:
        return seeded_network(lambda: LSTMModel(3, **{"hidden_size": 8, **hyper}), seed)

    return make
