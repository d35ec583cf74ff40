"""Statistics by period and by group of names, which show where and when a signal works.

`by_period` gives means, ratios and Newey-West tests of daily statistics within a year or a month;
`by_group` gives ICs inside each group of names (sector, size bucket), every group a cross-section
of its own. A signal that only tells sectors apart has no IC within them, and a signal that works in
small names alone shows this in its groups and not in the mean.

Shapes: `T` sessions, `N` instruments, `G` groups.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import FloatArray, IntArray, by_session_and_name, positions
from rnn_core.evaluation.cross_section import complete, ic_columns, pack
from rnn_core.evaluation.inference import mean_test
from rnn_core.panel.frames import one_column
from rnn_core.panel.session_labels import session_labels

Groups = Mapping[str, Hashable] | pd.Series

_TESTED = ("ic", "rank_ic")
_MEANS = ("long_short", "hit_rate", "turnover")


def by_period(
    sessions: pd.DataFrame, form: str, *, lags: int | None = None, horizon: int = 1
) -> pd.DataFrame:
    """Summarise daily statistics by year or month.

    Args:
        sessions: one row a session (DatetimeIndex) with `ic`, `rank_ic`, `long_short`, `hit_rate`
            and `turnover`.
        form: of the period's label, "%Y" or "%Y-%m".
        lags: of the Newey-West errors, None for the automatic length of each period.
        horizon: sessions of the label, at least h - 1 lags are taken.

    Returns:
        Index `year` or `month`; sessions; for ic and rank_ic the mean, `*_ir`, `*_days`,
        `*_se_nw` and `*_t_nw`; the means of the others.
    """
    index = session_labels(sessions.index, "the index of sessions")
    name = "month" if "%m" in form else "year"
    labels = pd.Index(index.strftime(form), name=name)
    rows: dict[Hashable, dict[str, float]] = {}
    for label, part in sessions.groupby(labels):
        row: dict[str, float] = {"sessions": len(part)}
        for column in _TESTED:
            row |= _tested(column, part[column].to_numpy(), lags, horizon)
        row |= {column: float(part[column].mean()) for column in _MEANS}
        rows[label] = row
    return _frame(rows, name, extra=("sessions",), means=_MEANS)


def by_group(
    x: FloatArray,
    y: FloatArray,
    group: IntArray,
    labels: list[Hashable],
    *,
    min_names: int = 2,
    lags: int | None = None,
    horizon: int = 1,
) -> pd.DataFrame:
    """Compute IC and rank IC inside each group of names.

    Args:
        x: [T, N] scores.
        y: [T, N] returns.
        group: [T, N] position in `labels` of each name's group at each session, -1 for none.
        labels: the G groups.
        min_names: groups with fewer names on a session have no IC on it.
        lags: of the Newey-West errors.
        horizon: sessions of the label, at least h - 1 lags are taken.

    Returns:
        Index `group`; names, mean per session with any; for ic and rank_ic the mean, `*_ir`,
        `*_days`, `*_se_nw` and `*_t_nw`.
    """
    size = len(labels)
    mask = complete(x, y) & (group >= 0)
    code = np.nonzero(mask)[0] * size + group[mask]
    order = np.argsort(code, kind="stable")  # names of a group keep their order
    cells = len(x) * size
    tables = pack(code[order], cells, x[mask][order], y[mask][order])
    columns = ic_columns(*tables, min_names=min_names)
    daily = {key: v.reshape(-1, size) for key, v in columns.items()}  # (T, G)
    count = np.bincount(code, minlength=cells).reshape(-1, size)
    rows: dict[Hashable, dict[str, float]] = {}
    for k, label in enumerate(labels):
        sessions = count[:, k] > 0
        row = {"names": float(count[sessions, k].mean()) if sessions.any() else 0.0}
        for column in _TESTED:
            row |= _tested(column, daily[column][:, k], lags, horizon)
        rows[label] = row
    return _frame(rows, "group", extra=("names",))


def empty_groups() -> pd.DataFrame:
    """Return the table of `by_group` without a row."""
    return _frame({}, "group", extra=("names",))


def group_table(
    groups: Groups, sessions: pd.DatetimeIndex, instruments: pd.Index
) -> tuple[IntArray, list[Hashable]]:
    """Map each name to its group on each session.

    Args:
        groups: instrument to group, as a mapping or a Series; or a Series indexed by (datetime,
            instrument) for groups that change. NaN and None are no group.
        sessions: the T sessions.
        instruments: the N names.

    Returns:
        ([T, N] position in the list, -1 for none; the groups, sorted where they can be).

    Raises:
        ValueError: duplicated rows, or no name of these with a group.
    """
    if isinstance(groups, (pd.Series, pd.DataFrame)):
        series = one_column(groups, "groups")
    else:
        series = pd.Series(dict(groups), dtype=object)
    code, uniques = pd.factorize(series, sort=_sortable(series))
    labels: list[Hashable] = list(uniques)
    table = np.full((len(sessions), len(instruments)), -1, dtype=np.intp)
    if isinstance(series.index, pd.MultiIndex):
        index = by_session_and_name(series.index, "groups")
        day, name = positions(index, sessions, instruments)
        mask = (day >= 0) & (name >= 0)
        table[day[mask], name[mask]] = code[mask]
    else:
        if not series.index.is_unique:
            duplicate = series.index[series.index.duplicated()][0]
            raise ValueError(f"groups holds {duplicate!r} twice, expected one group per instrument")
        places = series.index.get_indexer(instruments)
        table[:] = np.where(places >= 0, code[places] if len(code) else -1, -1)
    if not (table >= 0).any():
        sample = list(series.index[:3])
        raise ValueError(
            f"groups has no group for any of the {len(instruments)} names of the scores (it knows "
            f"{sample} ...): expected instruments as in the scores, or (datetime, instrument) rows"
        )
    return table, labels


def _sortable(series: pd.Series) -> bool:
    kinds = {type(value) for value in series.dropna()}
    return len(kinds) == 1


def _tested(name: str, values: FloatArray, lags: int | None, horizon: int) -> dict[str, float]:
    test = mean_test(values, lags=lags, horizon=horizon)
    return {
        name: test["mean"],
        f"{name}_ir": test["ir"],
        f"{name}_days": test["days"],
        f"{name}_se_nw": test["se_nw"],
        f"{name}_t_nw": test["t_nw"],
    }


def _frame(
    rows: Mapping[Hashable, Mapping[str, float]],
    name: str,
    *,
    extra: tuple[str, ...],
    means: tuple[str, ...] = (),
) -> pd.DataFrame:
    statistics = [
        f"{column}{end}" for column in _TESTED for end in ("", "_ir", "_days", "_se_nw", "_t_nw")
    ]
    frame = pd.DataFrame.from_dict(
        dict(enumerate(rows.values())), orient="index", columns=[*extra, *statistics, *means]
    )
    frame.index = pd.Index(list(rows), name=name)
    counts = [c for c in frame.columns if str(c).endswith("_days") or c == "sessions"]
    return frame.astype(float).astype(dict.fromkeys(counts, np.int64))
