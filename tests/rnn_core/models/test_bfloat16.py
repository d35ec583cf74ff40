"""Recurrent layers whose products take bfloat16.

Oracle: the same layers in float64 on torch's autograd, made of one product whose factors numpy
rounds to bfloat16, there and on the way back. It knows nothing of the compiled layers' layout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_core.models import GRUModel, KRNNModel, LSTMModel, bfloat16_layer, blas
from rnn_core.models.bfloat16_layer import FEWEST_UNITS, bfloat16_layers
from rnn_core.models.bfloat16_loops import round_to_bfloat16
from rnn_core.models.fused import run

needs_product = pytest.mark.skipif(
    blas.bfloat16_address() == 0, reason="torch's library exports no product of bfloat16 here"
)
Cell = type[nn.GRU] | type[nn.LSTM]
both = pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
HALF_UNIT = 2.0**-9  # of the last of 8 bits: the most that rounding changes a number, relatively


def nearest(values: Tensor) -> Tensor:
    """The nearest bfloat16 by way of the neighbours below and above, in numpy; ties to even."""
    single = values.detach().numpy().astype(np.float32)
    below = (single.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # towards zero
    above = (below.view(np.uint32) + np.uint32(0x10000)).view(np.float32)
    low, high = (np.abs(single.astype(np.float64) - end) for end in (below, above))
    is_odd = (below.view(np.uint32) >> np.uint32(16)) & np.uint32(1)
    up = (high < low) | ((high == low) & (is_odd == 1))
    return torch.from_numpy(np.where(up, above, below).astype(np.float64))


class Product(torch.autograd.Function):
    """a b of rounded factors, sums in float64."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.factors = nearest(a), nearest(b)
        return ctx.factors[0] @ ctx.factors[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (a, b), rounded = ctx.factors, nearest(gradient)
        return rounded @ b.t(), a.t() @ rounded


def product(a: Tensor, b: Tensor) -> Tensor:
    found: Tensor = Product.apply(a, b)  # type: ignore[no-untyped-call]
    return found


def oracle(rnn: nn.GRU | nn.LSTM, steps: Tensor) -> Tensor:
    """States of the last layer, [L, B, H], from steps [L, B, I]; the module is in float64."""
    states = list(steps)
    for layer in range(rnn.num_layers):
        w_input, w_state, b_input, b_state = (
            getattr(rnn, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = torch.zeros(len(steps[0]), rnn.hidden_size, dtype=torch.float64)
        c, found = torch.zeros_like(h), []
        for x in states:
            of_x = product(x, w_input.t()) + b_input
            of_h = product(h, w_state.t()) + b_state
            if isinstance(rnn, nn.LSTM):
                i, f, g, o = (of_x + of_h).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            else:
                (x_r, x_z, x_n), (h_r, h_z, h_n) = of_x.chunk(3, 1), of_h.chunk(3, 1)
                z = (x_z + h_z).sigmoid()
                h = (1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h
            found.append(h)
        states = found
    return torch.stack(states)


def difference(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, relative to that of the expected, which may be zero."""
    a, b = found.detach().double(), expected.detach().double()
    return float((a - b).norm() / b.norm()) if b.any() else float(a.norm())


SIZES = [
    (20, 48, 20, 64, 2),
    (1, 3, 2, 5, 1),
    (7, 1, 5, 3, 3),
    (6, 37, 11, 33, 2),
    (60, 16, 8, 9, 1),
]


@needs_product
@both
@pytest.mark.parametrize(("length", "rows", "width", "units", "layers"), SIZES)
def test_states_and_gradients_are_those_of_rounded_factors(
    cell: Cell, monkeypatch, length: int, rows: int, width: int, units: int, layers: int
) -> None:
    """Against the oracle, and within bfloat16's 8 bits of float32.

    A product of two rounded factors is off by two half units, relatively. A gradient passes through
    one product a step and layer, there and back, whose errors are independent: they add up as the
    root of their number. The oracle rounds alike, so what is left of it is far below one half unit:
    float32's sums, and the few factors that these bring to the other side of a tie.
    """
    monkeypatch.setattr(bfloat16_layer, "FEWEST_UNITS", 1)
    torch.manual_seed(0)
    rnn = cell(width, units, layers)
    x = torch.randn(length, rows, width, requires_grad=True)
    weights = torch.randn(length, rows, units)

    def gradients(states: Tensor, module: nn.Module, inputs: Tensor) -> list[Tensor]:
        loss = (states * weights).sum() + states[-1].sum()
        return [states, *torch.autograd.grad(loss, [inputs, *module.parameters()])]

    single = gradients(run(rnn, x.transpose(1, 2)).all.transpose(1, 2), rnn, x)
    with bfloat16_layers() as use:
        found = gradients(run(rnn, x.transpose(1, 2)).all.transpose(1, 2), rnn, x)
    assert use.layers == layers
    exact, y = cell(width, units, layers).double(), x.detach().double().requires_grad_()
    exact.load_state_dict(rnn.state_dict())
    expected = gradients(oracle(exact, y), exact, y)
    bound = 2 * HALF_UNIT * (2 * length * layers) ** 0.5
    for a, b, c in zip(found, expected, single, strict=True):
        assert difference(a, b) < HALF_UNIT / 2
        assert difference(a, c) < bound
    assert difference(found[0], expected[0]) < difference(found[0], single[0]) / 4


@needs_product
def test_a_krnn_is_that_of_rounded_factors() -> None:
    """Its convolution and head stay float32. Oracle: the GRUs above, in the network in float64."""
    torch.manual_seed(0)
    sizes = {"fea_dim": 5, "cnn_dim": 7, "rnn_dim": 33, "rnn_dups": 2, "rnn_layers": 2}
    network, exact = KRNNModel(**sizes), KRNNModel(**sizes).double()
    exact.load_state_dict(network.state_dict())
    x = torch.randn(19, 6, 5)
    with bfloat16_layers() as use:
        scores = network(x)
        found = torch.autograd.grad(scores.square().sum(), list(network.parameters()))
    assert use.layers == 4
    steps = exact.encoder.cnn_encoder(x.double()).transpose(0, 1)
    states = [oracle(rnn, steps)[-1] for rnn in exact.encoder.krnn_encoder.rnn_modules]
    loss = exact.out_fc(torch.stack(states).mean(0)).square().sum()
    expected = torch.autograd.grad(loss, list(exact.parameters()))
    for a, b in zip(found, expected, strict=True):
        assert difference(a, b) < HALF_UNIT / 2


def test_rounding_is_to_nearest_with_ties_to_even() -> None:
    """Every upper half with lower halves about the tie. Oracle: torch's conversion, bit by bit."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        values = (upper | np.uint32(lower)).view(np.float32)
        found = np.empty(2**16, np.int16)
        round_to_bfloat16(values, found)
        expected = torch.from_numpy(values).bfloat16()
        known = ~np.isnan(values)
        assert np.array_equal(found[known], expected.view(torch.int16).numpy()[known])
        assert torch.from_numpy(found).view(torch.bfloat16).isnan().numpy()[~known].all()


@needs_product
@both
def test_threads_and_repeats_give_the_same_bits(cell: Cell) -> None:
    """Four at once, with and without gradients. Oracle: one after another."""
    torch.manual_seed(0)
    rnn, inputs = cell(8, FEWEST_UNITS, 2), torch.randn(4, 20, 8, 64)
    start = threading.Barrier(4)

    def once(steps: Tensor) -> list[Tensor]:
        with bfloat16_layers() as use:
            states = run(rnn, steps).all
            with torch.no_grad():
                assert torch.equal(run(rnn, steps).all, states)
        assert use.layers == 4
        return [states.detach(), *torch.autograd.grad(states.sum(), list(rnn.parameters()))]

    def often(steps: Tensor) -> list[list[Tensor]]:
        start.wait(timeout=60)
        return [once(steps) for _ in range(5)]

    expected = [once(steps) for steps in inputs]
    with ThreadPoolExecutor(4) as pool:
        for alone, found in zip(expected, pool.map(often, inputs), strict=True):
            for together in found:
                assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@needs_product
@both
@pytest.mark.parametrize("frozen", ["weight_ih", "weight_hh", "bias", "l0", ""])
def test_frozen_parameters_get_no_gradient_and_the_others_theirs(cell: Cell, frozen: str) -> None:
    """Some, a layer, or all (the empty text). Oracle: the gradients with nothing frozen.

    Without a gradient of its input a layer makes a narrower product, whose sums have another order.
    """
    torch.manual_seed(0)
    rnn, x = cell(3, FEWEST_UNITS, 2), torch.randn(6, 3, 5)
    with bfloat16_layers():
        free = torch.autograd.grad(run(rnn, x).all.sum(), list(rnn.parameters()))
        for name, parameter in rnn.named_parameters():
            parameter.requires_grad_(frozen not in name)
        if frozen:
            run(rnn, x).all.sum().backward()
    for (name, parameter), expected in zip(rnn.named_parameters(), free, strict=True):
        if frozen in name:
            assert parameter.grad is None
        else:
            assert difference(parameter.grad, expected) < HALF_UNIT / 2


@needs_product
@both
@pytest.mark.parametrize("value", [float("nan"), 1e4, -1e4, 3e38])
def test_extreme_inputs_end_as_torchs_do(cell: Cell, value: float) -> None:
    """NaN stays NaN, and what saturates is 0 or 1. Oracle: the module, on a value of 8 bits.

    An infinite input, which a training refuses, is left out: a GRU's zeros would make it NaN.
    """
    torch.manual_seed(0)
    rnn = cell(3, FEWEST_UNITS, 1)
    x = torch.full((1, 2, 3), value).bfloat16().float()  # one step: no state that is rounded
    with bfloat16_layers():
        found = run(rnn, x.transpose(1, 2)).all.transpose(1, 2)
    torch.testing.assert_close(found, rnn(x)[0], rtol=0.02, atol=0.02, equal_nan=True)


@needs_product
@both
def test_a_second_way_back_is_refused(cell: Cell) -> None:
    with bfloat16_layers():
        loss = run(cell(3, FEWEST_UNITS), torch.randn(2, 3, 5)).newest.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time, and the first one used up"):
        loss.backward()


@pytest.mark.parametrize("kind", [GRUModel, LSTMModel])
def test_where_layers_stay_in_float32(kind: type[GRUModel] | type[LSTMModel], monkeypatch) -> None:
    """Outside of a block, in another thread, below 32 units, with dropout, without the product."""
    torch.manual_seed(0)
    x, wide = torch.randn(3, 4, 5), kind(5, FEWEST_UNITS, 2)
    before = wide(x)
    with bfloat16_layers() as use:
        kind(5, FEWEST_UNITS - 1, 2)(x)
        kind(5, FEWEST_UNITS, 2, dropout=0.5)(x)
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(wide, x).result(), before)
        with monkeypatch.context() as without:
            without.setattr(bfloat16_layer, "bfloat16_address", lambda: 0)
            assert torch.equal(wide(x), before)
        assert use.layers == 0
        wide(x)
        assert use.layers == (2 if blas.bfloat16_address() else 0)
    assert torch.equal(wide(x), before)


def test_a_product_that_is_wrong_or_missing_is_not_taken(monkeypatch) -> None:
    """The entry is tried on whole numbers, which have exact products."""
    assert blas._entry("no_such_entry_", lambda values: values) == 0
    if blas.bfloat16_address():
        assert blas._entry("gemm_bf16bf16f32_", lambda values: -blas._bfloat16_bits(values)) == 0
    monkeypatch.setattr(blas.llvmlite.binding, "get_host_cpu_features", dict)
    blas.has_fast_bfloat16.cache_clear()
    try:
        assert not blas.has_fast_bfloat16()
    finally:
        blas.has_fast_bfloat16.cache_clear()


@pytest.mark.skipif(not blas.has_fast_bfloat16(), reason="a processor without tiles for bfloat16")
def test_a_process_without_tiles_does_not_claim_them() -> None:
    """MKL that may not use them computes to other bits: the precision has to be another one.

    This process, which is not limited, has them.
    """
    code = "from rnn_core.models.blas import has_fast_bfloat16; print(has_fast_bfloat16())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "False"
