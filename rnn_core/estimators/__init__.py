"""Estimators: `LSTM`, `GRU` and `KRNN` with qlib's `fit(dataset)` and `predict(dataset)`, and the
same of models that are no networks: `Linear` and `LightGBM`.

Here are qlib's arguments, the step from a dataset to windows, and saved estimators (qlib's
`Model`). The training loop is in `rnn_core.training`, the networks are in `rnn_core.models`.
Names load on first use.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
