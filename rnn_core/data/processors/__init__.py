"""Processors under qlib's names: from raw features and labels to the input of a network.

Here is one module a kind (qlib's `qlib.data.dataset.processor`): `column_processors` choose,
drop, fill and squash; `fitted` takes statistics of a fit window; `cross_sectional` works within a
session; `survivors` keeps instruments that last, a look into the future; `chain` is an ordered,
storable list. The views that processors make belong to `rnn_core.data.handler`.
Names load on first use.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
