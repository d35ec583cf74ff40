"""Networks against pyqlib's: same weights in, same scores and gradients out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnn_core.models import CNNEncoderBase, GRUModel, KRNNEncoderBase, KRNNModel, LSTMModel

SMALL = {
    "lstm": lambda: LSTMModel(4, 5, 2, 0.0),
    "gru": lambda: GRUModel(4, 5, 2, 0.0),
    "krnn": lambda: KRNNModel(4, 3, 3, 5, 2, 2, 0.0),
}
GOLDEN = {
    "lstm": lambda: LSTMModel(20, 64, 2, 0.0),
    "gru": lambda: GRUModel(20, 64, 2, 0.0),
    "krnn": lambda: KRNNModel(20, 8, 3, 8, 2, 2, 0.0),
}


def _check_recorded(path: Path, name: str, network: nn.Module) -> None:
    with np.load(path) as recorded:
        prefix = f"{name}/state/"
        state = {
            key.removeprefix(prefix): torch.from_numpy(recorded[key])
            for key in recorded
            if key.startswith(prefix)
        }
        network.load_state_dict(state, strict=True)
        network.eval()
        x = torch.from_numpy(recorded["input"]).requires_grad_(True)
        y = network(x)
        y.mean().backward()
        np.testing.assert_allclose(y.detach().numpy(), recorded[f"{name}/output"], rtol=1e-5)
        gradient = recorded[f"{name}/input_grad"]
        assert x.grad is not None
        # Elements that cancel to almost nothing: pyqlib itself, run on another CPU than the one
        # that made the record, is off by up to 2.4e-7 of the largest.
        atol = 1e-6 * float(np.abs(gradient).max())
        np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", SMALL)
def test_recorded_pyqlib_networks(name: str, fixtures_dir: Path) -> None:
    """Oracle: pyqlib 0.9.7, recorded by tests/fixtures/make_models.py."""
    _check_recorded(fixtures_dir / "models.npz", name, SMALL[name]())


@pytest.mark.golden
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pyqlib_networks(name: str, golden_dir: Path) -> None:
    """Oracle: pyqlib 0.9.7 with the sizes of its benchmarks; KRNN was fed time-major rows."""
    _check_recorded(golden_dir / "models.npz", name, GOLDEN[name]())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_one_score_per_row(name: str, n_rows: int) -> None:
    """Also a batch of one row gives [1] (quirk Q21), and an empty one gives [0]."""
    assert SMALL[name]()(torch.zeros(n_rows, 7, 4)).shape == (n_rows,)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(6, 4, 7), (6, 28), (6, 7, 5)])
def test_wrong_layout_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    """A transposed, flat or too wide batch does not train silently (quirk Q16)."""
    with pytest.raises(ValueError, match=r"expected windows \[B, L, 4\]"):
        SMALL[name]()(torch.zeros(shape))


def test_benchmark_sizes() -> None:
    """Parameter counts of qlib's benchmark networks, counted by hand."""
    counts = {n: sum(p.numel() for p in build().parameters()) for n, build in GOLDEN.items()}
    # KRNN: conv 20*8*3+8, two GRUs of two layers 3*(8*8+8*8+8+8), head 9.
    krnn = 20 * 8 * 3 + 8 + 2 * 2 * 3 * (64 + 64 + 16) + 9
    assert counts == {"lstm": 55_361, "gru": 41_537, "krnn": krnn}


def test_krnn_is_the_mean_of_its_rnns() -> None:
    """Oracle: each GRU run on its own."""
    encoder = KRNNEncoderBase(3, 5, dup_num=3, rnn_layers=1, dropout=0.0)
    x = torch.randn(4, 7, 3)
    alone = [rnn(x.transpose(0, 1))[0] for rnn in encoder.rnn_modules]
    expected = (alone[0] + alone[1] + alone[2]) / 3
    torch.testing.assert_close(encoder(x), expected.transpose(0, 1))


@pytest.mark.parametrize(("dups", "layers", "units"), [(2, 2, 8), (1, 2, 8), (3, 1, 20)])
def test_compiled_rnns_agree_with_torchs(dups: int, layers: int, units: int) -> None:
    """Oracle: torch's GRUs; scores, and gradients of every parameter."""
    encoder = KRNNEncoderBase(3, units, dups, layers, dropout=0.0)
    x = torch.randn(4, 7, 3)
    weights = torch.randn(4, 7, units)
    alone = torch.stack([rnn(x.transpose(0, 1))[0].transpose(0, 1) for rnn in encoder.rnn_modules])
    alone = alone.mean(dim=0)
    for found, expected, loss in (
        (encoder(x), alone, weights),
        (encoder.newest(x), alone[:, -1], weights[:, -1]),
    ):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad((found * loss).sum(), list(encoder.parameters())),
            torch.autograd.grad(
                (expected * loss).sum(), list(encoder.parameters()), retain_graph=True
            ),
        )


def test_the_newest_step_is_that_of_all_where_nothing_is_compiled() -> None:
    encoder = KRNNEncoderBase(3, 8, 2, 2, dropout=0.0).double()
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    assert torch.equal(encoder.newest(x), encoder(x)[:, -1])


def test_dropout_reaches_the_rnns() -> None:
    """Between layers, in training only, with other masks for each GRU."""
    encoder = KRNNEncoderBase(3, 8, 2, 2, dropout=0.5)
    x = torch.randn(4, 7, 3)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_convolution_is_centred() -> None:
    """A kernel of three touches the session before, its own and the one after, no others."""
    encoder = CNNEncoderBase(1, 1, 3)
    x = torch.zeros(1, 9, 1)
    quiet = encoder(x)
    x[0, 4, 0] = 1.0
    changed = (encoder(x) != quiet).flatten().nonzero().flatten()
    assert changed.tolist() == [3, 4, 5]


def test_even_kernel_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"kernel_size is 4, expected an odd number.*take 3 or 5"):
        KRNNModel(4, 3, 4, 5, 2, 2, 0.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LSTMModel(d_feat=0), "d_feat is 0, expected a whole number"),
        (lambda: GRUModel(hidden_size=-1), "hidden_size is -1"),
        (lambda: LSTMModel(num_layers=2.0), "num_layers is 2.0"),
        (lambda: GRUModel(dropout=1.0), r"dropout is 1.0, expected a number in \[0, 1\)"),
        (lambda: KRNNModel(rnn_dups=0), "dup_num is 0"),
        (lambda: KRNNModel(cnn_kernel_size=True), "kernel_size is True"),
    ],
)
def test_bad_sizes(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
