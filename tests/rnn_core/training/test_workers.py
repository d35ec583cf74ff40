"""Shards, and the networks that are not cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_core.models import KRNNModel, LSTMModel
from rnn_core.training.workers import Workers, can_shard, shard_rows, shards

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("n_rows", "most", "sizes"),
    [
        (1, 256, [1]),
        (256, 256, [256]),
        (257, 256, [129, 128]),
        (800, 256, [200] * 4),
        (2000, 512, [500] * 4),
    ],
)
def test_equal_shards_in_order(n_rows: int, most: int, sizes: list[int]) -> None:
    parts = shards(torch.arange(n_rows), most)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n_rows))


@pytest.mark.parametrize(
    ("n_rows", "most", "sizes"),
    [
        (800, 256, [208, 208, 192, 192]),
        (600, 256, [208, 208, 184]),
        (257, 256, [144, 113]),
        (5, 256, [5]),
        (20, 6, [5, 5, 5, 5]),  # no whole unit fits
    ],
)
def test_shards_of_whole_units(n_rows: int, most: int, sizes: list[int]) -> None:
    parts = shards(torch.arange(n_rows), most, 16)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n_rows))


def test_a_network_may_state_the_rows_of_a_shard() -> None:
    assert shard_rows(LSTMModel(3)) == 256
    assert shard_rows(KRNNModel(3)) == 512


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_workers_have_one_thread_each_and_leave_the_setting(two_threads: None) -> None:
    with Workers(CPU) as workers:
        assert workers.map(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        assert workers.map(lambda k: k * k, range(5)) == [0, 1, 4, 9, 16]
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda k: 1 // k, [1, 0])
    assert torch.get_num_threads() == 2


def test_which_networks_are_cut() -> None:
    x = torch.zeros(1, 5, 3)
    assert can_shard(LSTMModel(3), x)
    assert can_shard(KRNNModel(3), x)
    with_dropout = LSTMModel(3, dropout=0.1)
    before = torch.get_rng_state()
    assert not can_shard(with_dropout, x)
    assert torch.equal(before, torch.get_rng_state())
    assert can_shard(with_dropout.eval(), x)
    assert not can_shard(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(15)), x)
