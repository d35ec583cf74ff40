"""`Linear` and `LightGBM` on datasets. Oracle: the signal that was planted, and their own files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.estimators import LSTM, LightGBM, Linear
from rnn_core.evaluation import calc_ic
from rnn_core.training import BundleError

SMALL = {"num_leaves": 7, "lambda_l1": 0.0, "lambda_l2": 1.0, "num_boost_round": 30}
KINDS = [(Linear, {}), (LightGBM, {**SMALL, "seeds": 2})]


@pytest.mark.parametrize("shape", ["series", "tabular"])
@pytest.mark.parametrize(("kind", "arguments"), KINDS)
def test_it_finds_the_planted_signal_and_survives_its_files(
    datasets, frame, tmp_path, kind, arguments, shape
):
    model = kind(**arguments).fit(datasets[shape]())
    scores = model.predict(datasets[shape](), "test")
    assert scores.index.is_monotonic_increasing and scores.dtype == np.float32
    label = frame[("label", "LABEL0")]
    assert calc_ic(scores, label.reindex(scores.index))[1].mean() > 0.05
    assert model.history["best"].sum() == model.seeds
    assert len(model.importance()) == (3 if shape == "series" else len(model._fit.columns))
    model.save(tmp_path / "model")
    again = kind.load(tmp_path / "model")
    pd.testing.assert_series_equal(again.predict(datasets[shape](), "test"), scores)
    with pytest.raises(BundleError, match=f"saved by {kind.__name__}"):
        (LightGBM if kind is Linear else Linear).load(tmp_path / "model")
    with pytest.raises(BundleError):
        LSTM.load(tmp_path / "model")


def test_the_window_is_more_than_its_last_session(datasets):
    data = datasets["series"]()
    last, window = (Linear(flatten=f, alpha=1.0).fit(data) for f in ("last", "window"))
    assert len(window.importance()) > len(last.importance()) == 3
    assert not np.array_equal(last.predict(data), window.predict(data))


def test_weights_and_missing_values_reach_the_model(datasets, frame):
    class Newest:
        def reweight(self, data):
            index = data.get_index()
            days = index.get_level_values("datetime")
            return pd.Series(np.where(days > days.min(), 1.0, 0.0), index=index)

    data = datasets["series"]()
    plain, weighted = Linear(alpha=1.0).fit(data), Linear(alpha=1.0).fit(data, reweighter=Newest())
    assert not np.array_equal(plain.predict(data), weighted.predict(data))
    gaps = frame.copy()
    gaps.iloc[::5, 0] = np.nan
    holed = type(data)(gaps, data.segments)
    for model in (Linear(), LightGBM(**SMALL)):
        assert np.isfinite(model.fit(holed).predict(holed)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ones: -ones, "weights are negative or not finite"),
        (lambda ones: np.where(np.arange(len(ones)) == 3, np.nan, ones), "1 of .* not finite"),
        (lambda ones: np.append(ones, 1.0), "expected .*: one for each training row"),
    ],
)
@pytest.mark.parametrize(("kind", "arguments"), KINDS)
def test_weights_that_do_not_fit_are_refused_as_by_networks(
    datasets, kind, arguments, change, message
):
    class Given:
        def reweight(self, data):
            return change(np.ones(len(data)))

    with pytest.raises(ValueError, match=message):
        kind(**arguments).fit(datasets["series"](), reweighter=Given())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Linear(lr=0.1), ValueError, "linear has no hyper-parameter 'lr', expected some"),
        (lambda: Linear(seeds=3), ValueError, "seeds is 3, expected 1: no seed changes the result"),
        (lambda: LightGBM(num_leafs=3), ValueError, "did you mean 'num_leaves'"),
        (lambda: Linear().predict(None), RuntimeError, "this Linear is not fitted"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
