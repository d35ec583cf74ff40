"""`Samples`: windows as numpy arrays, for estimators that are not networks.

A network is given a batch of windows at a time, an estimator all samples at once. Most estimators
look at one row a sample: the newest session of its window, or all sessions of it side by side. Rows
are gathered when they are asked for, so an estimator of the newest session never holds L times the
memory that it needs.

Shapes: `S` samples, `L` window length in sessions, `F` features of a session, `T` sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.cross_section import pack, spearman
from rnn_core.models.flatten import require_flatten

_CHUNK_BYTES = 1 << 25  # of the windows that are gathered at a time


class Samples:
    """S samples in numpy.

    Args:
        windows: gathers the windows [B, L, F] of the samples `first` to `stop`, float32.
        index: (datetime, instrument) of every sample.
        columns: the names of the F features.
        steps: L.
        newest: gathers the rows [B, F] of the newest sessions of the samples `first` to `stop`,
            where that is cheaper than their windows.
        label: [S] float32, NaN for a sample without one; None where there are no labels.
        weights: [S] float64, 0 or more; None for ones.

    Examples:
        >>> len(samples), samples.steps, samples.columns[:2]
        (200, 1, ('F0', 'F1'))
    """

    def __init__(
        self,
        windows: Callable[[int, int], NDArray[np.float32]],
        index: pd.MultiIndex,
        columns: Sequence[str],
        *,
        steps: int,
        newest: Callable[[int, int], NDArray[np.float32]] | None = None,
        label: NDArray[np.float32] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._windows, self._newest = windows, newest
        self.index, self.columns, self.steps = index, tuple(columns), steps
        self.label, self.weights = label, weights

    def __len__(self) -> int:
        return len(self.index)

    @property
    def windows(self) -> NDArray[np.float32]:
        """The windows of all samples, [S, L, F], the oldest session first."""
        return self.rows("window").reshape(len(self), self.steps, len(self.columns))

    def rows(self, flatten: str = "last") -> NDArray[np.float32]:
        """Return one row a sample.

        Args:
            flatten: "last" for the newest session of every window, "window" for all sessions side
                by side, the oldest first.

        Returns:
            [S, F] or [S, L * F], a new array. Values may be NaN or infinite where the estimator
            says that it takes missing values (`missing_values`), else they are finite.

        Raises:
            ValueError: another word.
        """
        rows = np.empty((len(self), self.width(flatten)), dtype=np.float32)
        size = max(_CHUNK_BYTES // max(4 * self.steps * len(self.columns), 1), 1)
        for first in range(0, len(self), size):
            stop = min(first + size, len(self))
            rows[first:stop] = self._rows(first, stop, flatten)
        return rows

    def width(self, flatten: str = "last") -> int:
        """Return the columns of a row: F, or L * F."""
        return len(self.columns) * (1 if require_flatten(flatten) == "last" else self.steps)

    def chunks(
        self, numbers: NDArray[np.intp], size: int, flatten: str = "last"
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the rows of some samples a chunk at a time, so that they are never held together.

        Args:
            numbers: of the samples, in ascending order.
            size: samples of a chunk.
            flatten: as of `rows`.

        Yields:
            The place of a chunk among `numbers`, and its rows.
        """
        for start in range(0, len(numbers), size):
            chosen = numbers[start : start + size]
            first, stop = int(chosen[0]), int(chosen[-1]) + 1
            rows = self._rows(first, stop, flatten)
            yield slice(start, start + len(chosen)), rows[chosen - first]

    def _rows(self, first: int, stop: int, flatten: str) -> NDArray[np.float32]:
        """The rows of the samples `first` to `stop`."""
        if flatten == "last" and self._newest is not None:
            return np.asarray(self._newest(first, stop), dtype=np.float32)
        steps = 1 if flatten == "last" else self.steps
        return self._windows(first, stop)[:, -steps:].reshape(stop - first, -1)

    def part(self, first: int, stop: int) -> Samples:
        """Return the samples `first` to `stop`, as slices count."""
        gather, newest = self._windows, self._newest
        return Samples(
            lambda a, b: gather(first + a, first + b),
            self.index[first:stop],
            self.columns,
            steps=self.steps,
            newest=None if newest is None else lambda a, b: newest(first + a, first + b),
            label=None if self.label is None else self.label[first:stop],
            weights=None if self.weights is None else self.weights[first:stop],
        )

    def rank_ic(self, scores: NDArray[np.floating]) -> float:
        """Average the rank IC over sessions, as the check of a trained model does.

        Args:
            scores: [S], in the order of the samples; samples without a label are left out.

        Returns:
            The mean over sessions of Spearman's correlation of score and label; NaN if no session
            has one (one name, or scores that are all equal).

        Raises:
            ValueError: the samples have no labels.
        """
        order, code, labels = self._by_session
        (table,) = pack(code, len(labels), np.asarray(scores, dtype=np.float64)[order])  # [T, W]
        daily = spearman(table, labels)  # [T]
        return float(daily[~np.isnan(daily)].mean()) if not np.isnan(daily).all() else float("nan")

    @cached_property
    def _by_session(
        self,
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """The labelled samples session by session, their rows in a table, and its labels."""
        if self.label is None:
            raise ValueError("these samples have no labels, so no score has a rank IC")
        codes, _ = pd.factorize(self.index.get_level_values("datetime"), sort=True)
        labelled = np.flatnonzero(np.isfinite(self.label))
        order = labelled[np.argsort(codes[labelled], kind="stable")]
        _, code = np.unique(codes[order], return_inverse=True)
        label = self.label[order].astype(np.float64)
        (table,) = pack(code, int(code.max(initial=-1)) + 1, label)
        return order, code, table
