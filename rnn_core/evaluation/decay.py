"""The decay of a signal: its IC against the returns of 1, 2, ... sessions.

The label of horizon h is the return from the close of t + 1 to the close of t + 1 + h, the
position a score of t can have at the earliest, held for h sessions; h = 1 is the usual label.
Sessions are those of the bars; a name without a bar on either of the two has no label.
20 horizons of ten years and 500 names are 25 million pairs to rank. The scores of a block of
sessions are sorted once and the closes laid out in that order, so that per horizon only the
returns are left to sort (`_Sorted`); blocks run on a few threads, which changes no bit. Values
agree with `calc_ic` to round-off.
Labels of h sessions overlap, so neighbouring daily ICs share h - 1 of them. The standard
errors therefore use h - 1 lags at least.

Shapes: `T` sessions, `N` instruments, `H` horizons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnn_core.evaluation.account import bars_axes, bars_index
from rnn_core.evaluation.align import (
    BoolArray,
    FloatArray,
    IntArray,
    by_session_and_name,
    from_table,
    session_axis,
    to_table,
)
from rnn_core.evaluation.cross_section import (
    BLOCK_CELLS,
    ascending,
    complete,
    correlations,
    dot,
    in_threads,
    means,
    places,
)
from rnn_core.evaluation.inference import mean_test
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.frames import one_column


def forward_returns(bars: pd.DataFrame, horizon: int = 1) -> pd.Series:
    """Compute the label of a horizon: close_{t+1+h} / close_{t+1} - 1.

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        horizon: h, sessions the position is held, 1 or more.

    Returns:
        Simple returns indexed by (datetime, instrument), sorted; rows without one are left out.

    Raises:
        ValueError: a horizon below 1, or bars without a close.

    Examples:
        >>> five = forward_returns(bars, horizon=5).unstack()
        >>> five.index[-1] == sessions[-7]
        True
    """
    check_horizons([horizon])
    sessions, instruments, close = close_table(bars)
    returns = np.full_like(close, np.nan)
    n_labels = len(close) - 1 - horizon  # sessions whose label exists
    if n_labels > 0:
        returns[:n_labels] = close[1 + horizon :] / close[1:-horizon] - 1
    return from_table(returns, sessions, instruments, "label")


def ic_decay(
    scores: pd.Series,
    bars: pd.DataFrame,
    *,
    horizons: Sequence[int] = range(1, 21),
    min_names: int = 2,
    lags: int | None = None,
) -> pd.DataFrame:
    """Compute IC and rank IC over horizons.

    Args:
        scores: indexed by (datetime, instrument).
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        horizons: sessions a position is held, each 1 or more.
        min_names: sessions with fewer pairs have no IC.
        lags: of the Newey-West errors, at least h - 1 is taken; None for the automatic length.

    Returns:
        Index `horizon`; for ic and rank_ic: `*` mean, `*_ir` mean / deviation, `*_days`,
        `*_se_nw`, `*_t_nw`; and `lags`. NaN where undefined, e.g. where no label exists yet.

    Raises:
        ValueError: no horizon or one below 1, or scores on days without bars.

    Examples:
        >>> decay = ic_decay(scores, bars, horizons=[1, 10])
        >>> bool(decay.loc[1, "ic"] > decay.loc[10, "ic"])
        True
    """
    steps = check_horizons(horizons)
    daily = _daily(scores, bars, steps, min_names)  # (2, H, T)
    rows = []
    for k, horizon in enumerate(steps):
        row: dict[str, float] = {}
        for name, values in zip(("ic", "rank_ic"), daily[:, k], strict=True):
            test = mean_test(values, lags=lags, horizon=horizon)
            row |= {
                name: test["mean"], f"{name}_ir": test["ir"], f"{name}_days": test["days"],
                f"{name}_se_nw": test["se_nw"], f"{name}_t_nw": test["t_nw"],
                "lags": test["lags"],
            }  # fmt: skip
        rows.append(row)
    return _frame(rows, steps)


def empty_decay() -> pd.DataFrame:
    """Return the table of `ic_decay` without a row."""
    return _frame([], [])


def _frame(rows: list[dict[str, float]], steps: list[int]) -> pd.DataFrame:
    suffixes = ("", "_ir", "_days", "_se_nw", "_t_nw")
    columns = [f"{name}{end}" for name in ("ic", "rank_ic") for end in suffixes]
    index = pd.Index(steps, name="horizon", dtype=np.int64)
    frame = pd.DataFrame(rows, index=index, columns=[*columns, "lags"], dtype=np.float64)
    return frame.astype(dict.fromkeys(("ic_days", "rank_ic_days", "lags"), np.int64))


def check_horizons(horizons: Sequence[int]) -> list[int]:
    """Check horizons and return them as a list.

    Raises:
        ValueError: none, one below 1, or one given twice.
    """
    steps = [int(h) for h in horizons]
    if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
        raise ValueError(
            f"horizons={steps}: expected one or more numbers of sessions from 1, once each"
        )
    return steps


def close_table(bars: pd.DataFrame) -> tuple[pd.DatetimeIndex, pd.Index, FloatArray]:
    """Return the sessions, the instruments and the [T, N] closes of bars.

    Raises:
        ValueError: no bars, no column `close`, duplicated rows.
    """
    bars = as_frame(bars)
    index = bars_index(bars)
    if "close" not in bars.columns:
        raise ValueError(
            f"bars has no column 'close', only {list(bars.columns)}: pass adjusted bars"
        )
    sessions, instruments = bars_axes(index)
    return sessions, instruments, to_table(bars["close"], index, sessions, instruments)


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Scores of some sessions in ascending order, to be correlated with many returns.

    Attributes:
        order: [R, N] the columns of each row by score, absent scores last.
        x: [R, N] the scores in that order.
        centred: [R, N] less their mean, so that sums of squares lose no digits; 0 where absent.
        tied: [R] rows in which two scores are equal; they take the general way.
    """

    order: IntArray
    x: FloatArray
    centred: FloatArray
    tied: BoolArray

    @classmethod
    def of(cls, table: FloatArray) -> _Sorted:
        order = ascending(table)
        x = np.take_along_axis(table, order, axis=1)
        with np.errstate(invalid="ignore"):
            centred = np.where(np.isnan(x), 0.0, x - means(x)[:, None])
        return cls(order, x, centred, (x[:, 1:] == x[:, :-1]).any(axis=1))

    def correlate(self, y: FloatArray, min_names: int) -> tuple[FloatArray, FloatArray]:
        """Compute IC and rank IC [R] with returns [R, N] in the order of the scores.

        Distinct scores have the ranks 1 ... n, whose mean (n + 1) / 2 and squared deviations
        n (n² - 1) / 12 are known; sums of ranks and their products are exact in double precision.
        """
        mask = complete(self.x, y)
        n = mask.sum(axis=1).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(mask, y, 0.0).sum(axis=1) / n
            dy = np.where(mask, y - mean[:, None], 0.0)
            dx = np.where(mask, self.centred, 0.0)
            xx = dot(dx, dx) - dx.sum(axis=1) ** 2 / n
            ic = dot(dx, dy) / (np.sqrt(xx) * np.sqrt(dot(dy, dy)))
            y = np.where(mask, y, np.nan)
            order = ascending(y)
            ordered = np.take_along_axis(y, order, axis=1)
            place = np.where(np.arange(y.shape[1]) < n[:, None], places(ordered), 0.0)
            rank = np.take_along_axis(np.where(mask, np.cumsum(mask, axis=1), 0), order, axis=1)
            middle = n * (n + 1) ** 2 / 4
            spread = np.sqrt((dot(place, place) - middle) * (n * (n**2 - 1) / 12))
            rank_ic = (dot(rank, place) - middle) / spread
        last = np.take_along_axis(ordered, np.maximum(n - 1, 0).astype(np.intp)[:, None], axis=1)
        valid = (n >= max(min_names, 2)) & (ordered[:, 0] < last[:, 0])
        ic, rank_ic = (np.where(valid, np.clip(r, -1.0, 1.0), np.nan) for r in (ic, rank_ic))
        tied = self.tied
        if tied.any():
            ic[tied], rank_ic[tied] = correlations(self.x[tied], y[tied], min_names=min_names)
        return ic, rank_ic


