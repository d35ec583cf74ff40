"""Baselines that a model has to beat: two scores that cost nothing.

They are short-term reversal and momentum, from the bars alone. A network that is no better than
these, and than a ridge regression on its own features (`rnn_core.models.LinearModel`), is not worth
its upkeep.

Shapes: `T` sessions, `N` instruments.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import from_table
from rnn_core.evaluation.decay import close_table


def reversal(bars: pd.DataFrame, *, sessions: int = 5) -> pd.Series:
    """Score names by minus their past return: score_t = -(close_t / close_{t-k} - 1).

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        sessions: k, of the bars' calendar.

    Returns:
        Scores indexed by (datetime, instrument), sorted, named `reversal`; rows without both
        closes are left out (Jegadeesh 1990, Lehmann 1990).

    Raises:
        ValueError: fewer than 1 session, or bars without a close.

    Examples:
        >>> reversal(bars).name
        'reversal'
    """
    if sessions < 1:
        raise ValueError(f"sessions={sessions}: expected a look-back of 1 session or more")
    return -_past_return(bars, "reversal", begin=sessions, end=0)


def momentum(bars: pd.DataFrame, *, sessions: int = 60, skip: int = 5) -> pd.Series:
    """Score names by their past return: score_t = close_{t-s} / close_{t-k} - 1.

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        sessions: k, of the bars' calendar.
        skip: s, the newest sessions, which reverse; 0 or more and below k.

    Returns:
        Scores indexed by (datetime, instrument), sorted, named `momentum`; rows without both
        closes are left out (Jegadeesh & Titman 1993).

    Raises:
        ValueError: `skip` outside [0, sessions), or bars without a close.

    Examples:
        >>> list(momentum(bars, sessions=20, skip=5).index.names)
        ['datetime', 'instrument']
    """
    if not 0 <= skip < sessions:
        raise ValueError(
            f"sessions={sessions}, skip={skip}: expected 0 <= skip < sessions, such as 60 and 5"
        )
    return _past_return(bars, "momentum", begin=sessions, end=skip)


def _past_return(bars: pd.DataFrame, name: str, *, begin: int, end: int) -> pd.Series:
    """Compute close_{t-end} / close_{t-begin} - 1 of the names that have a bar at t."""
    sessions, instruments, close = close_table(bars)
    returns = np.full_like(close, np.nan)
    if len(close) > begin:
        closes = close[begin - end : len(close) - end]
        returns[begin:] = closes / close[: len(close) - begin] - 1
        returns[np.isnan(close)] = np.nan  # no score for a name that does not trade
    return from_table(returns, sessions, instruments, name)
