"""The table of families: qlib's benchmark settings, and errors that name the nearest key."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

from rnn_core.models import (
    MODEL_FAMILIES,
    GRUModel,
    KRNNModel,
    LSTMModel,
    ModelFamily,
    TrainingDefaults,
    build_network,
    model_family,
)


def test_benchmark_defaults() -> None:
    """Oracle: qlib examples/benchmarks LSTM and GRU (Alpha158), KRNN (Alpha360)."""
    training = {name: dataclasses.asdict(f.training) for name, f in MODEL_FAMILIES.items()}
    assert training == {
        "lstm": {"lr": 1e-3, "batch_size": 800, "early_stop": 10, "n_epochs": 200},
        "gru": {"lr": 2e-4, "batch_size": 800, "early_stop": 10, "n_epochs": 200},
        "krnn": {"lr": 1e-3, "batch_size": 2000, "early_stop": 20, "n_epochs": 200},
    }
    assert model_family("gru").resolve({}) == {"hidden_size": 64, "num_layers": 2, "dropout": 0.0}
    assert model_family("krnn").resolve({"rnn_dups": 3}) == {
        "cnn_dim": 8,
        "cnn_kernel_size": 3,
        "rnn_dim": 8,
        "rnn_dups": 3,
        "rnn_layers": 2,
        "dropout": 0.0,
    }


@pytest.mark.parametrize(("name", "kind"), [("lstm", LSTMModel), ("gru", GRUModel)])
def test_build_recurrent(name: str, kind: type[nn.Module]) -> None:
    network = build_network(name, 3, {"hidden_size": 7})
    assert type(network) is kind
    assert network.n_features == 3
    assert network.fc_out.in_features == 7


def test_build_krnn() -> None:
    network = build_network("krnn", 3)
    assert type(network) is KRNNModel
    assert network(torch.zeros(2, 5, 3)).shape == (2,)


def test_a_fourth_family_is_one_entry() -> None:
    """The table's type carries everything `build` needs."""

    @dataclasses.dataclass(frozen=True)
    class LinearHyper:
        out_features: int = 2

    family = ModelFamily(
        "linear", lambda: nn.Linear, "in_features", LinearHyper, TrainingDefaults()
    )
    assert family.build(5).weight.shape == (2, 5)


def test_the_table_is_read_without_torch() -> None:
    """A pipeline's definitions read it; torch takes seconds to import."""
    code = "import sys, rnn_core.models as m; m.model_family('lstm').resolve({}); "
    code += "assert 'torch' not in sys.modules; m.LSTMModel; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ltsm", 3), "no model family 'ltsm', expected one of lstm, gru, krnn; did you mean 'lst"),
        (("lstm", 3, {"hiden_size": 8}), "no hyper-parameter 'hiden_size'.*mean 'hidden_size'"),
        (("lstm", 3, {"dropout": "1e-1"}), "dropout is '1e-1' of type str, expected float; YAML"),
        (("gru", 3, {"num_layers": 2.0}), "num_layers is 2.0 of type float, expected int"),
        (("gru", 3, {"num_layers": True}), "num_layers is True of type bool, expected int"),
        (("krnn", 0), "d_feat is 0"),
    ],
)
def test_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(*arguments)


def test_whole_number_stands_for_a_float() -> None:
    assert build_network("lstm", 3, {"dropout": 0}).rnn.dropout == 0