def _daily(
    scores: pd.Series, bars: pd.DataFrame, steps: Sequence[int], min_names: int
) -> FloatArray:
    """Compute IC and rank IC of every horizon and session, [2, H, T]."""
    sessions, instruments, close = close_table(bars)
    scores = one_column(scores, "scores")
    index = by_session_and_name(scores.index, "scores").remove_unused_levels()
    if len(strays := session_axis(index.levels[0]).difference(sessions)):
        raise ValueError(
            f"scores has {len(strays)} days without any bar, the first is {strays[0]:%Y-%m-%d}: "
            "pass bars of every session that has scores"
        )
    table = to_table(scores, index, sessions, instruments)  # (T, N)
    out = np.full((2, len(steps), len(sessions)), np.nan)
    days = np.flatnonzero(~np.isnan(table).all(axis=1))
    size = max(BLOCK_CELLS // max(close.shape[1], 1), 1)

    def work(block: IntArray) -> None:
        scores = _Sorted.of(table[block])

        def closes(after: int) -> FloatArray:
            row = block + after
            values = close[np.minimum(row, len(close) - 1)]
            values[row >= len(close)] = np.nan
            return np.take_along_axis(values, scores.order, axis=1)

        entry = closes(1)
        for k, horizon in enumerate(steps):
            out[:, k, block] = scores.correlate(closes(1 + horizon) / entry - 1, min_names)

    blocks = [days[k : k + size] for k in range(0, len(days), size)]
    in_threads(work, blocks)
    return out
