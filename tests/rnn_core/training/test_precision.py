"""Precision by name: what is computed in what, and settings put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rnn_core.training import Trainer, TrainerConfig
from rnn_core.training.gradients import batch_gradient
from rnn_core.training.precision import effective_precision, mixed, product_precision
from rnn_core.training.workers import Workers

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def test_the_cpu_computes_in_float32_and_says_so(
    make_source: Callable, make_network: Callable
) -> None:
    """Oracle: the same training without the setting."""
    results = [
        Trainer(TrainerConfig(n_epochs=2, batch_size=64, device="cpu", precision=name)).fit(
            make_network(), make_source(200, 1), make_source(90, 2)
        )
        for name in ("float32", "bfloat16")
    ]
    assert [result.precision for result in results] == ["float32", "float32"]
    assert results[0].history.equals(results[1].history)


def test_an_accelerator_without_bfloat16_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "P100")
    assert effective_precision(CUDA, "tf32") == "tf32"
    with pytest.raises(ValueError, match=r"P100 does not have it; set precision: tf32 or float32"):
        effective_precision(CUDA, "bfloat16")


@pytest.mark.parametrize(("name", "tf32"), [("float32", False), ("tf32", True)])
def test_products_are_as_named_and_settings_put_back(name: str, tf32: bool) -> None:
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [setting.allow_tf32 for setting in settings]
    with pytest.raises(KeyError), product_precision(CUDA, name):
        assert [setting.allow_tf32 for setting in settings] == [tf32, tf32]
        raise KeyError
    assert [setting.allow_tf32 for setting in settings] == before


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN has no bfloat16 layers on this processor",
)
def test_mixed_precision_keeps_gradients_in_float32(
    make_source: Callable, make_network: Callable
) -> None:
    """Oracle: float32; bfloat16 keeps 8 bits, so they agree to about a hundredth, not exactly."""
    network, source, indices = make_network(), make_source(64, 1), torch.arange(64)
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
    with mixed(CPU, "tf32"):
        assert not torch.is_autocast_enabled("cpu")
    with mixed(CPU, "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
