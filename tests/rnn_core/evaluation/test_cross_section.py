"""Row-wise kernels; oracle: pandas' corr, rank and groupby, a row at a time."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.evaluation.cross_section import (
    bucket_of,
    correlations,
    hit_rates,
    in_blocks,
    pack,
    ranks,
    session_statistics,
    spearman,
)

VALUES = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.1 + 1e-9, 1.0, 3.0, math.nan, math.inf])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=6, max_size=6), min_size=1, max_size=5))
def test_ranks_are_pandas_ranks(rows: list[list[float]]) -> None:
    """Ties, NaN and infinities, rows with and without ties beside each other."""
    table = np.array(rows)
    np.testing.assert_array_equal(ranks(table), pd.DataFrame(table).rank(axis=1).to_numpy())


def test_correlations_are_pandas() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 30)), rng.normal(size=(40, 30)).round(1)
    x[rng.random(x.shape) < 0.2] = np.nan
    y[rng.random(y.shape) < 0.2] = np.nan
    y[7] = 0.3  # constant
    x[8, 2:] = np.nan
    ic, rank_ic = correlations(x, y)
    for k in range(40):
        a, b = pd.Series(x[k]), pd.Series(y[k])
        both = a.notna() & b.notna()
        if k == 7 or both.sum() < 2:
            assert math.isnan(ic[k])
            assert math.isnan(rank_ic[k])
            continue
        np.testing.assert_allclose(ic[k], a.corr(b), atol=1e-14)
        np.testing.assert_allclose(rank_ic[k], a[both].rank().corr(b[both].rank()), atol=1e-14)
    np.testing.assert_array_equal(spearman(x, y), rank_ic)
    assert np.isnan(correlations(x, y, min_names=31)).all()


def test_constants_have_no_correlation_whatever_their_size() -> None:
    for value in (0.0, 0.1, -1e-300, 1e150, 12345.678901):
        x = np.full((1, 7), value)
        y = np.arange(7.0)[None]
        assert np.isnan(correlations(x, y)).all()
        assert np.isnan(correlations(y, x)).all()
    # Next to constant is not constant.
    x = 1.0 + 1e-12 * np.arange(7.0)[None]
    assert correlations(x, y)[0][0] > 0.99


def test_absent_names_change_no_bit() -> None:
    """A row alone, in a wider table and with gaps between its names."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(1, 50)), rng.normal(size=(1, 50))
    alone = session_statistics(x, y, 5)
    columns = np.sort(rng.choice(200, 50, replace=False))
    wide = np.full((2, 3, 200), np.nan)
    wide[0, 1, columns], wide[1, 1, columns] = x, y
    wide[0, 2], wide[1, 2] = rng.normal(size=200), rng.normal(size=200)
    among = in_blocks(lambda a, b: session_statistics(a, b, 5), wide[0], wide[1])
    for name, values in alone.items():
        assert values[0] == among[name][1], name
    assert among["n"].tolist() == [0, 50, 200]


def test_pack_and_tables_without_a_column() -> None:
    code = np.array([0, 0, 2], dtype=np.intp)
    (table,) = pack(code, 3, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(table, [[1, 2], [np.nan, np.nan], [3, np.nan]])
    (empty,) = pack(np.empty(0, dtype=np.intp), 2, np.empty(0))
    got = session_statistics(empty, empty, 3)
    assert got["n"].tolist() == [0, 0]
    assert all(np.isnan(got[name]).all() for name in got if name != "n")


def test_buckets_of_equal_scores_are_shared() -> None:
    rank = ranks(np.array([[5.0, 5, 5, 5, 5], [1, 2, 3, 4, np.nan], [np.nan] * 5]))
    got = bucket_of(rank, 5)
    assert got.tolist() == [[2] * 5, [0, 1, 3, 4, -1], [-1] * 5]


def test_hit_rates_by_hand() -> None:
    x = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1]])
    y = np.array([[1.0, 2, 3, 4], [4, 1, 3, 2], [1, 2, 3, 4]])
    np.testing.assert_array_equal(hit_rates(x, y), [1.0, 0.5, np.nan])
