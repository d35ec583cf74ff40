"""Features: a panel in, [N, T] out; `rnn_core.features.FeatureFunction` is their manual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnn_core.data import Panel


class Momentum:
    """The return over `look_back` sessions, less that of the median name of the session."""

    fields = ("close",)
    look_back = 20

    def __call__(self, panel: Panel) -> NDArray[np.float64]:
        """Compute the feature, [N, T]; NaN in the first `look_back` sessions."""
        close = panel.fields["close"].astype(np.float64)  # [N, T]
        out = np.full(close.shape, np.nan)
        out[:, self.look_back :] = close[:, self.look_back :] / close[:, : -self.look_back] - 1.0
        for t in range(self.look_back, close.shape[1]):
            known = np.isfinite(out[:, t])
            if known.any():
                out[:, t] -= np.median(out[known, t])
        return out
