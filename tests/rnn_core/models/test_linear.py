"""The ridge regression. Oracle: numpy's least squares, with the penalty as rows of data."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from rnn_core.models import LinearModel
from rnn_core.models.linear import ALPHAS
from rnn_core.models.samples import Samples
from tests.rnn_core.models.estimator_samples import COLUMNS, make_samples


def fitted(model, train, valid=None):
    model.fit(train, valid, seed=0, threads=1)
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("flatten", ["last", "window"])
def test_the_scores_are_those_of_least_squares_with_the_penalty_as_rows(flatten, weighted):
    """min Σ w (y - b - Zv)² / Σ w + α |v|², Z standardised by its weighted moments."""
    draw = np.random.default_rng(5)
    weights = draw.random(60 * 20) + 0.1 if weighted else None
    train, alpha = make_samples(weights=weights), 0.3
    x, y = train.rows(flatten).astype(np.float64), train.label.astype(np.float64)
    w = np.ones(len(y)) if weights is None else weights
    centre = np.average(x, axis=0, weights=w)
    scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=w))
    z, level, root = (x - centre) / scale, np.average(y, weights=w), np.sqrt(w / w.sum())
    rows = np.vstack([root[:, None] * z, np.sqrt(alpha) * np.eye(z.shape[1])])
    target = np.concatenate([root * (y - level), np.zeros(z.shape[1])])
    v = np.linalg.lstsq(rows, target, rcond=None)[0]
    model = fitted(LinearModel(alpha=alpha, flatten=flatten), train)
    np.testing.assert_allclose(model.predict(train), level + z @ v, rtol=1e-9, atol=1e-11)


def test_rows_without_a_label_teach_nothing_and_weigh_nothing():
    full, part = make_samples(), make_samples()
    keep = np.arange(len(full)) % 3 > 0
    part.label[~keep] = np.nan
    full.weights = keep.astype(np.float64)
    test = make_samples(seed=9)
    scores = [fitted(LinearModel(alpha=1.0), one).predict(test) for one in (full, part)]
    np.testing.assert_allclose(*scores, rtol=1e-9)


def test_a_missing_or_infinite_value_counts_as_the_mean_of_its_feature():
    train = make_samples(missing=0.2)
    model = fitted(LinearModel(alpha=1.0), train)
    test = make_samples(seed=3)
    rows = test.rows()
    plain, hurt = rows.copy(), rows.copy()
    plain[:, 2] = np.nanmean(train.rows()[:, 2].astype(np.float64))
    hurt[::2, 2], hurt[1::2, 2] = np.nan, np.inf
    scores = []
    for one in (plain, hurt):
        test._windows = lambda first, stop, x=one: np.repeat(x[first:stop, None], 3, axis=1)
        scores.append(model.predict(test))
    np.testing.assert_allclose(*scores, atol=1e-6)
    assert np.isfinite(scores[1]).all()


def test_a_feature_that_does_not_vary_gets_no_weight():
    train = make_samples()
    rows = train.rows()
    rows[:, 3], rows[:, 2] = 7.25, np.nan
    train._windows = lambda first, stop: np.repeat(rows[first:stop, None], 3, axis=1)
    table = fitted(LinearModel(), train, train).importance(COLUMNS)
    assert table.loc[["c", "d"], "coefficient"].tolist() == [0.0, 0.0]
    assert list(table.index[:2]) == ["a", "b"]


def test_the_penalty_is_the_one_with_the_best_rank_ic_on_the_validation_rows():
    train, valid = make_samples(sessions=4), make_samples(seed=1)
    model = LinearModel()
    history = model.fit(train, valid, seed=0, threads=1)
    ics = [valid.rank_ic(fitted(LinearModel(alpha=a), train).predict(valid)) for a in ALPHAS]
    assert history["valid_score"].tolist() == pytest.approx(ics, abs=1e-12)
    assert history["alpha"].tolist() == list(ALPHAS)
    assert history["best"].tolist() == [k == int(np.argmax(ics)) for k in range(len(ALPHAS))]
    chosen = fitted(LinearModel(alpha=float(history.loc[history["best"], "alpha"].iloc[0])), train)
    assert np.array_equal(model.predict(valid), chosen.predict(valid))


def test_more_features_than_rows_are_no_trouble():
    """With α the system has one solution; wider than the chunks of its sums, too."""
    train = make_samples(sessions=2, names=3)
    wide = np.random.default_rng(2).standard_normal((6, 3, 400)).astype(np.float32)
    train._windows = lambda first, stop: wide[first:stop]
    train.columns = tuple(f"f{k}" for k in range(400))
    scores = fitted(LinearModel(alpha=1e-6), train).predict(train)
    np.testing.assert_allclose(scores, train.label, atol=1e-3)


def test_a_score_depends_on_no_other_row_and_on_no_number_of_threads(tmp_path):
    train, test = make_samples(), make_samples(seed=4)
    before, states = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            folder = tmp_path / str(threads)
            folder.mkdir()
            model = fitted(LinearModel(alpha=1.0), train)
            model.save(folder)
            states.append((folder / "linear.json").read_bytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert states[0] == states[1]
    rows = test.rows()
    alone = [model._score(rows[k : k + 1], model._weights)[0] for k in range(50)]
    assert np.array_equal(alone, model.predict(test)[:50])


def test_rows_are_gathered_in_chunks_and_never_held_together(monkeypatch):
    """The peak of a fit and a scoring, beside the windows that the samples are gathered from."""
    monkeypatch.setattr("rnn_core.models.linear._CHUNK_CELLS", 20_000)
    few = make_samples(sessions=100, names=60)
    cells = np.random.default_rng(0).standard_normal((len(few), 3, 100)).astype(np.float32)
    columns = [f"c{k}" for k in range(100)]
    samples = Samples(
        lambda first, stop: cells[first:stop], few.index, columns, steps=3, label=few.label
    )
    tracemalloc.start()
    try:
        fitted(LinearModel(alpha=1.0, flatten="window"), samples).predict(samples)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * cells.nbytes


def test_a_saved_model_scores_to_the_same_bits(tmp_path):
    train = make_samples(missing=0.05)
    model = fitted(LinearModel(), train, make_samples(seed=1))
    model.save(tmp_path)
    again = LinearModel()
    again.load(tmp_path)
    assert np.array_equal(again.predict(train), model.predict(train))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0, expected a finite number above 0, or null"),
        ({"alpha": "small"}, "alpha is 'small'"),
        ({"alpha": True}, "alpha is True"),
        ({"flatten": "first"}, "flatten is 'first', expected 'last' or 'window'"),
    ],
)
def test_arguments_outside_their_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearModel(**arguments)


def test_no_label_and_no_weight_are_errors():
    train = make_samples(sessions=2)
    train.weights = np.zeros(len(train))
    with pytest.raises(ValueError, match="weights add up to 0"):
        LinearModel().fit(train, None, seed=0, threads=1)
    train.label[:] = np.nan
    with pytest.raises(ValueError, match="none of the 40 training rows has a label"):
        LinearModel().fit(train, None, seed=0, threads=1)
