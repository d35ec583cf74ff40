"""The protocol of a source of windows, for training and prediction.

`rnn_core.data.TSDataSampler` fulfils the protocol. It stands here so that neither package needs to
import the other, and so that ten lines of a test can fulfil it too.

Shapes: `S` samples, `B` batch, `L` window length in sessions, `F` columns of a window.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor


class WindowSource(Protocol):
    """S windows, gathered a batch at a time.

    Examples:
        >>> source: WindowSource = train
        >>> source.batch(torch.arange(5), torch.device("cpu")).shape  # [B, L, F + 1]
        torch.Size([5, 2, 3])
    """

    def __len__(self) -> int:
        """Return S."""

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Gather windows [B, L, F] on `device` for the samples in `indices` (int64).

        Several threads call this method at once, after a first call from a single thread.
        """


@runtime_checkable
class SessionSource(WindowSource, Protocol):
    """A source that knows the session and instrument of each sample.

    Examples:
        >>> isinstance(train, SessionSource)
        True
    """

    def get_index(self) -> pd.MultiIndex:
        """Return (datetime, instrument) of every sample, in the order of the samples."""


@runtime_checkable
class NewestSource(SessionSource, Protocol):
    """A source that has the newest session of every window at hand, without its windows."""

    def newest(self, first: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return the newest session of the windows `first` to `stop` (None for all), [B, F]."""


@runtime_checkable
class SharedRowSource(WindowSource, Protocol):
    """A source whose neighbouring windows share their rows, which it has at hand."""

    def shared_rows(self, indices: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return rows [R, F] and the numbers of the windows' steps among them, [B, L], or None."""
