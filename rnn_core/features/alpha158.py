"""Alpha158 and Alpha360 of a whole market: qlib's feature sets for every bar.

The formulas are those of `layout`; `evaluate` computes them like any other expressions.

Layout: [F, N, T] float32, so a feature of one instrument is one contiguous run.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.features.qlib_sets import alpha158_set, alpha360_set
from rnn_core.features.sets import FeatureSet, compute_set, set_panel
from rnn_core.panel.frames import Semantics
from rnn_core.panel.panel import Panel


def alpha158_panel(
    panel: Panel,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the 158 features of every instrument and session.

    Args:
        panel: the market, with open, high, low, close, volume and vwap (adjusted).
        semantics: "strict" (each value a function of the 61 sessions ending at its own; see
            docs/deviations.md) or "qlib" (pyqlib 0.9.7's numbers).
        threads: number of threads; by default one per available core. The result does not depend
            on it.
        out: array to write into, [158, N, T] float32, C-contiguous.

    Returns:
        [158, N, T] float32 in the order of `ALPHA158_NAMES`; NaN where a feature is missing. In
        strict semantics absent rows are NaN; in qlib's, those outside an instrument's span.

    Raises:
        ValueError: on an unknown semantics, missing fields, a wrong `out` or `threads` < 1.

    Examples:
        >>> alpha158_panel(panel).shape  # F, N, T
        (158, 3, 70)
    """
    return set_panel(panel, _alpha158(), semantics=semantics, threads=threads, out=out)


def alpha158(
    bars: pd.DataFrame, *, semantics: Semantics = "strict", threads: int | None = None
) -> pd.DataFrame:
    """Compute the 158 features of a long frame of bars.

    Args:
        bars: date, instrument, open, high, low, close, volume, vwap (adjusted); a suspended
            instrument has no row. The sessions are the dates that occur; to count a session on
            which nothing traded, build a `Panel` with `sessions` and use `alpha158_panel`.
        semantics: see `alpha158_panel`.
        threads: see `alpha158_panel`.

    Returns:
        One row for each row of `bars`, sorted by (datetime, instrument): 158 float32 columns in
        the order of `ALPHA158_NAMES`.

    Raises:
        ValueError: as `Panel.from_frame` and `alpha158_panel`.

    Examples:
        >>> features = alpha158(bars)
        >>> features.shape == (len(bars), 158)
        True
        >>> round(float(features["ROC5"].iloc[-1]), 3)  # the close 5 sessions ago over this one
        0.987
    """
    panel = Panel.from_frame(bars)
    return compute_set(panel, _alpha158(), semantics=semantics, threads=threads)


def alpha360_panel(
    panel: Panel,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the 360 features of every instrument and session.

    Args:
        panel: see `alpha158_panel`.
        semantics: see `alpha158_panel`; a value is a function of 60 sessions.
        threads: see `alpha158_panel`.
        out: array to write into, [360, N, T] float32, C-contiguous.

    Returns:
        [360, N, T] float32: CLOSE59 to CLOSE0, then OPEN, HIGH, LOW, VWAP and VOLUME alike.

    Raises:
        ValueError: as `alpha158_panel`.

    Examples:
        >>> alpha360_panel(panel).shape  # F, N, T
        (360, 3, 70)
    """
    return set_panel(panel, alpha360_set(), semantics=semantics, threads=threads, out=out)


def alpha360(
    bars: pd.DataFrame, *, semantics: Semantics = "strict", threads: int | None = None
) -> pd.DataFrame:
    """Compute the 360 features of a long frame of bars.

    Args:
        bars: see `alpha158`.
        semantics: see `alpha360_panel`.
        threads: see `alpha360_panel`.

    Returns:
        One row for each row of `bars`, sorted by (datetime, instrument): 360 float32 columns.

    Raises:
        ValueError: as `Panel.from_frame` and `alpha360_panel`.

    Examples:
        >>> alpha360(bars).columns[[0, 59, 60, 359]].tolist()
        ['CLOSE59', 'CLOSE0', 'OPEN59', 'VOLUME0']
    """
    panel = Panel.from_frame(bars)
    return compute_set(panel, alpha360_set(), semantics=semantics, threads=threads)


@lru_cache(maxsize=1)
def _alpha158() -> FeatureSet:
    """Parse the set once."""
    return alpha158_set()
