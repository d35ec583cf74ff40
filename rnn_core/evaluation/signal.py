"""How well scores order the returns that followed: IC, rank IC, quantile and long-short returns.

What: metrics of a cross-section, one number per session, and their summary over sessions. The
numbers agree with qlib's `calc_ic` and `calc_long_short_return` (qlib: contrib/eva/alpha.py) and
are computed for all sessions at once instead of by a Python call per day.
Why one kernel: `evaluate_session` (a pipeline partition) and `calc_ic` (a notebook over ten years)
run the same sums in the same order, so their numbers for a session are equal to the last bit.

The rule where this differs from qlib: a session on which all scores or all labels are equal has no
correlation, hence NaN. qlib leaves that to round-off, which turns some constant sessions into a
number. Labels are raw returns, never rank-normalised ones.

Shapes: `S` rows, `T` sessions, `Q` quantiles.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.align import FloatArray, IntArray, align_pairs

_IC_METRICS = ("ic", "rank_ic")


def calc_ic(
    pred: pd.Series, label: pd.Series, *, min_names: int = 2
) -> tuple[pd.Series, pd.Series]:
    """Information coefficient and rank information coefficient of every session.

    IC_t = Pearson correlation over names i of (pred_ti, label_ti); rank IC_t = the same of their
    average-tie ranks (Spearman). Rows are outer-aligned, then pairs with a NaN on either side are
    left out (qlib: contrib/eva/alpha.py calc_ic).

    Args:
        pred: scores, indexed by (datetime, instrument) in any order.
        label: simple returns, indexed alike.
        min_names: sessions with fewer complete pairs are NaN; at least 2.

    Returns:
        (ic, rank_ic): one value per session that occurs in either input, sorted; NaN where the
        correlation is undefined (too few pairs, or a side without variation).

    Raises:
        ValueError: `min_names` below 2, or an index that is not (datetime, instrument).
    """
    if min_names < 2:
        raise ValueError(f"min_names={min_names}: a correlation needs 2 names or more")
    pairs = align_pairs(pred, label, ("pred", "label"))
    ic, rank_ic, _ = _correlations(
        pairs.code, pairs.left, pairs.right, len(pairs.sessions), min_names
    )
    return (
        pd.Series(ic, index=pairs.sessions, name="ic"),
        pd.Series(rank_ic, index=pairs.sessions, name="rank_ic"),
    )


def calc_long_short_return(
    pred: pd.Series, label: pd.Series, quantile: float = 0.2
) -> tuple[pd.Series, pd.Series]:
    """Half the spread between the best and the worst names of a session, and the mean of all.

    With n rows on a session and k = int(n * quantile): long = mean label of the k highest scores,
    short = mean label of the k lowest, result (long - short) / 2. Equal scores are taken in
    instrument order, names without a score last, absent labels are skipped in the means
    (qlib: contrib/eva/alpha.py calc_long_short_return).

    Args:
        pred: scores, indexed by (datetime, instrument).
        label: simple returns, indexed alike.
        quantile: share of the names on each side, in (0, 0.5].

    Returns:
        (long_short, mean): one simple return per session; long_short is NaN where k is 0.

    Raises:
        ValueError: a quantile outside (0, 0.5], or an index that is not (datetime, instrument).
    """
    if not 0 < quantile <= 0.5:
        raise ValueError(f"quantile={quantile}: expected a share of the names in (0, 0.5]")
    pairs = align_pairs(pred, label, ("pred", "label"))
    code, days = pairs.code, len(pairs.sessions)
    count = np.bincount(code, minlength=days)  # (T,)
    take = (count * quantile).astype(np.intp)  # (T,)
    place = np.arange(len(code)) - (np.cumsum(count) - count)[code]  # (S,) place in its session
    sides = []
    for key in (-pairs.left, pairs.left):
        order = _order(code, key)  # (S,) NaN comes last
        chosen = order[place < take[code]]
        sides.append(_mean_by(code[chosen], pairs.right[chosen], days))
    mean = _mean_by(code, pairs.right, days)
    return (
        pd.Series((sides[0] - sides[1]) / 2, index=pairs.sessions, name="long_short"),
        pd.Series(mean, index=pairs.sessions, name="mean"),
    )


def evaluate_session(
    score: pd.Series, label: pd.Series, *, quantiles: int = 5
) -> dict[str, float | int]:
    """Everything the pipeline records about the predictions of one session.

    A name counts if it has both a score and a label. Its bucket is
    floor((r - 1/2) / n * Q) with r its average-tie rank (1 = lowest score) among n names, so equal
    scores share a bucket; a bucket nobody falls into is NaN (fewer names than quantiles, or ties).

    Args:
        score: the model's scores, indexed by instrument, any order.
        label: the simple returns that followed, indexed by instrument.
        quantiles: Q, the number of buckets, 2 or more.

    Returns:
        n: names with score and label; ic, rank_ic: as `calc_ic`, to the last bit; mean_label: mean
        return of those names; q1 ... qQ: mean return per bucket, q1 the lowest scores;
        long_short: qQ - q1; hit_rate: share of the names whose score and return lie on the same
        side of their medians, names on a median left out (0.5 is no skill). NaN is undefined.

    Raises:
        ValueError: fewer than 2 quantiles, an index of several levels, or duplicated names.
    """
    if quantiles < 2:
        raise ValueError(f"quantiles={quantiles}: expected 2 buckets or more")
    x, y = _one_session(score, label)
    n = len(x)
    code = np.zeros(n, dtype=np.intp)
    ic, rank_ic, ranks = _correlations(code, x, y, 1, 2)
    # 2r is a whole number, so the bucket is exact: no floor of a rounded percentile.
    twice = np.rint(2 * ranks).astype(np.int64)  # (S,)
    bucket = ((twice - 1) * quantiles) // max(2 * n, 1)
    means = _mean_by(bucket.astype(np.intp), y, quantiles)  # (Q,)
    row: dict[str, float | int] = {
        "n": n,
        "ic": float(ic[0]),
        "rank_ic": float(rank_ic[0]),
        "mean_label": float(_mean_by(code, y, 1)[0]),
    }
    row |= {f"q{k + 1}": float(value) for k, value in enumerate(means)}
    row["long_short"] = float(means[-1] - means[0])
    row["hit_rate"] = _hit_rate(x, y)
    return row


def summarize_ic(evaluations: pd.DataFrame) -> dict[str, float | int]:
    """The usual summary of daily ICs.

    IC = mean over sessions with a defined value, ICIR = mean / std (ddof=1), not annualised,
    standard error = std / sqrt(days), t = mean / standard error. Daily ICs of overlapping labels
    are correlated, so t is an optimistic, plain one (qlib: workflow/record_temp.py SigAnaRecord
    reports the first four).

    Args:
        evaluations: one row a session with the columns `ic` and `rank_ic`.

    Returns:
        ic, icir, ic_se, ic_t, rank_ic, rank_icir, rank_ic_se, rank_ic_t and days (sessions with a
        defined IC). NaN where undefined: no day, or one day, or no variation.

    Raises:
        ValueError: a column is missing.
    """
    missing = [name for name in _IC_METRICS if name not in evaluations.columns]
    if missing:
        raise ValueError(
            f"evaluations has the columns {list(evaluations.columns)}, {missing} missing: "
            "pass rows of evaluate_session, or the two Series of calc_ic side by side"
        )
    out: dict[str, float | int] = {}
    for name, ratio in (("ic", "icir"), ("rank_ic", "rank_icir")):
        values = evaluations[name].to_numpy(dtype=np.float64, na_value=np.nan)
        values = values[~np.isnan(values)]
        days = len(values)
        mean = float(values.mean()) if days else math.nan
        std = float(values.std(ddof=1)) if days > 1 and np.ptp(values) > 0 else math.nan
        error = std / math.sqrt(days) if days else math.nan
        out |= {name: mean, ratio: mean / std, f"{name}_se": error, f"{name}_t": mean / error}
    out["days"] = int(evaluations["ic"].notna().sum())
    return out


def _one_session(score: pd.Series, label: pd.Series) -> tuple[FloatArray, FloatArray]:
    """Complete (score, label) pairs of one session in instrument order."""
    for what, series in (("score", score), ("label", label)):
        if series.index.nlevels != 1:
            raise ValueError(
                f"{what} is indexed by {list(series.index.names)}, expected instruments of one "
                f"session: use {what}.xs(session, level='datetime'), or calc_ic for many sessions"
            )
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise ValueError(f"{what} holds {twice!r} twice, expected one row per instrument")
    names = score.index.intersection(label.index).sort_values()
    x = score.reindex(names).to_numpy(dtype=np.float64, na_value=np.nan)
    y = label.reindex(names).to_numpy(dtype=np.float64, na_value=np.nan)
    complete = ~(np.isnan(x) | np.isnan(y))
    return x[complete], y[complete]


def _hit_rate(x: FloatArray, y: FloatArray) -> float:
    if not len(x):
        return math.nan
    # Comparisons, not differences: an infinite median must not make a NaN.
    above, below = x > np.median(x), x < np.median(x)
    up, down = y > np.median(y), y < np.median(y)
    decided = (above | below) & (up | down)
    if not decided.any():
        return math.nan
    return float(((above & up) | (below & down)).sum() / decided.sum())


def _correlations(
    code: IntArray, x: FloatArray, y: FloatArray, groups: int, min_names: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pearson and Spearman per group, and the ranks of the complete x.

    `code` must ascend. Sums run in row order, so a group's value has the same bits alone and among
    others.
    """
    complete = ~(np.isnan(x) | np.isnan(y))
    code, x, y = code[complete], x[complete], y[complete]
    rank_x, rank_y = _ranks(code, x), _ranks(code, y)
    enough = np.bincount(code, minlength=groups) >= min_names
    ic = np.where(enough, _pearson(code, x, y, groups), np.nan)
    rank_ic = np.where(enough, _pearson(code, rank_x, rank_y, groups), np.nan)
    return ic, rank_ic, rank_x


