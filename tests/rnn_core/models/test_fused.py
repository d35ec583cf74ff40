"""Compiled recurrent layers against torch's own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

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
def test_weights_that_do_not_lie_in_order(cell: Cell) -> None:
    """Transposed in memory, as a load from elsewhere may leave them. Oracle: the module."""
    torch.manual_seed(0)
    rnn, x = cell(3, 4, 2), torch.randn(6, 5, 3, requires_grad=True)
    wanted = [x, *rnn.parameters()]
    before = rnn(x)[0]
    losses = [before.square().sum()]
    for name, weight in rnn.named_parameters():
        if weight.ndim == 2:
            weight.data = weight.data.t().contiguous().t()
            assert not weight.is_contiguous(), name
    found = run(rnn, x.transpose(1, 2)).all.transpose(1, 2)
    torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-6)
    losses.append(found.square().sum())
    for b, a in zip(*(torch.autograd.grad(loss, wanted) for loss in losses), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@both
@pytest.mark.parametrize("frozen", ["weight_ih", "weight_hh", "bias", "l0", "l1", ""])
def test_frozen_parameters_get_no_gradient_and_the_others_theirs(cell: Cell, frozen: str) -> None:
    """Some, a whole layer, or all (the empty text). Oracle: the module, frozen alike."""
    torch.manual_seed(0)
    rnn, x = cell(3, 4, 2), torch.randn(6, 5, 3, requires_grad=True)
    for name, parameter in rnn.named_parameters():
        parameter.requires_grad_(frozen not in name)
    run(rnn, x.transpose(1, 2)).all.square().sum().backward()
    found = {name: p.grad for name, p in [("x", x), *rnn.named_parameters()]}
    x.grad = None
    rnn.zero_grad()
    rnn(x)[0].square().sum().backward()
    for name, p in [("x", x), *rnn.named_parameters()]:
        if name != "x" and frozen in name:
            assert found[name] is p.grad is None
        else:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-5, atol=1e-5)


@both
def test_threads_that_share_a_module_get_the_same_bits(cell: Cell) -> None:
    """Four at once, states and gradients, of inputs of their own. Oracle: one after another."""
    torch.manual_seed(0)
    rnn, inputs = cell(8, 32, 2), torch.randn(4, 20, 8, 64)
    start = threading.Barrier(4)

    def once(steps: Tensor) -> list[Tensor]:
        states = run(rnn, steps).all
        return [states.detach(), *torch.autograd.grad(states.sum(), list(rnn.parameters()))]

    def often(steps: Tensor) -> list[list[Tensor]]:
        start.wait(timeout=60)
        return [once(steps) for _ in range(10)]

    expected = [once(steps) for steps in inputs]
    with ThreadPoolExecutor(4) as pool:
        for alone, found in zip(expected, pool.map(often, inputs), strict=True):
            for together in found:
                assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


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
