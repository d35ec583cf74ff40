"""Panel: bars of many instruments as dense [T, N] arrays, and long frames in and out of them.

Here are the container and the helpers for its two axes. Features, labels and files of bars are
in the rooms above. It stands in for the frame that qlib's `D.features` returns. Names
load on first use.

The examples of its names go on from here:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from rnn_core.panel import *
    >>> bars = pd.DataFrame({"date": pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-03"])})
    >>> bars = bars.assign(instrument=["A", "B", "A"], close=[1.0, 2.0, 1.5])
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
