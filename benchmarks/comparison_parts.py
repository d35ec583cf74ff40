"""Models of the comparison that no market ships, by the doors of docs/extending.md.

`Column` scores a name by one of its features, so that reversal and momentum have predictions,
evaluations and a portfolio as every model has. `LegacyKRNN` and `LegacyLSTM` read a window of
Alpha360 as qlib's KRNN cuts it: the row lies feature by feature and is cut as if it lay session by
session, so that a step mixes neighbouring days of one field (docs/deviations.md, Q16).

The digest of this module is part of what it trains: any change makes these cells stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rnn_core.models import KRNNModel, LSTMModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rnn_core.models.samples import Samples


class Column:
    """The newest value of one feature is the score; nothing is learned.

    Args:
        column: the feature's name.
    """

    random = False

    def __init__(self, column: str = "") -> None:
        self.column, self._position = column, -1

    def fit(self, train: Samples, valid: Any, *, seed: int, threads: int) -> None:
        """Find the place of the feature.

        Raises:
            ValueError: the samples have no such feature.
        """
        del valid, seed, threads
        if self.column not in train.columns:
            raise ValueError(f"column is {self.column!r}, expected one of {train.columns}")
        self._position = train.columns.index(self.column)

    def predict(self, samples: Samples) -> NDArray[np.floating[Any]]:
        """Return the newest value of the feature, [S]."""
        return samples.rows()[:, self._position]

    def save(self, folder: Path) -> None:
        """Write the place of the feature."""
        (folder / "column.json").write_text(json.dumps(self._position), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._position = json.loads((folder / "column.json").read_text(encoding="utf-8"))


def legacy_steps(windows: Tensor) -> Tensor:
    """Cut true windows as qlib's KRNN cuts the row that they were made of.

    Args:
        windows: [B, L, F], oldest session first.

    Returns:
        [B, L, F]: the row of L values a feature, F values a step.
    """
    row = windows.transpose(1, 2).reshape(len(windows), -1)  # [B, F * L], feature by feature
    return row.view(windows.shape)


class LegacyKRNN(nn.Module):
    """KRNN of the sizes of the shipped family, on windows in qlib's cut.

    Args:
        d_feat: F.
    """

    def __init__(self, d_feat: int) -> None:
        super().__init__()
        self.network = KRNNModel(fea_dim=d_feat, cnn_dim=8, rnn_dim=8, rnn_dups=2)

    def forward(self, windows: Tensor) -> Tensor:
        """Compute the scores [B] of windows [B, L, F]."""
        scores: Tensor = self.network(legacy_steps(windows))
        return scores


class LegacyLSTM(nn.Module):
    """LSTM of the sizes of the shipped family, on windows in qlib's cut of the KRNN.

    Args:
        d_feat: F.
    """

    def __init__(self, d_feat: int) -> None:
        super().__init__()
        self.network = LSTMModel(d_feat=d_feat)

    def forward(self, windows: Tensor) -> Tensor:
        """Compute the scores [B] of windows [B, L, F]."""
        scores: Tensor = self.network(legacy_steps(windows))
        return scores
