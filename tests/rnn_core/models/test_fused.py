"""The compiled GRU layer against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_core.models import GRUModel
from rnn_core.models.fused import can_fuse, layer_weights, run_layers


@pytest.mark.parametrize(
    ("length", "rows", "width", "units", "layers"),
    [(20, 64, 20, 64, 2), (1, 3, 2, 5, 1), (7, 1, 4, 3, 3), (60, 16, 8, 16, 2), (4, 0, 3, 2, 2)],
)
def test_states_and_gradients_are_those_of_torch(
    length: int, rows: int, width: int, units: int, layers: int
) -> None:
    """Oracle: nn.GRU; gradients of the input and of every weight, with every state in the loss."""
    torch.manual_seed(0)
    rnn = nn.GRU(width, units, layers)
    x = torch.randn(length, rows, width, requires_grad=True)
    weights = torch.randn(length, rows, units)
    wanted = [x, *rnn.parameters()]
    expected, found = rnn(x)[0], run_layers(layer_weights(rnn), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        scale = float(b.abs().max()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=3e-6 * max(scale, 1.0))


@pytest.mark.parametrize("value", [float("nan"), 1e4, -1e4, 1e30])
def test_extreme_inputs_end_as_torchs_do(value: float) -> None:
    """NaN stays NaN, and what saturates is 0 or 1. Oracle: nn.GRU."""
    torch.manual_seed(0)
    rnn = nn.GRU(3, 4, 1)
    x = torch.full((2, 2, 3), value)
    expected, found = rnn(x)[0], run_layers(layer_weights(rnn), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_where_the_module_itself_runs() -> None:
    x = torch.zeros(2, 5, 3)
    assert can_fuse(nn.GRU(3, 4, 2), x)
    assert not can_fuse(nn.GRU(3, 4, 2, dropout=0.5), x)
    assert can_fuse(nn.GRU(3, 4, 2, dropout=0.5).eval(), x)
    assert not can_fuse(nn.GRU(3, 4, 2).double(), x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_fuse(nn.GRU(3, 4, 2), x)
    assert not can_fuse(nn.GRU(3, 4, 2).to("meta"), x.to("meta"))


def test_the_network_uses_it_and_scores_as_the_module_would() -> None:
    torch.manual_seed(0)
    network = GRUModel(4, 8, 2, 0.0)
    x = torch.randn(6, 7, 4)
    expected = network.fc_out(network.rnn(x)[0][:, -1]).squeeze(-1)
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
