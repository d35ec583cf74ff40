"""Models: networks from windows [B, L, F] to scores [B], estimators that are none, their tables.

Here are the layers, the fused kernels and `MODEL_FAMILIES`; `LinearModel`, `LightGBMModel`, the
contract that they keep (`EstimatorModel`) and `ESTIMATOR_FAMILIES`. Training is in
`rnn_core.training`. qlib's estimators are in `rnn_core.estimators`; their names are offered here as
well, since qlib keeps estimator and network in one module (`qlib.contrib.model`). Names load on
first use.

The examples of its names go on from here:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import torch
    >>> from rnn_core.models import *
    >>> windows = torch.zeros(8, 20, 6)  # [B, L, F]
    >>> days = pd.bdate_range("2024-01-01", periods=50)
    >>> index = pd.MultiIndex.from_product([days, list("ABCD")], names=["datetime", "instrument"])
    >>> x = np.random.default_rng(0).normal(size=(200, 1, 6)).astype("float32")  # [S, L, F]
    >>> label = x[:, 0, 0]
    >>> columns = ["F0", "F1", "F2", "F3", "F4", "F5"]
    >>> samples = Samples(lambda i, j: x[i:j], index, columns, steps=1, label=label)
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
