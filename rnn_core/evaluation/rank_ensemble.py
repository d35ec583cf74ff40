"""The ensemble of several models: the average of the ranks that they give, and its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import by_session_and_name
from rnn_core.evaluation.cross_section import in_blocks, pack, ranks
from rnn_core.panel.frames import one_column

ENSEMBLE = "ensemble"


def rank_average(scores: Sequence[pd.Series], weights: Sequence[float] | None = None) -> pd.Series:
    """Average the cross-sectional ranks of several scores.

    Each score becomes (r - 1/2) / n with r its average-tie rank among the n scores of the session;
    rows that one of them lacks are left out.

    Args:
        scores: one or more, indexed by (datetime, instrument).
        weights: of the scores, 0 or more and not all 0; None for equal ones. A score of weight 0
            still decides which rows there are.

    Returns:
        Values in (0, 1) on the rows that all have, sorted.

    Raises:
        ValueError: none given, an index that is not (datetime, instrument), duplicates, or weights
            that are none.

    Examples:
        >>> average = rank_average([scores, past])
        >>> float(average.min()) > 0, float(average.max()) < 1
        (True, True)
    """
    if not scores:
        raise ValueError("scores is empty, expected one Series or more to average")
    ranked = [_session_rank(series) for series in scores]
    size = float(len(scores))
    if weights is not None:
        if len(weights) != len(scores) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"weights={list(weights)}: expected {len(scores)} numbers of 0 or more, one of "
                f"them above 0"
            )
        ranked = [rank * weight for rank, weight in zip(ranked, weights, strict=True)]
        size = float(sum(weights))
    total = ranked[0]
    for rank in ranked[1:]:
        total = total.add(rank).dropna()
    return (total / size).sort_index().rename(ENSEMBLE)


def trailing_weights(rank_ics: pd.DataFrame, min_sessions: int) -> pd.Series:
    """Weigh models by their mean rank IC, never below 0; their sum is 1.

    Only sessions count in which every model has a rank IC, so that all are measured by the same
    ones. With fewer than `min_sessions` of them, or without a positive mean, weights are equal.

    Args:
        rank_ics: a row a session, a column a model.
        min_sessions: the fewest sessions that decide.

    Returns:
        A weight a model.

    Examples:
        >>> trailing_weights(pd.DataFrame({"lstm": [0.03, 0.05], "gru": [-0.01, 0.0]}), 2).tolist()
        [1.0, 0.0]
    """
    common = rank_ics.dropna()
    means = common.mean().clip(lower=0.0)
    if len(common) < min_sessions or not means.sum() > 0:
        return pd.Series(1.0 / rank_ics.shape[1], index=rank_ics.columns)
    return means / means.sum()


def _session_rank(series: pd.Series) -> pd.Series:
    """Compute (r - 1/2) / n within each session, on the rows that have a score."""
    series = one_column(series, "scores")
    index = by_session_and_name(series.index, "scores")
    series = pd.Series(series.to_numpy(dtype=np.float64, na_value=np.nan), index=index).dropna()
    series = series.sort_index()
    code, _ = pd.factorize(series.index.get_level_values("datetime"), sort=True)
    code = code.astype(np.intp)
    size = int(code.max(initial=-1)) + 1
    (table,) = pack(code, size, series.to_numpy())
    rank = in_blocks(lambda x: {"rank": ranks(x)}, table)["rank"] if size else table
    count = np.bincount(code, minlength=size)
    return pd.Series((rank[~np.isnan(rank)] - 0.5) / count[code], index=series.index)
