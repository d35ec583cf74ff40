"""Statistics of cross-sections, one a row: ranks, correlations, score buckets, all rows at once.

No other module computes a correlation, a rank or a bucket mean: `signal_metrics`, `analysis`,
`decay` and `rank_ensemble` lay their data out and call this one. A row is a session, or a session
and a group; its columns are names, NaN where there is none.
Sums run in column order (`_total`): adding the zeros of absent names changes no bit, so a
session has the same numbers alone, among ten years of others, and in any layout that keeps the
order of its names. Numpy's own row sums are pairwise and depend on the width of the table.

The rule where this differs from qlib: a row on which all values of a side are equal has no
correlation, hence NaN. qlib leaves that to round-off, which turns some constant rows into a number.

Shapes: `R` rows, `W` columns, `Q` quantiles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np

from rnn_core.evaluation.align import BoolArray, FloatArray, IntArray

Columns = dict[str, FloatArray]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Cells of a table that are worked on at a time; they and temporaries stay in a core's cache.
BLOCK_CELLS = 1 << 15
MOST_THREADS = 4
# Deviations below this share of the mean may be round-off of equal values.
_NEXT_TO_NOTHING = 1e-9


def pack(code: IntArray, rows: int, *columns: FloatArray) -> tuple[FloatArray, ...]:
    """Lay grouped values out as tables, each group's values at the left of its row, in order.

    Args:
        code: [S] the row of each value, ascending.
        rows: R.
        *columns: [S] values.

    Returns:
        One [R, W] table a column, W the size of the largest group, NaN at the right of the others.
    """
    count = np.bincount(code, minlength=rows)  # (R,)
    place = np.arange(len(code)) - (np.cumsum(count) - count)[code]  # (S,)
    tables = []
    for values in columns:
        table = np.full((rows, int(count.max(initial=0))), np.nan)
        table[code, place] = values
        tables.append(table)
    return tuple(tables)


def in_blocks(statistics: Callable[..., Columns], *tables: FloatArray) -> Columns:
    """Call a function of tables on some rows at a time, and join the columns that it returns.

    Blocks run on a few threads (numpy leaves the interpreter free meanwhile), which changes no bit.

    Args:
        statistics: takes blocks of the tables, returns [rows of the block] arrays by name.
        *tables: [R, W] each.

    Returns:
        [R] arrays by name.
    """
    rows, width = tables[0].shape
    step = max(BLOCK_CELLS // max(width, 1), 1)
    blocks = [[table[k : k + step] for table in tables] for k in range(0, max(rows, 1), step)]
    parts = in_threads(lambda block: statistics(*block), blocks)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Apply a function to each item on a few threads; results are in order."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        return list(pool.map(work, items))


def complete(x: FloatArray, y: FloatArray) -> BoolArray:
    """True where both sides have a value, [R, W]."""
    return ~(np.isnan(x) | np.isnan(y))


def correlations(
    x: FloatArray, y: FloatArray, *, min_names: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Compute the Pearson and Spearman correlation of every row, over names that have both.

    Args:
        x: [R, W].
        y: [R, W].
        min_names: rows with fewer pairs are NaN.

    Returns:
        ([R], [R]); NaN where undefined: too few pairs, a side without variation, for Pearson
        also an infinite value.
    """
    mask = complete(x, y)
    x, y = np.where(mask, x, np.nan), np.where(mask, y, np.nan)
    enough = mask.sum(axis=1) >= min_names
    pearson_r, spearman_r = pearson(x, y, mask), rank_correlation(ranks(x), ranks(y), mask)
    return np.where(enough, pearson_r, np.nan), np.where(enough, spearman_r, np.nan)


