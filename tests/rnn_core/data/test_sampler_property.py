"""TSDataSampler against a plain-Python reading of its rules, for random holes and edges.

Oracle: `oracle_window`, which walks the window one session at a time over a dict of rows.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.data import TSDataSampler

FILLS = ["none", "ffill", "ffill+bfill"]


def oracle_window(rows: dict, dates: list, t: int, name: str, step: int, fill: str) -> list[float]:
    """The window of `name` that ends at dates[t], by definition."""
    found = [rows.get((dates[u], name)) if u >= 0 else None for u in range(t - step + 1, t + 1)]
    if fill != "none":
        for k in range(1, step):
            if found[k] is None:
                found[k] = found[k - 1]
    if fill == "ffill+bfill":
        for k in range(step - 2, -1, -1):
            if found[k] is None:
                found[k] = found[k + 1]
    return [math.nan if value is None else value for value in found]


@st.composite
def cases(draw):
    n_dates, n_names = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    held = draw(
        st.lists(st.booleans(), min_size=n_dates * n_names, max_size=n_dates * n_names).filter(any)
    )
    dates = pd.bdate_range("2024-01-01", periods=n_dates)
    keys = [(d, f"N{i}") for d in dates for i in range(n_names)]
    keys = [key for key, there in zip(keys, held, strict=True) if there]
    keys = draw(st.permutations(keys))
    step = draw(st.sampled_from([1, 2, 3, n_dates, n_dates + 5]))
    bounds = [None, *pd.date_range("2023-12-30", dates[-1] + pd.Timedelta(days=2))]
    start, end = draw(st.sampled_from(bounds)), draw(st.sampled_from(bounds))
    keep = draw(st.none() | st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    cells = draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    return keys, step, start, end, keep, cells


@settings(max_examples=300, deadline=None)
@given(cases())
def test_equals_the_definition(case):
    keys, step, start, end, keep, cells = case
    index = pd.MultiIndex.from_tuples(keys, names=["datetime", "instrument"])
    x = np.where(cells, np.nan, np.arange(1.0, len(keys) + 1))  # a NaN cell is never filled
    frame = pd.DataFrame({"x": x, "place": np.arange(float(len(keys)))}, index=index)
    before = frame.copy(deep=True)
    flt = None if keep is None else pd.Series(keep, index=index)
    sampler = TSDataSampler(frame, start, end, step, flt_data=flt)

    rows = dict(zip(keys, frame["x"], strict=True))
    dates = sorted({d for d, _ in keys})
    kept = dict.fromkeys(keys, True) if keep is None else dict(zip(keys, keep, strict=True))
    samples = [
        (d, n)
        for n, d in sorted((n, d) for d, n in keys)
        if kept[d, n] and (start is None or d >= start) and (end is None or d <= end)
    ]
    assert sampler.get_index().tolist() == samples
    for fill in FILLS:
        sampler.config(fillna_type=fill)
        want = [oracle_window(rows, dates, dates.index(d), n, step, fill) for d, n in samples]
        want = np.array(want).reshape(len(samples), step)
        got = sampler[list(range(len(samples)))]
        np.testing.assert_array_equal(got[:, :, 0], want)
        own = [keys.index(key) for key in samples]
        np.testing.assert_array_equal(got[:, -1, 1], own)  # the window ends in the sample's row
        np.testing.assert_array_equal(sampler.batch(np.arange(len(samples))).numpy(), got)
        for k in range(0, len(samples), 3):
            np.testing.assert_array_equal(sampler[k], got[k])
        for d, n in {(d, n) for d in dates for _, n in keys}:  # samples or not, rows or not
            asked = sampler[d, n][:, 0]
            expected = oracle_window(rows, dates, dates.index(d), n, step, fill)
            np.testing.assert_array_equal(asked, expected)
    pd.testing.assert_frame_equal(frame, before)
