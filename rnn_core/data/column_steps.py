"""Windows whose sessions stand side by side in the columns of a row, as those of Alpha360.

Shapes: `B` rows, `F` features of a session, `T` sessions. The columns are feature by feature,
oldest session first: CLOSE59 … CLOSE0, OPEN59 … OPEN0, …
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pandas as pd

from rnn_core.data.sampler import TSDataSampler
from rnn_core.panel.session_labels import DateLike

if TYPE_CHECKING:
    import torch


def steps_of(rows: torch.Tensor, n_features: int) -> torch.Tensor:
    """Cut rows into windows, [B, F * T] -> [B, T, F]; a view of the rows."""
    return rows.view(len(rows), n_features, -1).transpose(1, 2)


class ColumnSteps:
    """The windows of a sampler of single sessions whose columns hold the steps.

    Args:
        sampler: of windows of one session, F * T columns and, in training, the label last.
        n_steps: T.
        has_label: True if the last column is the label.

    Raises:
        ValueError: the number of columns is no multiple of T, or the windows are longer.

    Examples:
        >>> rows = pd.DataFrame(np.zeros((6, 4)), index)  # F = 2 features of T = 2 sessions
        >>> sampler = TSDataSampler(rows, None, None, step_len=1)
        >>> windows = ColumnSteps(sampler, 2, has_label=False)
        >>> len(windows), len(windows.get_index())
        (6, 6)
    """

    def __init__(self, sampler: TSDataSampler, n_steps: int, *, has_label: bool) -> None:
        width = len(sampler.columns) - has_label
        if sampler.step_len != 1 or width == 0 or width % n_steps:
            raise ValueError(
                f"{width} columns over windows of {sampler.step_len} sessions cannot be cut into "
                f"{n_steps} steps; expected a multiple of {n_steps} columns, of a single session"
            )
        self._sampler, self._n_features, self._has_label = sampler, width // n_steps, has_label

    def __len__(self) -> int:
        return len(self._sampler)

    def get_index(self) -> pd.MultiIndex:
        """Return (datetime, instrument) of every sample, in sample order."""
        return self._sampler.get_index()

    def between(self, start: DateLike | None, end: DateLike | None) -> ColumnSteps:
        """Return the windows of another range of sessions over the same rows."""
        child = copy.copy(self)
        child._sampler = self._sampler.between(start, end)
        return child

    def batch(self, indices: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Gather windows [B, T, F], or [B, T, F + 1] with the row's label on every session."""
        import torch

        rows = self._sampler.batch(indices, device)[:, 0]  # [B, F * T (+ 1)]
        if not self._has_label:
            return steps_of(rows, self._n_features)
        x = steps_of(rows[:, :-1].contiguous(), self._n_features)  # [B, T, F]
        label = rows[:, -1, None, None].expand(-1, x.shape[1], 1)  # [B, T, 1]
        return torch.cat([x, label], dim=2)  # [B, T, F + 1]