def ic_columns(x: FloatArray, y: FloatArray, *, min_names: int) -> Columns:
    """Compute `correlations` in blocks of rows, as the columns `ic` and `rank_ic`."""

    def both(x: FloatArray, y: FloatArray) -> Columns:
        return dict(zip(("ic", "rank_ic"), correlations(x, y, min_names=min_names), strict=True))

    return in_blocks(both, x, y)


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the rank correlation [R] over the names that have both, NaN where undefined."""
    mask = complete(x, y)
    x, y = np.where(mask, x, np.nan), np.where(mask, y, np.nan)
    return rank_correlation(ranks(x), ranks(y), mask)


def pearson(x: FloatArray, y: FloatArray, there: BoolArray) -> FloatArray:
    """Correlate the cells that are there, [R]; NaN if a side does not vary or is infinite.

    r = Σ (x - x̄)(y - ȳ) / (√Σ (x - x̄)² · √Σ (y - ȳ)²), kept inside [-1, 1].
    """
    varies = np.ones(len(x), dtype=bool)
    count = there.sum(axis=1)
    centred, squares = [], []
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for values in (x, y):
            mean = _total(np.where(there, values, 0.0)) / count
            centred.append(np.where(there, values - mean[:, None], 0.0))
            squares.append(_total(centred[-1] * centred[-1]))
            # Equal values need not have squared deviations of 0; where these are next to nothing
            # the extremes decide.
            tiny = np.flatnonzero(~(squares[-1] > count * (mean * _NEXT_TO_NOTHING) ** 2))
            low = np.where(there[tiny], values[tiny], np.inf).min(axis=1, initial=np.inf)
            high = np.where(there[tiny], values[tiny], -np.inf).max(axis=1, initial=-np.inf)
            varies[tiny] &= low < high
        spread = np.sqrt(squares[0]) * np.sqrt(squares[1])
        r = np.clip(_total(centred[0] * centred[1]) / spread, -1.0, 1.0)
    return np.where(varies & (spread > 0), r, np.nan)


def rank_correlation(rx: FloatArray, ry: FloatArray, there: BoolArray) -> FloatArray:
    """Correlate ranks, [R], to the values of `pearson`.

    The mean rank is (n + 1) / 2 whatever the ties, and sums of products of ranks are exact in
    double precision (up to 10⁵ names), so they may be added in any order.
    """
    n = there.sum(axis=1)
    middle = n * (n + 1.0) ** 2 / 4  # Σ r̄²
    rx, ry = np.where(there, rx, 0.0), np.where(there, ry, 0.0)
    xx, yy = dot(rx, rx) - middle, dot(ry, ry) - middle
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip((dot(rx, ry) - middle) / (np.sqrt(xx) * np.sqrt(yy)), -1.0, 1.0)
    return np.where((xx > 0) & (yy > 0), r, np.nan)


def dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Sum products along the rows, [R], in whatever order is fastest."""
    return cast("FloatArray", np.einsum("ij,ij->i", a, b))


def ranks(table: FloatArray) -> FloatArray:
    """Rank each row from 1 with average ties, [R, W]; NaN where there is no value."""
    order = ascending(table)
    rank = np.empty_like(table)
    np.put_along_axis(rank, order, places(np.take_along_axis(table, order, axis=1)), axis=1)
    rank[np.isnan(table)] = np.nan
    return rank


def ascending(table: FloatArray) -> IntArray:
    """Order the columns of each row by value, [R, W]: equal ones in any order, NaN last."""
    # Numpy sorts without NaN three times as fast, and an infinity stands in where there is none.
    if not np.isposinf(table).any():
        table = np.where(np.isnan(table), np.inf, table)
    return np.argsort(table, axis=1)


