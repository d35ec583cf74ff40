"""Compiled recurrent layers against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnn_core.models import GRUModel, LSTMModel
from rnn_core.models.fused import can_fuse, run

Cell = type[nn.GRU] | type[nn.LSTM]
both = pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])


@both
@pytest.mark.parametrize("only_newest", [False, True])
@pytest.mark.parametrize(
    ("length", "rows", "width", "units", "layers"),
    [(20, 64, 20, 64, 2), (1, 3, 2, 5, 1), (7, 1, 4, 3, 3), (60, 16, 8, 16, 2)],
)
def test_states_and_gradients_are_those_of_torch(
    cell: Cell, only_newest: bool, length: int, rows: int, width: int, units: int, layers: int
) -> None:
    """Oracle: the module; gradients of the input and every weight, from all states or the last."""
    torch.manual_seed(0)
    rnn = cell(width, units, layers)
    x = torch.randn(length, rows, width, requires_grad=True)
    weights = torch.randn(length, rows, units)
    wanted = [x, *rnn.parameters()]
    expected, states = rnn(x)[0], run(rnn, x.transpose(1, 2))
    found = states.all.transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(states.newest, states.all[-1])
    if only_newest:
        losses = [(states.newest.t() * weights[-1]).sum(), (expected[-1] * weights[-1]).sum()]
    else:  # both outputs of the node at once
        losses = [
            (found * weights).sum() + states.newest.sum(),
            (expected * weights).sum() + expected[-1].sum(),
        ]
    for a, b in zip(*(torch.autograd.grad(loss, wanted) for loss in losses), strict=True):
        scale = float(b.abs().max()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=3e-6 * max(scale, 1.0))


@both
def test_without_gradients_the_bits_are_the_same(cell: Cell) -> None:
    torch.manual_seed(0)
    rnn, x = cell(3, 8, 2), torch.randn(9, 3, 5)
    with torch.no_grad():
        alone = run(rnn, x).all
    assert torch.equal(alone, run(rnn, x).all)


@both
def test_a_second_way_back_is_refused(cell: Cell) -> None:
    loss = run(cell(3, 4), torch.randn(2, 3, 5)).newest.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time, and the first one used up"):
        loss.backward()


@both
@pytest.mark.parametrize("value", [float("nan"), 1e4, -1e4, 1e30])
def test_extreme_inputs_end_as_torchs_do(cell: Cell, value: float) -> None:
    """NaN stays NaN, and what saturates is 0 or 1. Oracle: the module."""
    torch.manual_seed(0)
    rnn = cell(3, 4, 1)
    x = torch.full((2, 2, 3), value)
    found = run(rnn, x.transpose(1, 2)).all.transpose(1, 2)
    torch.testing.assert_close(found, rnn(x)[0], rtol=1e-5, atol=1e-6, equal_nan=True)


@both
def test_where_the_module_itself_runs(cell: Cell) -> None:
    x = torch.zeros(2, 5, 3)
    assert can_fuse(cell(3, 4, 2), x)
    assert not can_fuse(cell(3, 4, 2, dropout=0.5), x)
    assert can_fuse(cell(3, 4, 2, dropout=0.5).eval(), x)
    assert not can_fuse(cell(3, 4, 2).double(), x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_fuse(cell(3, 4, 2), x)
    assert not can_fuse(cell(3, 4, 2).to("meta"), x.to("meta"))
    assert not can_fuse(cell(3, 4, 2), x[:0])


@pytest.mark.parametrize("kind", [GRUModel, LSTMModel])
def test_the_network_uses_it_and_scores_as_the_module_would(
    kind: type[GRUModel] | type[LSTMModel],
) -> None:
    torch.manual_seed(0)
    network = kind(4, 8, 2, 0.0)
    x = torch.randn(6, 7, 4)
    scores = network(x)
    assert "LayerBackward" in _names(scores)
    expected = network.fc_out(network.rnn(x)[0][:, -1]).squeeze(-1)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)


def _names(value: Tensor) -> str:
    """Names of the nodes that made a value, on the way through their first inputs."""
    names, waiting = [], [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return " ".join(names)
