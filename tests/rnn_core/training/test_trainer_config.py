"""Settings are checked when they are made."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rnn_core.training import TrainerConfig


def test_family_defaults_and_changes() -> None:
    config = TrainerConfig.for_family("gru", seed=4, n_epochs=3)
    assert (config.lr, config.batch_size, config.early_stop) == (2e-4, 800, 10)
    assert (config.seed, config.n_epochs, config.clip_value) == (4, 3, 3.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_epochs": 0}, "n_epochs is 0, expected a whole number from 1 to 10,000,000"),
        ({"batch_size": -3}, "batch_size is -3, expected a whole number from 1 to 10,000,000"),
        ({"early_stop": 0}, "early_stop is 0, expected a whole number from 1 to 10,000,000"),
        ({"lr": 0.0}, "lr is 0.0, expected a finite number above 0"),
        ({"lr": float("nan")}, "lr is nan, expected a finite"),
        ({"lr": "1e-3"}, "lr is '1e-3' of type str, expected float; YAML reads 1e-3 as text"),
        ({"clip_value": float("inf")}, "clip_value is inf"),
        ({"loss": "mae"}, "loss is 'mae', expected one of 'mse'"),
        ({"metric": "los"}, "metric is 'los', expected one of 'loss', 'ic'; did you mean 'loss'"),
        ({"optimizer": "Adam"}, "optimizer is 'Adam', expected one of 'adam', 'gd'; did you mean"),
        ({"seed": -1}, "seed is -1, expected a whole number"),
        ({"seed": None}, "seed is None of type NoneType, expected int"),
        ({"device": "gpu"}, "device is 'gpu', expected \"auto\""),
        ({"deterministic": 1}, "deterministic is 1 of type int, expected bool"),
        ({"n_epoch": 3}, "no training setting 'n_epoch'.*did you mean 'n_epochs'"),
    ],
)
def test_errors(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerConfig.from_mapping(given)


def test_settings_are_made_without_torch() -> None:
    """A pipeline's definitions check them; torch takes seconds to import."""
    code = "import sys, rnn_core.training as t; t.TrainerConfig.for_family('krnn', lr=0.01); "
    code += "assert 'torch' not in sys.modules; t.Trainer; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
