"""Random numbers: a function of the seed, and nothing else is touched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import dropout

from rnn_core.models import LSTMModel
from rnn_core.training import seeded_network
from rnn_core.training.seeding import epoch_order, seeded_dropout

CPU = torch.device("cpu")


def test_initial_weights_are_those_of_qlib(fixtures_dir: Path) -> None:
    """Oracle: pyqlib's LSTM(seed=3), recorded by tests/fixtures/make_models.py; exact."""
    state = seeded_network(lambda: LSTMModel(4, 5, 2, 0.0), 3).state_dict()
    with np.load(fixtures_dir / "models.npz") as recorded:
        for name, value in state.items():
            np.testing.assert_array_equal(value.numpy(), recorded[f"seeded/{name}"])


def test_the_process_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    seeded_network(lambda: LSTMModel(3), 1)
    epoch_order(50, 1, 0)
    with seeded_dropout(CPU, 1, 0):
        torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())


def test_threads_do_not_mix() -> None:
    """Networks seeded in four threads at once are those seeded alone."""

    def first_weights(seed: int) -> bytes:
        return (
            seeded_network(lambda: LSTMModel(3), seed).rnn.weight_hh_l1.detach().numpy().tobytes()
        )

    alone = [first_weights(seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first_weights, range(40))) == alone


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    order = epoch_order(200, seed=5, epoch=3)
    assert order.sort().values.tolist() == list(range(200))
    torch.rand(7)
    assert torch.equal(order, epoch_order(200, seed=5, epoch=3))
    assert not torch.equal(order, epoch_order(200, seed=5, epoch=4))
    assert not torch.equal(order, epoch_order(200, seed=6, epoch=3))

    masks = []
    for seed, epoch in [(5, 3), (5, 3), (5, 4), (6, 3)]:
        with seeded_dropout(CPU, seed, epoch):
            masks.append(dropout(torch.ones(100), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[3])