def places(ordered: FloatArray) -> FloatArray:
    """Place the values of ascending rows, [R, W], from 1 to W; equal ones get their mean."""
    rows, width = ordered.shape
    column = np.arange(width)
    place = np.repeat((column + 1.0)[None], rows, axis=0)
    starts = np.ones((rows, width), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    tie_rows = ~starts.all(axis=1)
    if not tie_rows.any():
        return place
    starts = starts[tie_rows]
    begin = np.maximum.accumulate(np.where(starts, column, 0), axis=1)
    # The last place of a run is the one before the next begins, found from the right.
    next_begin = np.full(starts.shape, width)
    next_begin[:, :-1] = np.where(starts[:, 1:], column[1:], width)
    end = np.minimum.accumulate(next_begin[:, ::-1], axis=1)[:, ::-1]
    place[tie_rows] = (begin + end + 1) / 2
    return place


def bucket_of(rank: FloatArray, quantiles: int) -> IntArray:
    """Find score buckets [R, W], from 0 (lowest ranks) to Q - 1, -1 where there is no rank.

    floor((r - 1/2) / n · Q) with n the ranks of the row; equal ranks share a bucket.
    """
    mask = ~np.isnan(rank)
    n = mask.sum(axis=1, keepdims=True)
    # 2r is a whole number, so the bucket is exact: no floor of a rounded percentile.
    double_rank = np.rint(2 * np.where(mask, rank, 1.0)).astype(np.intp)
    return np.where(mask, ((double_rank - 1) * quantiles) // np.maximum(2 * n, 1), -1)


def bucket_means(bucket: IntArray, y: FloatArray, quantiles: int) -> FloatArray:
    """Average y in each bucket, [R, Q]; NaN for an empty bucket."""
    rows = len(y)
    row, column = np.nonzero((bucket >= 0) & ~np.isnan(y))
    cell = row * quantiles + bucket[row, column]
    total = np.bincount(cell, weights=y[row, column], minlength=rows * quantiles)
    count = np.bincount(cell, minlength=rows * quantiles)
    return divide(total, count).reshape(rows, quantiles)


def means(y: FloatArray) -> FloatArray:
    """Average the values of each row, [R]; NaN where there is none."""
    mask = ~np.isnan(y)
    return divide(_total(np.where(mask, y, 0.0)), mask.sum(axis=1))


def hit_rates(x: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the share of names [R] whose x and y lie on the same side of their medians.

    Names on a median are left out; NaN where none is left. Both sides must be complete.
    """
    # Comparisons, not differences: an infinite median must not make a NaN.
    mid_x, mid_y = _medians(x)[:, None], _medians(y)[:, None]
    above, below, up, down = x > mid_x, x < mid_x, y > mid_y, y < mid_y
    n_pairs = ((above | below) & (up | down)).sum(axis=1)
    return divide(((above & up) | (below & down)).sum(axis=1), n_pairs)


def session_statistics(x: FloatArray, y: FloatArray, quantiles: int, min_names: int = 2) -> Columns:
    """Compute the statistics of cross-sections of scores and returns.

    Args:
        x: [R, W] scores.
        y: [R, W] returns.
        quantiles: Q.
        min_names: rows with fewer pairs have no IC.

    Returns:
        [R] each: n (pairs), ic, rank_ic, mean_label, q1 ... qQ, long_short (qQ - q1), hit_rate.
    """
    mask = complete(x, y)
    x, y = np.where(mask, x, np.nan), np.where(mask, y, np.nan)
    n = mask.sum(axis=1)
    rank = ranks(x)
    enough = n >= min_names
    buckets = bucket_means(bucket_of(rank, quantiles), y, quantiles)  # (R, Q)
    columns: Columns = {
        "n": n,
        "ic": np.where(enough, pearson(x, y, mask), np.nan),
        "rank_ic": np.where(enough, rank_correlation(rank, ranks(y), mask), np.nan),
        "mean_label": means(y),
    }
    columns |= {f"q{k + 1}": buckets[:, k] for k in range(quantiles)}
    columns["long_short"] = buckets[:, -1] - buckets[:, 0]
    columns["hit_rate"] = hit_rates(x, y)
    return columns


def divide(total: FloatArray | IntArray, count: IntArray) -> FloatArray:
    """Divide total by count, NaN where the count is 0."""
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return cast("FloatArray", mean)


def _medians(table: FloatArray) -> FloatArray:
    """Compute the median of each row, [R]; NaN where there is no value."""
    if not table.shape[1]:
        return np.full(len(table), np.nan)
    ordered = np.sort(table, axis=1)  # NaN last
    n = np.maximum((~np.isnan(table)).sum(axis=1), 1)
    row = np.arange(len(table))
    low, high = ordered[row, (n - 1) // 2], ordered[row, n // 2]
    return cast("FloatArray", np.where(low == high, low, (low + high) / 2))


def _total(table: FloatArray) -> FloatArray:
    """Sum each row in column order, [R]; see the module's docstring."""
    if not table.shape[1]:
        return np.zeros(len(table))
    return cast("FloatArray", table.cumsum(axis=1)[:, -1])
