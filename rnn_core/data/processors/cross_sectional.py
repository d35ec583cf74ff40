"""Processors across the instruments of one session: z-score, rank, filling, infinities.

Each session is its own group, so the same rows in the same order get the same bits, whether the
session comes alone or inside a range: sums run over the rows in order, in float64, and are rounded
to the column's type once (qlib's CSRankNorm turns a float32 label into float64, which doubles the
memory of all that follows).

A session of one instrument has no cross-section: its z-score is NaN (0 / 0 in the robust one, the
deviation of a single value with ddof 1 in the other) and its rank score is (1 - 0.5)·3.46, as in
qlib. A market of one instrument therefore loses every label to CSZScoreNorm, and its training has
nothing to learn from (qlib issue 1860): do not process the label of such a market.
Equal values all over a session have z-score NaN; in qlib NaN or, if the mean was rounded, its
round-off divided by itself.

Rule matched: qlib data/dataset/processor.py `ProcessInf`, `CSZScoreNorm`, `CSRankNorm`,
`CSZFillna`, and utils/data.py `zscore`, `robust_zscore`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.processors.fitted import CLIP, MAD_TO_STD
from rnn_core.data.processors.processor import CellProcessor
from rnn_core.panel.frames import Group, Semantics, index_level

Array = NDArray[np.float64]

RANK_SCALE = 3.46
"""About √12, one over the deviation of a uniform variable, rounded as in qlib."""


class _CrossSection(CellProcessor):
    """Base of processors that treat one column of all sessions at a time, in float64."""

    @abstractmethod
    def _column(self, x: Array, session: NDArray[np.intp]) -> Array:
        """Return the processed column.

        Args:
            x: [R].
            session: [R] the number of the row's session.
        """

    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Process the cells in place, column by column."""
        _, session = index_level(df, "datetime")
        for column in values:
            column[:] = self._column(column.astype(np.float64), session)


class ProcessInf(_CrossSection):
    """Replace ±inf by the mean of the session's other values, or by NaN if there are none.

    Args:
        fields_group: the group or groups to process (qlib has no such argument and takes all).
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> ProcessInf("feature")(frame)["feature", "X"].tolist()
        [1.0, nan, 3.0, 2.0, 4.0, 6.0]
    """

    def _column(self, x: Array, session: NDArray[np.intp]) -> Array:
        infinite = np.isinf(x)
        if not infinite.any():
            return x
        return np.where(infinite, _mean(np.where(infinite, np.nan, x), session), x)


class CSZFillna(_CrossSection):
    """Replace NaN by the session's mean.

    Args:
        fields_group: the group or groups to fill.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> CSZFillna("feature")(frame)["feature", "X"].tolist()[:3]
        [1.0, 2.0, 3.0]
    """

    def _column(self, x: Array, session: NDArray[np.intp]) -> Array:
        missing = np.isnan(x)
        if not missing.any():
            return x
        return np.where(missing, _mean(x, session), x)


class CSZScoreNorm(_CrossSection):
    """Score within the session.

    "zscore": (x - mean) / deviation with ddof 1. "robust": (x - median) / MAD / 1.4826 clipped
    to ±3.

    Args:
        fields_group: the group or groups to score.
        method: "zscore" or "robust".
        semantics: "strict" or "qlib", see `CellProcessor`.

    Raises:
        ValueError: another method.

    Examples:
        >>> CSZScoreNorm("feature")(frame)["feature", "X"].round(2).tolist()[:3]
        [-0.71, nan, 0.71]
    """

    def __init__(
        self,
        fields_group: Group | None = None,
        method: Literal["zscore", "robust"] = "zscore",
        semantics: Semantics = "strict",
    ) -> None:
        super().__init__(fields_group, semantics)
        if method not in ("zscore", "robust"):
            raise ValueError(
                f"CSZScoreNorm was given method={method!r}, expected 'zscore' or 'robust'"
            )
        self.method = method

    def _column(self, x: Array, session: NDArray[np.intp]) -> Array:
        with np.errstate(all="ignore"):
            if self.method == "robust":
                x = x - _median(x, session)
                return np.clip(x / _median(np.abs(x), session) / MAD_TO_STD, -CLIP, CLIP)
            x = x - _mean(x, session)
            valid = ~np.isnan(x)
            count = np.bincount(session, valid)
            square = np.bincount(session, np.where(valid, x * x, 0.0))
            spread = np.where(_differ(x, session), np.sqrt(square / (count - 1)), np.nan)
            return np.asarray(x / spread[session])


class CSRankNorm(_CrossSection):
    """(rank - 0.5)·3.46, the rank being the average rank of ties over the number of values.

    NaN stays NaN and counts for nothing. The mean of a session is 0.5/n·3.46, not 0.

    Args:
        fields_group: the group or groups to rank.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> CSRankNorm("feature")(frame)["feature", "X"].round(2).tolist()
        [0.0, nan, 1.73, -0.58, 1.73, 0.58]
    """

    def _column(self, x: Array, session: NDArray[np.intp]) -> Array:
        rank = pd.Series(x).groupby(session, sort=False).rank(pct=True).to_numpy()
        return np.asarray((rank - 0.5) * RANK_SCALE)


def _mean(x: Array, session: NDArray[np.intp]) -> Array:
    """Return the mean of each row's session, NaN skipped, [R]; sums run in row order."""
    valid = ~np.isnan(x)
    with np.errstate(all="ignore"):
        mean = np.bincount(session, np.where(valid, x, 0.0)) / np.bincount(session, valid)
    return np.asarray(mean[session])


def _differ(x: Array, session: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell for each session, [sessions], if its values differ at all, NaN skipped."""
    low = np.full(session.max() + 1 if len(session) else 0, np.nan)
    high = low.copy()
    np.fmin.at(low, session, x)
    np.fmax.at(high, session, x)
    return np.asarray(low < high)


def _median(x: Array, session: NDArray[np.intp]) -> Array:
    """Return the median of each row's session, NaN skipped, [R]."""
    return pd.Series(x).groupby(session, sort=False).transform("median").to_numpy()