def _pearson(code: IntArray, x: FloatArray, y: FloatArray, groups: int) -> FloatArray:
    """(T,) correlation per group, NaN where a side does not vary or is not finite."""
    r = np.full(groups, np.nan)
    if not len(x):
        return r
    starts = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    used = code[starts]
    varies = np.zeros(groups, dtype=bool)
    varies[used] = True
    centred = []
    with np.errstate(invalid="ignore", over="ignore"):
        for values in (x, y):
            # Equality of the extremes decides: squared deviations of equal values need not be 0.
            varies[used] &= np.minimum.reduceat(values, starts) < np.maximum.reduceat(
                values, starts
            )
            centred.append(values - _mean_by(code, values, groups)[code])
        dx, dy = centred
        covariance = np.bincount(code, weights=dx * dy, minlength=groups)
        spread = np.sqrt(np.bincount(code, weights=dx * dx, minlength=groups)) * np.sqrt(
            np.bincount(code, weights=dy * dy, minlength=groups)
        )
        ok = varies & (spread > 0)
        r[ok] = np.clip(covariance[ok] / spread[ok], -1.0, 1.0)
    return r


def _ranks(code: IntArray, x: FloatArray) -> FloatArray:
    """(S,) average-tie ranks from 1 within each group; x holds no NaN."""
    ranks = np.empty(len(x))
    if not len(x):
        return ranks
    order = _order(code, x)
    sorted_code, sorted_x = code[order], x[order]
    first = np.r_[True, sorted_code[1:] != sorted_code[:-1]]
    fresh = first | np.r_[True, sorted_x[1:] != sorted_x[:-1]]
    run = np.cumsum(fresh) - 1  # (S,) which run of equal values
    begin = np.flatnonzero(fresh)
    end = np.r_[begin[1:], len(x)]
    offset = np.flatnonzero(first)[np.cumsum(first) - 1]  # (S,) where the row's group begins
    ranks[order] = (begin + end + 1)[run] / 2 - offset
    return ranks


def _order(code: IntArray, x: FloatArray) -> IntArray:
    """(S,) the order that sorts x within each group, equal values in row order, NaN last.

    `code` ascends, so a group is a slice; sorting slices is several times as fast as one lexsort.
    """
    starts = np.flatnonzero(np.r_[len(code) > 0, code[1:] != code[:-1]])
    order = np.empty(len(x), dtype=np.intp)
    for begin, end in pairwise([*starts, len(x)]):
        order[begin:end] = begin + np.argsort(x[begin:end], kind="stable")
    return order


def _mean_by(code: IntArray, values: FloatArray, groups: int) -> FloatArray:
    """(T,) mean per group over values that are there; NaN for a group without any."""
    there: NDArray[np.bool_] = ~np.isnan(values)
    total = np.bincount(code[there], weights=values[there], minlength=groups)
    count = np.bincount(code[there], minlength=groups)
    mean = np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)
    return cast("FloatArray", mean)
