"""Boosted trees. Oracle: LightGBM itself, called by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import calc_ic
from rnn_core.models import LightGBMModel
from tests.rnn_core.models.estimator_samples import COLUMNS, make_samples

lightgbm = pytest.importorskip("lightgbm")

SMALL = {"num_leaves": 7, "lambda_l1": 0.0, "lambda_l2": 1.0, "num_boost_round": 40}


@pytest.fixture(scope="module")
def data():
    return make_samples(), make_samples(sessions=20, seed=1)


def test_the_trees_are_lightgbms_and_stop_at_the_best_rank_ic(data):
    train, valid = data
    model = LightGBMModel(**SMALL, early_stopping_rounds=5)
    history = model.fit(train, valid, seed=3, threads=1)
    parameters = {
        "objective": "regression", "num_leaves": 7, "max_depth": 8, "learning_rate": 0.2,
        "feature_fraction": 0.8879, "lambda_l1": 0.0, "lambda_l2": 1.0, "seed": 3,
        "deterministic": True, "force_col_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    booster = lightgbm.train(parameters, lightgbm.Dataset(train.rows(), train.label), len(history))
    label, ics = pd.Series(valid.label, valid.index), []
    for trees in range(1, len(history) + 1):
        scores = booster.predict(valid.rows(), num_iteration=trees)
        ics.append(calc_ic(pd.Series(scores, valid.index), label)[1].mean())
    assert history["valid_score"].tolist() == pytest.approx(ics, abs=1e-12)
    best = int(np.argmax(ics))
    assert history["best"].tolist() == [k == best for k in range(len(history))]
    assert len(history) == best + 1 + 5 < 40
    expected = booster.predict(valid.rows(), num_iteration=best + 1)
    assert np.array_equal(model.predict(valid), expected)


def test_labels_that_are_missing_are_left_out_of_both(data):
    train, valid = make_samples(), make_samples(sessions=20, seed=1)
    keep = np.arange(len(train)) % 4 > 0
    train.label[~keep] = np.nan
    valid.label[::5] = np.nan
    model = LightGBMModel(**SMALL)
    history = model.fit(train, valid, seed=0, threads=1)
    assert np.isfinite(history["train_loss"]).all() and np.isfinite(history["valid_score"]).all()
    known = train.rows()[keep]
    other = make_samples()
    other.index, other.label = other.index[keep], train.label[keep]
    other._windows = lambda first, stop: np.repeat(known[first:stop, None], 3, axis=1)
    again = LightGBMModel(**SMALL)
    again.fit(other, valid, seed=0, threads=1)
    assert np.array_equal(model.predict(valid), again.predict(valid))


def test_the_file_is_the_same_on_any_number_of_threads_and_any_lightgbm_reads_it(data, tmp_path):
    """Wide enough for two threads; the number of them is not in the file either."""
    files = []
    wide = np.random.default_rng(0).standard_normal((8000, 1, 140)).astype(np.float32)
    for threads in (1, 2):
        train = make_samples(sessions=400)
        train._windows, train.steps = lambda first, stop: wide[first:stop], 1
        train.columns = tuple(f"f{k}" for k in range(140))
        folder = tmp_path / str(threads)
        folder.mkdir()
        model = LightGBMModel(**{**SMALL, "num_boost_round": 3})
        model.fit(train, None, seed=0, threads=threads)
        model.save(folder)
        files.append((folder / "model.txt").read_bytes())
    assert files[0] == files[1]
    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    assert np.array_equal(booster.predict(train.rows()), model.predict(train))


def test_a_saved_model_scores_to_the_same_bits_each_row_for_itself(data, tmp_path):
    train, valid = data
    model = LightGBMModel(**SMALL, subsample_freq=1)
    model.fit(train, valid, seed=0, threads=1)
    model.save(tmp_path)
    again = LightGBMModel(**SMALL)
    again.load(tmp_path)
    scores = again.predict(valid)
    assert np.array_equal(scores, model.predict(valid)) and scores.std() > 0.1
    rows = valid.rows()
    one = make_samples(sessions=1, names=1)
    for k in range(20):
        one._windows = lambda first, stop, k=k: np.repeat(rows[k : k + 1, None], 3, axis=1)
        assert again.predict(one)[0] == scores[k]


def test_a_seed_changes_the_model_and_the_features_are_ranked_by_what_they_give(data):
    train, valid = data
    models = [LightGBMModel(**SMALL, flatten="window") for _ in range(2)]
    for seed, model in enumerate(models):
        model.fit(train, valid, seed=seed, threads=1)
    assert not np.array_equal(models[0].predict(valid), models[1].predict(valid))
    table = models[0].importance(COLUMNS)
    assert list(table.index[:2]) == ["a", "b"] and len(table) == 12 and "d t-2" in table.index


def test_penalties_for_hundreds_of_names_leave_a_small_market_constant():
    """qlib's settings on 60 rows: no split, no rank IC, and no error."""
    train = make_samples(sessions=6, names=10)
    model = LightGBMModel(num_boost_round=5)
    history = model.fit(train, train, seed=0, threads=1)
    assert np.ptp(model.predict(train)) == 0.0
    assert (history["valid_score"] == -1.0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_leaves": 1}, r"num_leaves is 1, expected a number in \[2, 131072\]"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"flatten": 3}, "flatten is 3, expected 'last' or 'window'"),
    ],
)
def test_arguments_outside_their_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        LightGBMModel(**arguments)
