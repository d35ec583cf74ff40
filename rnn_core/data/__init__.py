"""Datasets: bars in, processed rows and windows out, under qlib's names.

Here are sources of bars, handlers, processors, datasets, samplers and the universe (qlib's
`qlib.data.dataset`). The container of bars is in `rnn_core.panel`, feature formulas are in
`rnn_core.features`, and nothing here knows a model. Names load on first use.

The examples of its names go on from here:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from rnn_core.data import *
    >>> sessions = pd.bdate_range("2024-01-01", periods=70)
    >>> bars = simulate_market(4, sessions, seed=0, split_rate=0, late_listing_share=0)
    >>> bars["vwap"] = bars["amount"] / bars["volume"]
    >>> days = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> index = pd.MultiIndex.from_product([days, list("ABC")], names=["datetime", "instrument"])
    >>> x = pd.Series([1.0, np.nan, 3.0, 2.0, np.inf, 6.0], index)
    >>> frame = pd.DataFrame({("feature", "X"): x, ("label", "LABEL0"): x.where(x < 5)})
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
