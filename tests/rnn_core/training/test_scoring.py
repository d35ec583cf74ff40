"""Scores: equal to the network's, to the last bit the same in any company, loud when not finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rnn_core.models import build_network
from rnn_core.training import TrainingDivergedError, predict, seeded_network
from rnn_core.training.scoring import Validator
from rnn_core.training.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture(params=["lstm", "gru", "krnn"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_scores_are_the_networks(family: str, array_source: Callable) -> None:
    """Oracle: the network called on all rows at once."""
    network = seeded_network(lambda: build_network(family, 6), 0)
    x = torch.randn(700, 8, 6, generator=torch.Generator().manual_seed(1))
    scores = predict(network, array_source(x), device="cpu")
    assert scores.dtype == np.float32
    assert network.training
    with torch.no_grad():
        np.testing.assert_allclose(scores, network.eval()(x).numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_score_does_not_depend_on_its_company(
    family: str, n_threads: int, array_source: Callable
) -> None:
    """Bit for bit: alone, in small and large groups, in another order, on more threads."""
    network = seeded_network(lambda: build_network(family, 20), 0)
    x = torch.randn(600, 20, 20, generator=torch.Generator().manual_seed(1))
    everything = predict(network, array_source(x), device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for size in (25, 100, 300):
            alone = [predict(network, array_source(p), device="cpu") for p in x.split(size)]
            np.testing.assert_array_equal(np.concatenate(alone), everything)
        for row in (0, 1, 256, 599):
            one = predict(network, array_source(x[row : row + 1]), device="cpu")
            np.testing.assert_array_equal(one, everything[row : row + 1])
        order = torch.randperm(600, generator=torch.Generator().manual_seed(2))
        shuffled = predict(network, array_source(x[order]), device="cpu", batch_size=512)
        np.testing.assert_array_equal(shuffled, everything[order.numpy()])
    finally:
        torch.set_num_threads(before)


def test_label_column_is_left_out(make_source: Callable, make_network: Callable) -> None:
    source, network = make_source(40), make_network()
    scores = predict(network, source, device="cpu", has_label=True)
    source.windows[..., -1] = torch.nan
    np.testing.assert_array_equal(scores, predict(network, source, device="cpu", has_label=True))
    with pytest.raises(ValueError, match=r"expected windows \[B, L, 3\].*leave the label column"):
        predict(network, source, device="cpu")


def test_an_empty_source_has_no_scores(make_source: Callable, make_network: Callable) -> None:
    scores = predict(make_network(), make_source(0), device="cpu", has_label=True)
    assert scores.shape == (0,)


def test_scores_that_are_not_finite(
    make_source: Callable, make_network: Callable, array_source: Callable
) -> None:
    source, network = make_source(40), make_network()
    source.windows[[13, 25], 2, 0] = torch.nan
    with pytest.raises(
        ValueError,
        match=r"2 of 40 scores are not finite, the first at 2024-01-02 N03; 1 cells of that window",
    ):
        predict(network, source, device="cpu", has_label=True)
    with pytest.raises(ValueError, match="2 of 40 scores are not finite, the first at 13; 1 cells"):
        predict(network, array_source(source.windows), device="cpu", has_label=True)
    with torch.no_grad():
        network.fc_out.bias.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"40 of 40 scores.*weights are not finite: train it anew"):
        predict(network, source, device="cpu", has_label=True)


def test_batch_size_below_one(make_source: Callable, make_network: Callable) -> None:
    with pytest.raises(ValueError, match="batch_size is 0, expected 1 or more"):
        predict(make_network(), make_source(4), device="cpu", batch_size=0)


def _score(source: object, metric: str, network: torch.nn.Module) -> float:
    with Workers(CPU) as workers:
        return Validator(source, metric).score(network, CPU, 0, workers)


def test_validation_loss_counts_every_row_once(
    make_source: Callable, make_network: Callable
) -> None:
    """Oracle: minus the mean over all rows with a finite label, the tail too (quirk Q13)."""
    source, network = make_source(261), make_network()
    source.windows[[3, 260], -1, -1] = torch.tensor([torch.nan, -torch.inf])
    scores = predict(network, source, device="cpu", has_label=True).astype(float)
    errors = (scores - source.windows[:, -1, -1].numpy()) ** 2
    assert _score(source, "loss", network) == pytest.approx(-np.mean(errors[np.isfinite(errors)]))


def test_validation_ic_is_a_mean_over_sessions(
    make_source: Callable, make_network: Callable
) -> None:
    """Oracle: numpy's correlation, session by session."""
    source, network = make_source(55), make_network()
    source.windows[[0, 12], -1, -1] = torch.nan
    source.windows[20:30, -1, -1] = 0.5  # no variation: this session has no IC
    scores = predict(network, source, device="cpu", has_label=True)
    labels = source.windows[:, -1, -1].numpy()
    expected = []
    for day in (0, 1, 3, 4, 5):
        rows = slice(10 * day, 10 * day + 10)
        known = np.isfinite(labels[rows])
        expected.append(np.corrcoef(scores[rows][known], labels[rows][known])[0, 1])
    assert _score(source, "ic", network) == pytest.approx(np.mean(expected), rel=1e-5)


def test_validation_errors(
    make_source: Callable, make_network: Callable, array_source: Callable
) -> None:
    source, network = make_source(30), make_network()
    with pytest.raises(ValueError, match=r"ArraySource has none; use TSDataSampler or metric"):
        Validator(array_source(source.windows), "ic")
    source.windows[:, -1, -1] = 1.0
    with pytest.raises(ValueError, match="undefined on all 3 validation sessions"):
        _score(source, "ic", network)
    source.windows[:, -1, -1] = torch.nan
    with pytest.raises(ValueError, match="no validation row has a finite label"):
        _score(source, "loss", network)
    source.windows[4, 0, 0] = torch.nan
    with pytest.raises(TrainingDivergedError, match="epoch 0, its validation, first in the input"):
        _score(source, "loss", network)
