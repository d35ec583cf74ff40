"""Training: one torch loop for all networks, its settings, and the bundles that are stored.

Here are the trainer, checkpoints, seeds, devices, scores and bundles (the loop that qlib repeats
in each model file). Networks are in `rnn_core.models`, qlib's `fit` and `predict` in
`rnn_core.estimators`. Names load on first use.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
