"""Datasets: bars in, processed rows and windows out, under qlib's names.

Here are sources of bars, handlers, processors, datasets, samplers and the universe (qlib's
`qlib.data.dataset`). The container of bars is in `rnn_core.panel`, feature formulas are in
`rnn_core.features`, and nothing here knows a model. Names load on first use.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
