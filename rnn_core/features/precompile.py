"""Compilation of the feature kernels, for `rnn_core/warm.py`.

`warm` compiles the kernels of Alpha158 in both semantics, for float32 and float64 bars, for arrays
and frames.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from rnn_core.features.alpha158 import alpha158_panel
from rnn_core.features.evaluate import compute_features, expression_panel
from rnn_core.features.layout import ALPHA158_FIELDS
from rnn_core.panel.panel import Panel


def warm() -> float:
    """Compile the kernels, or load them if they are compiled.

    Returns:
        Seconds taken.
    """
    began = time.perf_counter()
    for kind in (np.float32, np.float64):
        bars = np.linspace(1, 2, 140, dtype=kind).reshape(2, 70)
        panel = Panel(
            pd.date_range("2020-01-01", periods=70),
            pd.Index(["A", "B"]),
            dict.fromkeys(ALPHA158_FIELDS, bars),
            np.ones((2, 70), dtype=np.bool_),
        )
        alpha158_panel(panel)
        alpha158_panel(panel, semantics="qlib")
        expression_panel(panel, "$close")
        compute_features(panel, [("close", "$close")])
    return time.perf_counter() - began
