"""Networks, and the table that names them."""

from __future__ import annotations

from rnn_core.models.families import (
    MODEL_FAMILIES,
    KRNNHyper,
    ModelFamily,
    RecurrentHyper,
    TrainingDefaults,
    build_network,
    model_family,
)
from rnn_core.models.gru import GRUModel
from rnn_core.models.krnn import CNNEncoderBase, CNNKRNNEncoder, KRNNEncoderBase, KRNNModel
from rnn_core.models.lstm import LSTMModel

__all__ = [
    "MODEL_FAMILIES",
    "CNNEncoderBase",
    "CNNKRNNEncoder",
    "GRUModel",
    "KRNNEncoderBase",
    "KRNNHyper",
    "KRNNModel",
    "LSTMModel",
    "ModelFamily",
    "RecurrentHyper",
    "TrainingDefaults",
    "build_network",
    "model_family",
]
