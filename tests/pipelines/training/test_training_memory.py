"""A training's rows are held once. Oracle: the bytes of its rows, as tracemalloc counts them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import NotFiniteError
from pipelines.market.market import LABEL_NAME
from pipelines.training import windows
from tests.pipelines.conftest import COLUMNS, market_of
from tests.pipelines.moving_markets import ROLLING

NAMES, PART = 900, 5  # a part has five sessions


@pytest.fixture
def market(tmp_path):
    """The tiny market with 48 features of nothing; what it reads is replaced."""
    return market_of(tmp_path / "tiny", "gru", ROLLING)


def reader(market, columns, spoilt=-1):
    """Stand-in for `LearningRows`: many names, made a part at a time; one part with a NaN."""
    dataset, as_of = market.datasets[0], market.plan.first_trained
    window = windows.input_versions.learning_window(dataset, as_of)
    names = [f"n{k:04d}" for k in range(NAMES)]

    class Rows:
        def __init__(self, *_):
            self.window, self.versions, self.state = window, {}, None

        def __iter__(self):
            draw = np.random.default_rng(0)
            for number, first in enumerate(range(0, len(window.context), PART)):
                days = pd.DatetimeIndex(window.context[first : first + PART])
                size = len(days) * NAMES
                cells = draw.standard_normal((len(columns), size), dtype=np.float32)
                cells[3, 0] = np.nan if number == spoilt else 0.0
                part = pd.DataFrame(cells.T, columns=columns, copy=False)
                part.insert(0, "date", np.repeat(days, NAMES))
                part.insert(1, "instrument", names * len(days))
                part[LABEL_NAME] = draw.standard_normal(size, dtype=np.float32)
                yield part

    return Rows


def wide(market, monkeypatch, **kwargs):
    """The default dataset with 60 columns, and its rows replaced."""
    columns = [*COLUMNS, *(f"more{k}" for k in range(54))]
    monkeypatch.setattr(type(market.datasets[0]), "columns", property(lambda self: tuple(columns)))
    monkeypatch.setattr(windows, "LearningRows", reader(market, columns, **kwargs))
    monkeypatch.setattr(windows, "training_fingerprint", lambda *_: "a digest")
    return market.datasets[0]


def test_the_peak_of_loading_is_the_rows_once(market, monkeypatch):
    dataset = wide(market, monkeypatch)
    tracemalloc.start()
    try:
        data = windows.training_data(market, dataset, market.plan.first_trained, "the test")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(data.train, windows.TSDataSampler)
    panel = data.train.data_arr.nbytes
    assert data.train.data_arr is data.valid.data_arr
    assert panel == 4 * 61 * (NAMES * len(data.window.context) + 1)
    # Two copies of a part of a tenth, a sixteenth of the rows while they are arranged, the index.
    assert peak < 1.45 * panel


def test_values_that_are_not_finite_are_counted_over_all_parts(market, monkeypatch):
    dataset = wide(market, monkeypatch, spoilt=2)
    with pytest.raises(NotFiniteError, match=r"CORR5: 1 NaN from 20\d\d-\d\d-\d\d"):
        windows.training_data(market, dataset, market.plan.first_trained, "the test")
    data = windows.training_data(
        market, dataset, market.plan.first_trained, "the test", missing_values=True
    )
    assert np.isnan(data.train.data_arr[:-1]).sum() == 1
