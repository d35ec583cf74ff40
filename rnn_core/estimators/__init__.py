"""Estimators: `LSTM`, `GRU` and `KRNN` with qlib's `fit(dataset)` and `predict(dataset)`, and the
same of models that are no networks: `Linear` and `LightGBM`.

Here are qlib's arguments, the step from a dataset to windows, and saved estimators (qlib's
`Model`). The training loop is in `rnn_core.training`, the networks are in `rnn_core.models`.
Names load on first use.

The examples of its names go on from here:

    >>> import pandas as pd
    >>> from rnn_core.data import Alpha158, DatasetH, TSDatasetH, simulate_market
    >>> from rnn_core.estimators import *
    >>> sessions = pd.bdate_range("2024-01-01", periods=90)
    >>> bars = simulate_market(10, sessions, seed=0, split_rate=0, late_listing_share=0)
    >>> bars["vwap"] = bars["amount"] / bars["volume"]
    >>> steps = [{"class": "FilterCol", "kwargs": {"col_list": ["ROC5", "KMID", "STD5"]}}]
    >>> steps += [{"class": "Fillna", "kwargs": {"fields_group": "feature"}}]
    >>> handler = Alpha158(bars=bars, start_time=sessions[60], infer_processors=steps)
    >>> # A label ends two sessions on: two are left out before each next segment.
    >>> segments = dict(train=sessions[[60, 72]], valid=sessions[[75, 80]], test=sessions[[83, 87]])
    >>> segments = {name: tuple(ends) for name, ends in segments.items()}
    >>> dataset, rows = TSDatasetH(handler, segments, step_len=5), DatasetH(handler, segments)
    >>> small = dict(n_epochs=1, batch_size=64, GPU=-1)
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
