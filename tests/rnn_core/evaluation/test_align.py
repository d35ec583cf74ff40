"""Alignment; oracle: pandas' own outer join."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation.align import align_pairs, by_session_and_name, to_table

DATES = pd.bdate_range("2024-01-01", periods=4)


def _series(rng: np.random.Generator, share: float) -> pd.Series:
    index = pd.MultiIndex.from_product([DATES, list("EDCBA")], names=["datetime", "instrument"])
    rows = pd.Series(rng.normal(size=len(index)), index=index)
    return rows[rng.random(len(rows)) < share].sample(frac=1, random_state=0)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_align_pairs_is_a_sorted_outer_join(swap: bool, share: float) -> None:
    rng = np.random.default_rng(3)
    left, right = _series(rng, share), _series(rng, share)
    expected = pd.DataFrame({"left": left, "right": right}).sort_index()
    got = align_pairs(left.swaplevel() if swap else left, right, ("left", "right"))
    assert list(got.sessions) == list(expected.index.levels[0])
    np.testing.assert_array_equal(got.left, expected["left"])
    np.testing.assert_array_equal(got.right, expected["right"])
    days = expected.index.get_level_values(0)
    np.testing.assert_array_equal(got.sessions[got.code], days)


def test_align_pairs_of_nothing() -> None:
    empty = pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []]))
    full = _series(np.random.default_rng(0), 1.0)
    assert len(align_pairs(empty, empty, ("a", "b")).left) == 0
    got = align_pairs(empty, full, ("a", "b"))
    assert np.isnan(got.left).all()
    assert len(got.right) == len(full)


def test_to_table_leaves_out_other_rows() -> None:
    rows = _series(np.random.default_rng(0), 1.0)
    table = to_table(
        rows, by_session_and_name(rows.index, "rows"), DATES[1:3], pd.Index(["A", "Z", "C"])
    )
    wide = rows.unstack()  # noqa: PD010
    expected = wide.reindex(index=DATES[1:3], columns=["A", "Z", "C"])
    np.testing.assert_array_equal(table, expected.to_numpy())


def test_index_errors() -> None:
    flat = pd.Series([1.0], index=["A"])
    with pytest.raises(ValueError, match=r"pred has the index \[None\]; expected two levels"):
        align_pairs(flat, flat, ("pred", "label"))
    rows = _series(np.random.default_rng(0), 1.0)
    with pytest.raises(ValueError, match=r"label has 1 duplicated rows"):
        align_pairs(rows, pd.concat([rows, rows.iloc[:1]]), ("pred", "label"))
    words = pd.Series([1.0], index=pd.MultiIndex.from_tuples([("today", "A")]))
    with pytest.raises(
        ValueError, match=r"holds the text 'today', .*convert it with pd\.to_datetime"
    ):
        align_pairs(words, rows, ("pred", "label"))
    zoned = pd.Series(
        [1.0], index=pd.MultiIndex.from_product([DATES[:1].tz_localize("UTC"), ["A"]])
    )
    with pytest.raises(ValueError, match=r"time zone UTC.*use tz_localize\(None\)"):
        align_pairs(zoned, rows, ("pred", "label"))
