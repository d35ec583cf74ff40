"""Samples in numpy. Oracle: the windows by hand, and `calc_ic`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import calc_ic
from rnn_core.models import samples as module
from rnn_core.models.flatten import row_names
from tests.rnn_core.models.estimator_samples import make_samples


def test_rows_are_the_newest_session_or_the_whole_window(monkeypatch):
    """Gathered in chunks of a few windows."""
    monkeypatch.setattr(module, "_CHUNK_BYTES", 7 * 4 * 12)
    samples = make_samples(sessions=5, names=5)
    windows = samples._windows(0, len(samples))
    assert np.array_equal(samples.rows("last"), windows[:, -1])
    assert np.array_equal(samples.rows("window"), windows.reshape(len(windows), -1))
    assert np.array_equal(samples.windows, windows)
    with pytest.raises(ValueError, match="flatten is 'all'"):
        samples.rows("all")


def test_the_rank_ic_is_that_of_the_evaluation():
    samples = make_samples()
    samples.label[::7] = np.nan
    scores = np.random.default_rng(1).standard_normal(len(samples)).round(1)  # with ties
    series = [pd.Series(values, samples.index) for values in (scores, samples.label)]
    assert samples.rank_ic(scores) == pytest.approx(calc_ic(*series)[1].mean(), abs=1e-14)
    assert np.isnan(samples.rank_ic(np.ones(len(samples))))
    samples = make_samples()
    samples.label = None
    with pytest.raises(ValueError, match="no labels"):
        samples.rank_ic(scores)


def test_the_columns_of_a_row_are_named_by_feature_and_age():
    assert row_names(["a", "b"], 2) == ["a", "b"]
    assert row_names(["a", "b"], 6) == ["a t-2", "b t-2", "a t-1", "b t-1", "a", "b"]
