"""Training: one torch loop for all networks, its settings, and the bundles that are stored.

Here are the trainer, checkpoints, seeds, devices, scores and bundles (the loop that qlib repeats
in each model file). Networks are in `rnn_core.models`, qlib's `fit` and `predict` in
`rnn_core.estimators`. Names load on first use.

The examples of its names go on from here:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import torch
    >>> from rnn_core.data import TSDataSampler
    >>> from rnn_core.models import LinearModel, LSTMModel, family_of
    >>> from rnn_core.training import *
    >>> days = pd.bdate_range("2024-01-01", periods=30)
    >>> index = pd.MultiIndex.from_product([days, list("ABCD")], names=["datetime", "instrument"])
    >>> draws = np.random.default_rng(0).normal(size=(120, 3)).astype("float32")
    >>> table = pd.DataFrame(draws, index)
    >>> table[2] = table[0] + 0.1 * table[2]  # two features and their label
    >>> train = TSDataSampler(table, days[1], days[19], step_len=2)
    >>> valid = TSDataSampler(table, days[20], None, step_len=2)
    >>> features = TSDataSampler(table[[0, 1]], days[20], None, step_len=2)
    >>> make = lambda: LSTMModel(d_feat=2, hidden_size=4, num_layers=1)
    >>> config = TrainerConfig(n_epochs=2, lr=0.01, batch_size=16, device="cpu")
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
