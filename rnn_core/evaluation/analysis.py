"""The analysis of one signal in one call: `signal_analysis`.

The result has one row a session (IC, rank IC, quantile returns, hit rate, turnover,
autocorrelation), and summaries with plain and Newey-West errors, by year, month and group, and over
horizons. Scores and labels are laid out once as [T, N] tables; all statistics are array operations
on blocks of sessions, none a Python call per session.
An undefined figure is NaN, never 0, and `notes` explains it: a session without predictions or
without labels yet, one name, constant scores. Labels are raw returns.

Shapes: `T` sessions, `N` instruments, `Q` quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import bars_axes, bars_index
from rnn_core.evaluation.align import (
    FloatArray,
    by_session_and_name,
    nothing_shared,
    session_axis,
    to_table,
)
from rnn_core.evaluation.breakdown import Groups, by_group, by_period, empty_groups, group_table
from rnn_core.evaluation.cross_section import (
    Columns,
    bucket_of,
    complete,
    divide,
    in_blocks,
    ranks,
    session_statistics,
    spearman,
)
from rnn_core.evaluation.decay import check_horizons, empty_decay, ic_decay
from rnn_core.evaluation.inference import mean_test
from rnn_core.notebook import fact_line, fact_table, span_of
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.frames import one_column

_FEWEST_NAMES = 2  # that a correlation needs
# Value of a statistic without skill; None if there is no test.
_NULLS: dict[str, float | None] = {
    "ic": 0.0, "rank_ic": 0.0, "long_short": 0.0, "mean_label": 0.0, "hit_rate": 0.5,
    "turnover": None, "autocorrelation": None,
}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class SignalAnalysis:
    """Tables about one signal; formulas are in docs/evaluation.md.

    Attributes:
        sessions: one row a session: scored (names with a score), n (with score and label), ic,
            rank_ic, mean_label, q1 ... qQ, long_short, hit_rate, turnover, autocorrelation.
        summary: index `statistic`; mean, std, ir, days, positive (share of days above null), null,
            se, t, lags, se_nw, t_nw, p_nw, ci_low, ci_high.
        by_year: index `year`; see `rnn_core.evaluation.breakdown.by_period`.
        by_month: index `month`, "2020-01".
        by_group: index `group`; see `rnn_core.evaluation.breakdown.by_group`. Empty without groups.
        decay: index `horizon`; see `rnn_core.evaluation.decay.ic_decay`. Empty without bars.
        quantiles: index `quantile`, q1 ... qQ and long_short; mean, std, ir, days, errors.
        notes: sentences about undefined figures, with the reason.
        horizon: sessions of the label.

    Examples:
        >>> isinstance(analysis, SignalAnalysis), analysis.quantiles.index.tolist()[-2:]
        (True, ['q5', 'long_short'])
    """

    sessions: pd.DataFrame
    summary: pd.DataFrame
    by_year: pd.DataFrame
    by_month: pd.DataFrame
    by_group: pd.DataFrame
    decay: pd.DataFrame
    quantiles: pd.DataFrame
    notes: tuple[str, ...]
    horizon: int = 1

    def _facts(self) -> dict[str, str]:
        ic, rank_ic = (self.summary.loc[name] for name in ("ic", "rank_ic"))
        return {
            **span_of(self.sessions.index),
            "names": f"{self.sessions['scored'].median():.0f} a session",
            "IC": f"{ic['mean']:.4f} (t {ic['t_nw']:.2f})",
            "rank IC": f"{rank_ic['mean']:.4f} (t {rank_ic['t_nw']:.2f})",
        }

    def __repr__(self) -> str:
        return fact_line(self, self._facts())

    def _repr_html_(self) -> str:
        columns = ["mean", "std", "ir", "days", "t_nw", "ci_low", "ci_high"]
        return fact_table(self, self._facts(), self.summary[columns])


def signal_analysis(
    scores: pd.Series,
    labels: pd.Series,
    *,
    bars: pd.DataFrame | None = None,
    groups: Groups | None = None,
    quantiles: int = 5,
    horizons: Sequence[int] = range(1, 21),
    min_names: int = 2,
    lags: int | None = None,
    horizon: int = 1,
) -> SignalAnalysis:
    """Analyse the scores of one model.

    Args:
        scores: a Series or one-column frame, indexed by (datetime, instrument) in any order.
        labels: simple returns that followed, indexed alike. Sessions reported are those of the
            scores, and those of labels and bars between the first and the last of them.
        bars: adjusted bars with `close`, for the decay over horizons; None leaves it out.
        groups: instrument to group, or a Series indexed by (datetime, instrument); None leaves
            the groups out.
        quantiles: Q, score buckets.
        horizons: of the decay, sessions a position is held.
        min_names: sessions with fewer names have no IC.
        lags: of the Newey-West errors; None for floor(4 (T / 100)^(2/9)) of each series.
        horizon: sessions that a label holds, h. Labels of neighbouring sessions overlap by h - 1,
            so at least as many lags are taken.

    Returns:
        The tables.

    Raises:
        ValueError: an index that is not (datetime, instrument), duplicated rows, no score, no
            name of the scores among those of the labels, fewer than 2 quantiles or names, a
            horizon below 1, scores on days without bars.
        TypeError: scores or labels of several columns.

    Examples:
        >>> round(float(analysis.summary.loc["ic", "mean"]), 1), analysis.by_month.index.tolist()
        (0.5, ['2024-01', '2024-02', '2024-03'])
    """
    # One [T, N] table of scores and one of labels, and the daily statistics of both.
    _check(quantiles, min_names)
    check_horizons(horizons)
    bars = as_frame(bars)
    days, names, x, y = _tables(scores, labels, bars)
    sessions = _sessions(days, x, y, quantiles, min_names)
    notes = _notes(sessions, x, y, min_names)
    # Groups are optional; a score without a group is noted.
    grouped = empty_groups()
    if groups is not None:
        group, group_names = group_table(groups, days, names)
        grouped = by_group(
            x, y, group, group_names, min_names=min_names, lags=lags, horizon=horizon
        )
        n_ungrouped = int((~np.isnan(x) & (group < 0)).sum())
        if n_ungrouped:
            notes.append(f"{n_ungrouped} scores belong to names without a group and are in none")
    return SignalAnalysis(
        sessions=sessions,
        summary=_summary(sessions, lags, horizon),
        by_year=by_period(sessions, "%Y", lags=lags, horizon=horizon),
        by_month=by_period(sessions, "%Y-%m", lags=lags, horizon=horizon),
        by_group=grouped,
        decay=empty_decay()
        if bars is None
        else ic_decay(scores, bars, horizons=horizons, min_names=min_names, lags=lags),
        quantiles=_quantiles(sessions, quantiles, lags, horizon),
        notes=tuple(notes),
        horizon=horizon,
    )


def daily_statistics(scores: pd.Series, labels: pd.Series, *, quantiles: int) -> pd.DataFrame:
    """Compute the table `sessions` of `signal_analysis` alone; arguments and errors are its own."""
    _check(quantiles, _FEWEST_NAMES)
    days, _, x, y = _tables(scores, labels, None)
    return _sessions(days, x, y, quantiles, _FEWEST_NAMES)


def _check(quantiles: int, min_names: int) -> None:
    if quantiles < 2:
        raise ValueError(f"quantiles={quantiles}: expected 2 buckets or more")
    if min_names < _FEWEST_NAMES:
        raise ValueError(f"min_names={min_names}: a correlation needs 2 names or more")


def _tables(
    scores: pd.Series, labels: pd.Series, bars: pd.DataFrame | None
) -> tuple[pd.DatetimeIndex, pd.Index, FloatArray, FloatArray]:
    """Return sessions, the names of the scores, scores [T, N] and labels [T, N]."""
    scores, labels = one_column(scores, "scores"), one_column(labels, "labels")
    index = by_session_and_name(scores.index, "scores").remove_unused_levels()
    if not len(index):
        raise ValueError("scores is empty, expected rows indexed by (datetime, instrument)")
    label_index = by_session_and_name(labels.index, "labels").remove_unused_levels()
    shared = [a.intersection(b) for a, b in zip(index.levels, label_index.levels, strict=True)]
    if len(shared[0]) and not len(shared[1]):  # without a common session no label has matured yet
        raise ValueError(nothing_shared(index, label_index, ("scores", "labels")))
    days = pd.DatetimeIndex(index.levels[0])
    first, last = days.min(), days.max()
    others = [pd.DatetimeIndex(label_index.levels[0])] if len(label_index) else []
    if bars is not None:
        others.append(bars_axes(bars_index(bars))[0])
    for other in others:
        days = days.union(other[(other >= first) & (other <= last)])
    days, names = session_axis(days), index.levels[1].sort_values()
    return (
        days,
        names,
        to_table(scores, index, days, names),
        to_table(labels, label_index, days, names),
    )


def _sessions(
    days: pd.DatetimeIndex, x: FloatArray, y: FloatArray, quantiles: int, min_names: int
) -> pd.DataFrame:
    """Compute the statistics, one row a session."""

    def returns(x: FloatArray, y: FloatArray) -> Columns:
        scored = (~np.isnan(x)).sum(axis=1)
        top = bucket_of(ranks(x), quantiles) == quantiles - 1  # (R, N)
        return {"scored": scored, **session_statistics(x, y, quantiles, min_names), "top": top}

    def memory(before: FloatArray, now: FloatArray) -> Columns:
        return {"autocorrelation": spearman(before, now)}

    columns = in_blocks(returns, x, y)
    top = columns.pop("top").astype(bool)  # (T, N)
    held = np.where(top[:-1].any(axis=1), top[1:].sum(axis=1), 0)
    turnover = divide((top[1:] & ~top[:-1]).sum(axis=1), held)
    columns["turnover"] = np.concatenate([[np.nan], turnover])
    autocorrelation = in_blocks(memory, x[:-1], x[1:])["autocorrelation"]
    columns["autocorrelation"] = np.concatenate([[np.nan], autocorrelation])
    return pd.DataFrame(columns, index=days)


def _summary(sessions: pd.DataFrame, lags: int | None, horizon: int) -> pd.DataFrame:
    rows = {}
    for name, null in _NULLS.items():
        values = sessions[name].to_numpy(dtype=np.float64)
        centre = 0.0 if null is None else null
        test = mean_test(values - centre, lags=lags, horizon=horizon)
        observations = values[~np.isnan(values)]
        row = test | {name: test[name] + centre for name in ("mean", "ci_low", "ci_high")}
        row["positive"] = float((observations > centre).mean()) if len(observations) else np.nan
        row["null"] = np.nan if null is None else null
        if null is None:
            row |= dict.fromkeys(("ir", "t", "t_nw", "p_nw", "positive"), np.nan)
        rows[name] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("statistic")
    columns = ["mean", "std", "ir", "days", "positive", "null", "se", "t", "lags", "se_nw"]
    frame = frame[[*columns, "t_nw", "p_nw", "ci_low", "ci_high"]]
    return frame.astype({"days": np.int64, "lags": np.int64})


def _quantiles(
    sessions: pd.DataFrame, quantiles: int, lags: int | None, horizon: int
) -> pd.DataFrame:
    names = [*(f"q{k + 1}" for k in range(quantiles)), "long_short"]
    rows = {name: mean_test(sessions[name], lags=lags, horizon=horizon) for name in names}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantile")
    return frame.astype({"days": np.int64, "lags": np.int64})


def _notes(sessions: pd.DataFrame, x: FloatArray, y: FloatArray, min_names: int) -> list[str]:
    """Note the undefined statistics, and on how many sessions."""
    silent = sessions["scored"] == 0
    blank = (sessions["n"] == 0) & ~silent
    few = (sessions["n"] > 0) & (sessions["n"] < min_names)
    plain = (sessions["n"] >= min_names) & sessions["rank_ic"].isna()
    with np.errstate(invalid="ignore"):
        infinite = pd.Series(np.isinf(x).any(axis=1), index=sessions.index)
    notes = [
        _note(silent, "no predictions: nothing is evaluated and turnover starts afresh"),
        _note(blank, "scores but no label (yet): they count in turnover, not in any IC"),
        _note(few, f"fewer than {min_names} names with score and label: no IC"),
        _note(plain, "scores or labels that are all equal: no IC"),
        _note(infinite, "infinite scores: no IC, but a rank IC"),
    ]
    scored = ~np.isnan(x)
    n_unlabelled = int((scored & ~complete(x, y))[~(silent | blank).to_numpy()].sum())
    if n_unlabelled:
        total = int(scored[~(silent | blank).to_numpy()].sum())
        notes.append(f"{n_unlabelled} of {total} scores have no label on sessions that have labels")
    return [note for note in notes if note]


def _note(where: pd.Series, what: str) -> str:
    days = where.index[where.to_numpy(dtype=bool)]
    if not len(days):
        return ""
    return f"{len(days)} session{'s' * (len(days) != 1)} (first {days[0]:%Y-%m-%d}) with {what}"
