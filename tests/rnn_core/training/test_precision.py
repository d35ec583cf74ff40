"""Precision by name: the precision in use, its reason, and settings put back."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from rnn_core.models import GRUModel, LSTMModel
from rnn_core.models.blas import bfloat16_address
from rnn_core.training import Trainer, TrainerConfig, precision, seeded_network
from rnn_core.training.fit_result import FitResult
from rnn_core.training.gradients import batch_gradient
from rnn_core.training.precision import mixed, product_precision, resolve_precision
from rnn_core.training.workers import Workers

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
EXAMPLE = torch.zeros(1, 5, 3)
needs_product = pytest.mark.skipif(
    bfloat16_address() == 0, reason="torch's library exports no product of bfloat16 here"
)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the processor has tiles; the product itself runs on any with MKL."""
    return lambda there: monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: there)


def fit(make_source: Callable, name: str, network: nn.Module) -> FitResult:
    config = TrainerConfig(n_epochs=2, batch_size=600, device="cpu", precision=name)
    return Trainer(config).fit(network, make_source(1300, 1), make_source(90, 2))


@pytest.mark.parametrize(
    ("name", "units", "there", "reason"),
    [
        ("bfloat16", 32, False, "float32, since this processor has no tiles for bfloat16"),
        ("bfloat16", 8, True, "float32, since no layer of LSTMModel computes in bfloat16"),
        ("tf32", 32, True, "float32, since tf32 is a format of CUDA devices"),
    ],
)
def test_the_cpu_falls_back_to_float32_and_says_so(
    tiles: Callable, make_source: Callable, caplog, name: str, units: int, there: bool, reason: str
) -> None:
    """Oracle: the same training without the setting, bit by bit."""
    tiles(there)
    with caplog.at_level(logging.INFO):
        results = [
            fit(make_source, setting, seeded_network(lambda: LSTMModel(3, units), 0))
            for setting in ("float32", name)
        ]
    assert [result.precision for result in results] == ["float32", "float32"]
    assert results[0].history.equals(results[1].history)
    assert "float32, as configured" in caplog.messages[0]
    assert reason in caplog.messages[-1]


@needs_product
@pytest.mark.parametrize("kind", [GRUModel, LSTMModel])
def test_a_training_in_bfloat16_repeats_its_bits_on_any_number_of_threads(
    tiles: Callable, make_source: Callable, kind: type[GRUModel] | type[LSTMModel]
) -> None:
    """It learns as float32 does, to bfloat16's 8 bits, and its scores are those of its weights."""
    tiles(True)

    def trained(name: str, threads: int) -> FitResult:
        torch.set_num_threads(threads)  # put back by a fixture
        return fit(make_source, name, seeded_network(lambda: kind(3, 33), 0))

    single, *found = [
        trained("float32", 1), *(trained("bfloat16", threads) for threads in (1, 1, 2))
    ]  # fmt: skip
    assert [result.precision for result in found] == ["bfloat16"] * 3
    for other in found[1:]:
        assert other.history.equals(found[0].history)
        pairs = zip(other.network.parameters(), found[0].network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not found[0].history.equals(single.history)
    for column in ("train_loss", "valid_score"):
        assert found[0].history[column].tolist() == pytest.approx(
            single.history[column].tolist(), rel=2**-8
        )
    # Validation is computed in float32.
    best, (x, y) = found[0], _columns(make_source(90, 2).windows)
    with torch.no_grad():
        scores = best.network(x)
    assert best.best_score == pytest.approx(-float((scores - y).square().mean()), rel=1e-6)


def _columns(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return windows[..., :-1], windows[:, -1, -1]


def test_the_trial_leaves_the_network_and_the_generator_as_they_are(tiles: Callable) -> None:
    """Buffers and random numbers: a network that normalises its batch and drops some of it."""
    tiles(True)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = LSTMModel(3, 32), nn.BatchNorm1d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.norm(nn.functional.dropout(self.inner(x))[:, None])
            return found[:, 0]

    network = seeded_network(Mixed, 0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.default_generator.get_state()
    choice = resolve_precision(CPU, "bfloat16", network, EXAMPLE)
    assert choice.precision == ("bfloat16" if bfloat16_address() else "float32")
    assert torch.equal(torch.default_generator.get_state(), state)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_accelerator_without_bfloat16_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "P100")
    network = LSTMModel(3)
    assert resolve_precision(CUDA, "tf32", network, EXAMPLE).precision == "tf32"
    with pytest.raises(ValueError, match=r"P100 does not have it; set precision: tf32 or float32"):
        resolve_precision(CUDA, "bfloat16", network, EXAMPLE)


@pytest.mark.parametrize(("name", "tf32"), [("float32", False), ("tf32", True)])
def test_products_are_as_named_and_settings_put_back(name: str, tf32: bool) -> None:
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [setting.allow_tf32 for setting in settings]
    with pytest.raises(KeyError), product_precision(CUDA, name):
        assert [setting.allow_tf32 for setting in settings] == [tf32, tf32]
        raise KeyError
    assert [setting.allow_tf32 for setting in settings] == before


@needs_product
def test_mixed_precision_keeps_gradients_in_float32(make_source: Callable) -> None:
    """Oracle: float32; bfloat16 keeps 8 bits, so they agree to about a hundredth, not exactly."""
    network, source, indices = LSTMModel(3, 32), make_source(64, 1), torch.arange(64)
    sums = {}
    with Workers(CPU) as workers:
        for name in ("float32", "bfloat16"):
            sums[name] = batch_gradient(
                network, source, indices, sharded=False, workers=workers, precision=name
            )
    exact, rough = sums["float32"], sums["bfloat16"]
    assert all(gradient.dtype == torch.float32 for gradient in rough.gradients)
    torch.testing.assert_close(rough.squares, exact.squares, rtol=0.02, atol=0)
    assert not torch.equal(rough.squares, exact.squares)


def test_no_mix_unless_asked_for() -> None:
    with mixed(CPU, "tf32") as use:
        assert use is None
    with mixed(CPU, "bfloat16") as use:
        assert use is not None
