"""Metrics of scores against the returns that followed: IC, rank IC, quantiles, long-short.

They are metrics of a cross-section, one number per session, and summaries over sessions. The
numbers agree with qlib's `calc_ic` and `calc_long_short_return` (qlib: contrib/eva/alpha.py) and
are computed for all sessions at once instead of by a Python call per day.
All share the kernel `rnn_core.evaluation.cross_section`: `evaluate_session` (a pipeline partition)
and `calc_ic` (a notebook over ten years) run the same sums in the same order, so their numbers for
a session are equal to the last bit.
Labels are raw returns, never rank-normalised ones.

Shapes: `S` rows, `T` sessions, `Q` quantiles.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import FloatArray, align_pairs
from rnn_core.evaluation.cross_section import (
    complete,
    ic_columns,
    means,
    pack,
    session_statistics,
)
from rnn_core.evaluation.inference import mean_test
from rnn_core.panel.frames import one_column

_IC_METRICS = ("ic", "rank_ic")


def calc_ic(
    pred: pd.Series, label: pd.Series, *, min_names: int = 2
) -> tuple[pd.Series, pd.Series]:
    """Compute the information coefficient and rank information coefficient of every session.

    IC_t = Pearson correlation over names i of (pred_ti, label_ti); rank IC_t = the same of their
    average-tie ranks (Spearman). Rows are outer-aligned, then pairs with a NaN on either side are
    left out (qlib: contrib/eva/alpha.py calc_ic).

    Args:
        pred: scores as a Series or a frame of one column, indexed by (datetime, instrument) in any
            order.
        label: simple returns, indexed alike.
        min_names: sessions with fewer complete pairs are NaN; at least 2.

    Returns:
        (ic, rank_ic): one value per session that occurs in either input, sorted; NaN where the
        correlation is undefined (too few pairs, or a side without variation).

    Raises:
        TypeError: a frame of several columns, or neither a Series nor a frame.
        ValueError: `min_names` below 2, an index that is not (datetime, instrument), dates that
            are no session labels, or two inputs without a row in common.

    Examples:
        >>> ic, rank_ic = calc_ic(scores, labels)
        >>> ic.index.name, bool(ic.mean() > 0.3)
        ('datetime', True)
    """
    if min_names < 2:
        raise ValueError(f"min_names={min_names}: a correlation needs 2 names or more")
    pairs = align_pairs(pred, label, ("pred", "label"))
    mask = complete(pairs.left, pairs.right)  # (S,)
    x, y = pack(pairs.code[mask], len(pairs.sessions), pairs.left[mask], pairs.right[mask])
    columns = ic_columns(x, y, min_names=min_names)
    ic, rank_ic = (pd.Series(v, pairs.sessions, name=name) for name, v in columns.items())
    return ic, rank_ic


def calc_long_short_return(
    pred: pd.Series, label: pd.Series, quantile: float = 0.2
) -> tuple[pd.Series, pd.Series]:
    """Compute half the spread between best and worst names of a session, and the mean of all.

    With n rows on a session and k = int(n * quantile): long = mean label of the k highest scores,
    short = mean label of the k lowest, result (long - short) / 2. Equal scores are taken in
    instrument order, names without a score last, absent labels are skipped in the means
    (qlib: contrib/eva/alpha.py calc_long_short_return).

    Args:
        pred: scores as a Series or a frame of one column, indexed by (datetime, instrument).
        label: simple returns, indexed alike.
        quantile: share of the names on each side, in (0, 0.5].

    Returns:
        (long_short, mean): one simple return per session; long_short is NaN where k is 0.

    Raises:
        TypeError: as `calc_ic`.
        ValueError: a quantile outside (0, 0.5]; and as `calc_ic`.

    Examples:
        >>> spread, mean = calc_long_short_return(scores, labels)
        >>> bool(spread.mean() > 0)
        True
    """
    if not 0 < quantile <= 0.5:
        raise ValueError(f"quantile={quantile}: expected a share of the names in (0, 0.5]")
    pairs = align_pairs(pred, label, ("pred", "label"))
    x, y = pack(pairs.code, len(pairs.sessions), pairs.left, pairs.right)  # (T, W)
    count = np.bincount(pairs.code, minlength=len(pairs.sessions))
    n_names = (count * quantile).astype(np.intp)[:, None]  # (T, 1)
    sides = []
    for key in (-x, x):
        order = np.argsort(key, axis=1, kind="stable")  # NaN comes last
        first = np.take_along_axis(y, order, axis=1)
        sides.append(means(np.where(np.arange(y.shape[1]) < n_names, first, np.nan)))
    return (
        pd.Series((sides[0] - sides[1]) / 2, index=pairs.sessions, name="long_short"),
        pd.Series(means(y), index=pairs.sessions, name="mean"),
    )


def evaluate_session(
    score: pd.Series, label: pd.Series, *, quantiles: int = 5
) -> dict[str, float | int]:
    """Compute the statistics of the predictions of one session that the pipeline records.

    A name counts if it has both a score and a label. Its bucket is
    floor((r - 1/2) / n * Q) with r its average-tie rank (1 = lowest score) among n names, so equal
    scores share a bucket; an empty bucket is NaN (fewer names than quantiles, or ties).

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

    Examples:
        >>> names = list("ABCD")
        >>> score, label = pd.Series([1, 2, 3, 4], names), pd.Series([0.01, 0.0, 0.03, 0.04], names)
        >>> row = evaluate_session(score, label, quantiles=2)
        >>> row["n"], round(row["rank_ic"], 2), row["q2"]
        (4, 0.8, 0.035)
    """
    if quantiles < 2:
        raise ValueError(f"quantiles={quantiles}: expected 2 buckets or more")
    x, y = _one_session(score, label)
    statistics = session_statistics(x[None], y[None], quantiles)
    row: dict[str, float | int] = {name: float(values[0]) for name, values in statistics.items()}
    row["n"] = len(x)
    return row


def summarize_ic(evaluations: pd.DataFrame) -> dict[str, float | int]:
    """Summarise daily ICs by the usual figures.

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

    Examples:
        >>> summarize_ic(analysis.sessions)["days"]
        58
    """
    missing = [name for name in _IC_METRICS if name not in evaluations.columns]
    if missing:
        raise ValueError(
            f"evaluations has the columns {list(evaluations.columns)}, {missing} missing: "
            "pass rows of evaluate_session, or the two Series of calc_ic side by side"
        )
    summary: dict[str, float | int] = {}
    for name, ratio in (("ic", "icir"), ("rank_ic", "rank_icir")):
        test = mean_test(evaluations[name].to_numpy(dtype=np.float64, na_value=np.nan))
        summary |= {name: test["mean"], ratio: test["ir"]}
        summary |= {f"{name}_{figure}": test[figure] for figure in ("se", "t")}
    summary["days"] = int(evaluations["ic"].notna().sum())
    return summary


def _one_session(score: pd.Series, label: pd.Series) -> tuple[FloatArray, FloatArray]:
    """Return the complete (score, label) pairs of one session in instrument order."""
    score, label = one_column(score, "score"), one_column(label, "label")
    for name, series in (("score", score), ("label", label)):
        if series.index.nlevels != 1:
            raise ValueError(
                f"{name} is indexed by {list(series.index.names)}, expected instruments of one "
                f"session: use {name}.xs(session, level='datetime'), or calc_ic for many sessions"
            )
        if not series.index.is_unique:
            duplicate = series.index[series.index.duplicated()][0]
            raise ValueError(f"{name} holds {duplicate!r} twice, expected one row per instrument")
    names = score.index.intersection(label.index).sort_values()
    x = score.reindex(names).to_numpy(dtype=np.float64, na_value=np.nan)
    y = label.reindex(names).to_numpy(dtype=np.float64, na_value=np.nan)
    mask = complete(x, y)
    return x[mask], y[mask]
