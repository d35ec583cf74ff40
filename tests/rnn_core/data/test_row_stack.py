"""Rows that come in parts. Oracle: the sampler of the same rows as one frame, and held bytes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import RowStack, TSDataSampler
from rnn_core.data.row_stack import arrange


def rows_of(sessions: int, names: int, width: int, seed: int = 0) -> pd.DataFrame:
    """Rows with gaps, float32, the last column NaN in a fifth of them."""
    draw = np.random.default_rng(seed)
    days = pd.bdate_range("2020-01-01", periods=sessions)
    index = pd.MultiIndex.from_product([days, [f"n{k:03d}" for k in range(names)]])
    cells = draw.standard_normal((len(index), width)).astype(np.float32)
    cells[draw.random(len(index)) < 0.2, -1] = np.nan
    frame = pd.DataFrame(cells, index, columns=[f"c{k}" for k in range(width)])
    return frame[draw.random(len(frame)) < 0.9].rename_axis(["datetime", "instrument"])


def parts_of(frame: pd.DataFrame, size: int):
    """The rows of so many sessions after the other."""
    days = frame.index.get_level_values("datetime").unique()
    for first in range(0, len(days), size):
        yield frame.loc[days[first] : days[min(first + size, len(days)) - 1]]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_sampler_is_that_of_the_frame(size):
    frame = rows_of(40, 11, 5)
    chosen = frame["c4"].notna()
    whole = TSDataSampler(frame, "2020-01-13", None, 6, fillna_type="ffill+bfill", flt_data=chosen)
    stack = RowStack()
    for part in parts_of(frame, size):
        stored = stack.add(part)
        np.testing.assert_array_equal(stored, part.to_numpy())
    assert stack.frame().equals(frame)
    joined = TSDataSampler.from_rows(stack, "2020-01-13", None, 6, "ffill+bfill", chosen.to_numpy())
    assert joined.data_arr.tobytes() == whole.data_arr.tobytes()
    assert joined.get_index().equals(whole.get_index())
    assert joined.columns.equals(whole.columns)
    np.testing.assert_array_equal(joined[:], whole[:])
    np.testing.assert_array_equal(joined.newest(3, 9), whole[3:9][:, -1])
    later = joined.between("2020-02-03", None)
    np.testing.assert_array_equal(later[:], whole.between("2020-02-03", None)[:])
    assert not len(stack)


def test_float64_columns_are_rounded_as_in_a_frame():
    frame = rows_of(9, 4, 3).astype({"c1": "float64"}) / 3
    stack = RowStack()
    stack.add(frame)
    joined = TSDataSampler.from_rows(stack, None, None, 2)
    assert joined.data_arr.tobytes() == TSDataSampler(frame, None, None, 2).data_arr.tobytes()


def test_errors():
    frame = rows_of(5, 3, 3)
    stack = RowStack()
    with pytest.raises(ValueError, match="was given none"):
        TSDataSampler.from_rows(stack, None, None, 2)
    stack.add(frame)
    with pytest.raises(ValueError, match="expected those of the part before"):
        stack.add(frame[["c0", "c1"]])
    with pytest.raises(ValueError, match="step_len is 0"):
        TSDataSampler.from_rows(stack, None, None, 0)
    stack.add(frame.iloc[2:3])
    with pytest.raises(ValueError, match="1 rows are repeated"):
        TSDataSampler.from_rows(stack, None, None, 2)


@pytest.mark.parametrize("share", [1, 3, 16, 100])
def test_rows_are_arranged_in_place(share):
    draw = np.random.default_rng(share)
    matrix = draw.standard_normal((50, 17)).astype(np.float32)
    place, before = draw.permutation(50), matrix.copy()
    arrange(matrix, place, share)
    np.testing.assert_array_equal(matrix[place], before)


def test_rows_are_held_once():
    """The peak is the array, a sixteenth of it, its index, and one part."""
    part_rows, width, n_parts = 2_000, 60, 25
    panel = 4 * part_rows * width * n_parts
    days, names = pd.bdate_range("2020-01-01", periods=n_parts * 10), range(200)
    cells = np.zeros((part_rows, width), dtype=np.float32)
    labels = [f"n{k:03d}" for k in names]

    def parts():
        for first in range(0, len(days), 10):
            index = pd.MultiIndex.from_product([days[first : first + 10], labels])
            yield pd.DataFrame(cells, index.set_names(["datetime", "instrument"]), copy=False)

    tracemalloc.start()
    try:
        stack = RowStack()
        for part in parts():
            stack.add(part)
        sampler = TSDataSampler.from_rows(stack, None, None, 5, "ffill+bfill")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sampler.data_arr.nbytes >= panel
    assert peak < 1.4 * panel  # a copy of the rows would make it more than 2
