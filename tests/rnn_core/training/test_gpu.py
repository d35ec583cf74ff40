"""The same training and scores on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rnn_core.training import Trainer, TrainerConfig, predict

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_training_agrees_with_the_cpu(make_source: Callable, make_network: Callable) -> None:
    """Oracle: the CPU, which adds in another order."""
    histories = []
    for device in ("cpu", "cuda"):
        config = TrainerConfig(n_epochs=4, lr=0.01, batch_size=64, device=device)
        result = Trainer(config).fit(make_network(), make_source(400, 1), make_source(90, 2))
        histories.append(result.history)
    np.testing.assert_allclose(
        histories[0][["train_loss", "valid_score"]],
        histories[1][["train_loss", "valid_score"]],
        rtol=1e-3,
    )


def test_a_score_does_not_depend_on_its_company(
    make_source: Callable, make_network: Callable, array_source: Callable
) -> None:
    network, windows = make_network(), make_source(5000).windows[..., :-1]
    everything = predict(network, array_source(windows), device="cuda")
    alone = predict(network, array_source(windows[4090:4200]), device="cuda")
    np.testing.assert_array_equal(alone, everything[4090:4200])


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_other_precisions_train_alike(
    make_source: Callable, make_network: Callable, precision: str
) -> None:
    """Oracle: float32 on the same device; bfloat16 keeps 8 bits."""
    histories = []
    for name in ("float32", precision):
        config = TrainerConfig(n_epochs=4, lr=0.01, batch_size=64, device="cuda", precision=name)
        result = Trainer(config).fit(make_network(), make_source(400, 1), make_source(90, 2))
        assert result.precision == name
        assert result.peak_memory > 0
        histories.append(result.history[["train_loss", "valid_score"]])
    np.testing.assert_allclose(histories[0], histories[1], rtol=5e-2)
