"""The trainer: qlib's numbers, early stopping, repeatability, resuming, and where NaN began."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from rnn_core.models import LSTMModel
from rnn_core.training import (
    EpochReport,
    FitResult,
    Trainer,
    TrainerConfig,
    TrainingDivergedError,
    seeded_network,
)
from rnn_core.training.seeding import epoch_order

SMALL = {"n_epochs": 4, "lr": 0.01, "batch_size": 32, "early_stop": 10, "device": "cpu"}


def _bits(result: FitResult) -> list[bytes]:
    return [value.numpy().tobytes() for value in result.network.state_dict().values()]


@pytest.fixture
def fit(make_source: Callable, make_network: Callable) -> Callable[..., FitResult]:
    """Train a small network on 200 rows, validate on 70; keywords change the settings."""

    def run(callback=None, hyper=(), data_fingerprint="", checkpoint_dir=None, **changes):
        config = TrainerConfig.from_mapping({**SMALL, **changes})
        return Trainer(config, callback=callback).fit(
            make_network(config.seed, **dict(hyper)),
            make_source(200, 1),
            make_source(70, 2),
            data_fingerprint=data_fingerprint,
            checkpoint_dir=checkpoint_dir,
        )

    return run


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
def test_qlib_training(optimizer: str, fixtures_dir: Path, array_source: Callable) -> None:
    """Oracle: pyqlib's LSTM trainer, three epochs of one full batch from the same weights.

    The labels are large enough for clipped gradients, and some are NaN; recorded by
    tests/fixtures/make_models.py.
    """
    network = seeded_network(lambda: LSTMModel(4, 5, 2, 0.0), 3)
    scores = []
    config = TrainerConfig(n_epochs=3, lr=0.01, batch_size=40, optimizer=optimizer, device="cpu")
    weights: list[dict[str, np.ndarray]] = []

    def watch(report: EpochReport) -> None:
        scores.append(report.valid_score)
        weights.append({k: v.numpy().copy() for k, v in network.state_dict().items()})

    with np.load(fixtures_dir / "models.npz") as recorded:
        Trainer(config, callback=watch).fit(
            network,
            array_source(torch.from_numpy(recorded["train/windows"])),
            array_source(torch.from_numpy(recorded["train/valid"])),
        )
        np.testing.assert_allclose(scores, recorded[f"train/{optimizer}/scores"], rtol=1e-5)
        for name, value in weights[-1].items():
            expected = recorded[f"train/{optimizer}/state/{name}"]
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_shards_do_not_change_the_training(make_source: Callable) -> None:
    """Oracle: the plain loop, whole batches and torch's own mean."""
    train, valid = make_source(1300, 1), make_source(50, 2)
    config = TrainerConfig(n_epochs=2, lr=0.01, batch_size=600, device="cpu", seed=7)
    result = Trainer(config).fit(seeded_network(lambda: LSTMModel(3, 8), 7), train, valid)

    network = seeded_network(lambda: LSTMModel(3, 8), 7)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for epoch in range(2):
        losses.append([])
        for indices in epoch_order(1300, 7, epoch).split(600)[:2]:
            windows = train.windows[indices]
            loss = torch.mean((network(windows[..., :-1]) - windows[:, -1, -1]) ** 2)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(network.parameters(), 3.0)
            optimizer.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(result.history["train_loss"], np.mean(losses, axis=1), rtol=1e-5)
    for value, expected in zip(
        result.network.state_dict().values(), network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_it_learns(fit: Callable) -> None:
    """The label is a mean of three inputs plus noise of variance 0.09, of variance 0.42."""
    result = fit(n_epochs=30)
    assert result.best_score > -0.2
    assert result.samples_per_second > 0
    assert result.seconds > 0
    assert (result.device, result.device_reason) == ("cpu", "cpu, as configured")
    assert not result.network.training


def test_history_and_reports(fit: Callable) -> None:
    reports: list[EpochReport] = []
    result = fit(callback=reports.append)
    assert list(result.history) == ["epoch", "train_loss", "valid_score", "best", "samples"]
    assert result.history["epoch"].tolist() == [0, 1, 2, 3]
    assert result.history["samples"].tolist() == [192] * 4  # six batches of 32, the tail left
    assert [(r.epoch, r.n_epochs) for r in reports] == [(k, 4) for k in range(4)]
    assert [r.valid_score for r in reports] == result.history["valid_score"].tolist()
    assert [r.train_loss for r in reports] == result.history["train_loss"].tolist()
    assert reports[-1].best_epoch == result.best_epoch
    assert all(r.samples_per_second > 0 for r in reports)


def test_a_small_training_set_is_one_batch(fit: Callable) -> None:
    assert fit(batch_size=1000).history["samples"].tolist() == [200] * 4


class _Scripted(nn.Module):
    """Scores that get better and worse as its one weight is trained to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.level.expand(len(x))


def test_early_stopping_keeps_the_best(array_source: Callable) -> None:
    """Labels of 1 to train on and 0.3 to validate on: the level rises by 0.1 and passes 0.3."""
    train, valid = torch.zeros(8, 2, 2), torch.zeros(8, 2, 2)
    train[..., -1], valid[..., -1] = 1.0, 0.3
    levels = []
    network = _Scripted()
    config = TrainerConfig(n_epochs=50, lr=0.1, batch_size=8, early_stop=3, device="cpu")
    result = Trainer(config, callback=lambda _: levels.append(network.level.item())).fit(
        network, array_source(train), array_source(valid)
    )
    assert result.best_epoch == int(np.argmin(np.abs(np.array(levels) - 0.3))) == 2
    assert len(result.history) == 6
    assert result.stopped_early
    assert network.level.item() == levels[2]
    assert result.history["best"].tolist() == [True] * 3 + [False] * 3
    assert result.best_score == result.history["valid_score"].max()


def test_an_equal_score_is_not_better(array_source: Callable) -> None:
    """Strictly greater: a network that cannot move stops after `early_stop` epochs."""
    windows = torch.zeros(8, 2, 2)
    config = TrainerConfig(n_epochs=50, batch_size=8, early_stop=2, device="cpu")
    result = Trainer(config).fit(_Scripted(), array_source(windows), array_source(windows))
    assert result.history["best"].tolist() == [True, False, False]
    assert result.best_epoch == 0


@pytest.mark.parametrize("hyper", [{}, {"dropout": 0.3}])
@pytest.mark.parametrize("metric", ["loss", "ic"])
def test_same_seed_same_bits(fit: Callable, hyper: dict, metric: str) -> None:
    """Also for the second training of a process, and without a trace in its generators."""
    before = torch.get_rng_state()
    first = fit(hyper=hyper, metric=metric)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    np.random.rand(5)  # noqa: NPY002
    second = fit(hyper=hyper, metric=metric)
    assert _bits(first) == _bits(second)
    assert first.history.equals(second.history)
    assert _bits(first) != _bits(fit(hyper=hyper, metric=metric, seed=1))


def test_bits_do_not_depend_on_the_number_of_threads(
    make_source: Callable, make_network: Callable
) -> None:
    config = TrainerConfig(n_epochs=2, batch_size=700, device="cpu")
    bits = []
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            bits.append(
                _bits(Trainer(config).fit(make_network(), make_source(1500, 1), make_source(600)))
            )
    finally:
        torch.set_num_threads(before)
    assert bits[0] == bits[1] == bits[2]


class _InterruptedError(Exception):
    pass


def _interrupt_at(epoch: int) -> Callable[[EpochReport], None]:
    def callback(report: EpochReport) -> None:
        if report.epoch == epoch:
            raise _InterruptedError

    return callback


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
@pytest.mark.parametrize("epoch", [0, 2, 5])
@pytest.mark.parametrize("hyper", [{}, {"dropout": 0.3}])
def test_resumed_is_bit_identical(
    fit: Callable, tmp_path: Path, optimizer: str, epoch: int, hyper: dict
) -> None:
    """Interrupted after an epoch (the last one included) and gone on from, against in one go."""
    settings = {"optimizer": optimizer, "hyper": hyper, "n_epochs": 6, "data_fingerprint": "d"}
    whole = fit(**settings)
    with pytest.raises(_InterruptedError):
        fit(callback=_interrupt_at(epoch), checkpoint_dir=tmp_path, **settings)
    seen: list[int] = []
    resumed = fit(
        callback=lambda r: (seen.append(r.epoch), torch.rand(3)),
        checkpoint_dir=tmp_path,
        **settings,
    )
    assert seen == list(range(epoch + 1, 6))
    assert _bits(resumed) == _bits(whole)
    assert resumed.history.equals(whole.history)
    assert (resumed.best_epoch, resumed.best_score) == (whole.best_epoch, whole.best_score)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.02}, "config.lr"),
        ({"data_fingerprint": "other"}, "data"),
        ({"seed": 1}, "config.seed, initial weights"),
        ({"hyper": {"hidden_size": 9}}, "initial weights"),
    ],
)
def test_another_training_starts_afresh(
    fit: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict, named: str
) -> None:
    with pytest.raises(_InterruptedError):
        fit(callback=_interrupt_at(1), checkpoint_dir=tmp_path)
    seen: list[int] = []
    with caplog.at_level(logging.WARNING):
        fit(callback=lambda r: seen.append(r.epoch), checkpoint_dir=tmp_path, **change)
    assert seen == [0, 1, 2, 3]
    assert f"is of another training ({named} differ); training starts afresh" in caplog.text


def _with_header(text: str) -> bytes:
    return safetensors.torch.save({"network/x": torch.zeros(1)}, {"training": text})


@pytest.mark.parametrize(
    "content",
    [
        b"no checkpoint",
        _with_header("[]"),
        _with_header('{"history": []}'),
        _with_header('{"identity": 3, "history": []}'),
        _with_header('{"identity": {}, "history": [{"loss": 1}]}'),
    ],
)
def test_a_damaged_checkpoint_starts_afresh(
    fit: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        result = fit(checkpoint_dir=tmp_path)
    assert "cannot be read" in caplog.text
    assert _bits(result) == _bits(fit())


def _diverge(source: object, network: nn.Module, **changes: object) -> TrainingDivergedError:
    config = TrainerConfig.from_mapping({**SMALL, **changes})
    with pytest.raises(TrainingDivergedError) as caught:
        Trainer(config).fit(network, source, source)
    return caught.value


def test_nan_in_the_input_is_named(make_source: Callable, make_network: Callable) -> None:
    source = make_source(2000, 1)
    order = epoch_order(2000, 0, 0)
    source.windows[order[32 * 57], 1, 0] = torch.nan  # beyond the first reading of 50 steps
    error = _diverge(source, make_network())
    assert (error.epoch, error.batch, error.cause) == (0, 57, "input")
    assert "training diverged in epoch 0, batch 57, first in the input: the windows hold" in str(
        error
    )


def test_overflow_of_the_loss_is_named(make_source: Callable, make_network: Callable) -> None:
    source = make_source(200, 1)
    source.windows[epoch_order(200, 0, 0)[40], -1, -1] = 1e30  # its square is infinite
    error = _diverge(source, make_network())
    assert (error.epoch, error.batch, error.cause) == (0, 1, "loss")


def test_overflow_of_the_weights_is_named(make_source: Callable, make_network: Callable) -> None:
    error = _diverge(make_source(200, 1), make_network(), optimizer="gd", lr=1e38, clip_value=100.0)
    assert (error.epoch, error.batch, error.cause) == (0, 1, "weights")
    assert "lower lr or clip_value" in str(error)


def test_overflow_in_the_last_step_is_found_by_the_validation(
    make_source: Callable, make_network: Callable
) -> None:
    error = _diverge(make_source(32, 1), make_network(), optimizer="gd", lr=1e38, clip_value=100.0)
    assert (error.epoch, error.batch, error.cause) == (0, None, "weights")


def test_empty_and_unlabelled_sources(make_source: Callable, make_network: Callable) -> None:
    trainer = Trainer(TrainerConfig(device="cpu"))
    with pytest.raises(ValueError, match="the training source has no samples"):
        trainer.fit(make_network(), make_source(0), make_source(5))
    with pytest.raises(ValueError, match="the validation source has no samples"):
        trainer.fit(make_network(), make_source(5), make_source(0))
    unlabelled = make_source(40)
    unlabelled.windows[..., -1] = torch.nan
    with pytest.raises(ValueError, match="no training row has a finite label"):
        trainer.fit(make_network(), unlabelled, make_source(5))
    with pytest.raises(ValueError, match=r"expected windows \[B, L, 4\]"):
        trainer.fit(LSTMModel(4), make_source(5), make_source(5))
