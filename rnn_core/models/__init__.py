"""Estimators, their networks, and the table that names them.

Estimators and networks load on first use: the table is read far more often than a network is
built, and torch takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnn_core.models.families import (
    MODEL_FAMILIES,
    KRNNHyper,
    ModelFamily,
    RecurrentHyper,
    TrainingDefaults,
    build_network,
    model_family,
)

if TYPE_CHECKING:
    from rnn_core.estimators.estimator import GRU, KRNN, LSTM
    from rnn_core.models.ensemble import MeanEnsemble
    from rnn_core.models.gru import GRUModel
    from rnn_core.models.krnn import CNNEncoderBase, CNNKRNNEncoder, KRNNEncoderBase, KRNNModel
    from rnn_core.models.lstm import LSTMModel

__all__ = [
    "GRU",
    "KRNN",
    "LSTM",
    "MODEL_FAMILIES",
    "CNNEncoderBase",
    "CNNKRNNEncoder",
    "GRUModel",
    "KRNNEncoderBase",
    "KRNNHyper",
    "KRNNModel",
    "LSTMModel",
    "MeanEnsemble",
    "ModelFamily",
    "RecurrentHyper",
    "TrainingDefaults",
    "build_network",
    "model_family",
]

_LAZY = {
    "GRU": "rnn_core.estimators.estimator",
    "KRNN": "rnn_core.estimators.estimator",
    "LSTM": "rnn_core.estimators.estimator",
    "CNNEncoderBase": "rnn_core.models.krnn",
    "CNNKRNNEncoder": "rnn_core.models.krnn",
    "GRUModel": "rnn_core.models.gru",
    "KRNNEncoderBase": "rnn_core.models.krnn",
    "KRNNModel": "rnn_core.models.krnn",
    "LSTMModel": "rnn_core.models.lstm",
    "MeanEnsemble": "rnn_core.models.ensemble",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
