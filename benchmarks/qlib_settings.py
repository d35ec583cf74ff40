"""The handlers and hyper-parameters of qlib's benchmark files, for the contest of `training.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Setup:
    """How a model is trained.

    Args:
        estimator: name in `rnn_core.models`.
        handler: name in `rnn_core.data`; Alpha158 gives windows of 20 features, Alpha360 rows.
        arguments: of the estimator, where qlib's benchmark file says something.
    """

    estimator: str
    handler: str
    arguments: Mapping[str, Any]


RECURRENT = {"d_feat": 20, "batch_size": 800, "early_stop": 10, "n_epochs": 200}
PARALLEL = {
    "fea_dim": 6,
    "cnn_dim": 8,
    "cnn_kernel_size": 3,
    "rnn_dim": 8,
    "rnn_dups": 2,
    "lr": 1e-3,
    "batch_size": 2000,
    "early_stop": 20,
    "n_epochs": 40,
}
"""qlib's file says 200 epochs, of which a run takes as many as it needs; 40 keep it to minutes."""

SETUPS: Mapping[str, Setup] = MappingProxyType(
    {
        "lstm": Setup("LSTM", "Alpha158", {**RECURRENT, "lr": 1e-3}),
        "gru": Setup("GRU", "Alpha158", {**RECURRENT, "lr": 2e-4}),
        "krnn": Setup("KRNN", "Alpha360", {**PARALLEL, "legacy_layout": False}),
    }
)
