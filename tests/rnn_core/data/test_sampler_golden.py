"""TSDataSampler against pyqlib's recorded windows of two real markets (oracle: golden).

pyqlib's TSDatasetH fetches the learn frame from step_len sessions of the infer frame before the
segment to the segment's end, and its models set fillna "ffill+bfill".
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import TSDataSampler

STEP = 20
VALID = {"us": ("2016-07-01", "2017-03-31"), "cn": ("2023-07-03", "2024-06-28")}


def fetched(golden_dir, market):
    """The rows that TSDatasetH hands to its sampler for the valid segment."""
    infer = pd.read_parquet(golden_dir / f"{market}_infer.parquet", columns=["date"])
    calendar = sorted(infer["date"].unique())
    start, end = map(pd.Timestamp, VALID[market])
    first = calendar[max(0, bisect_left(calendar, start) - STEP)]
    learn = pd.read_parquet(golden_dir / f"{market}_learn.parquet")
    learn = learn.rename(columns={"date": "datetime"}).set_index(["datetime", "instrument"])
    return learn.loc[(slice(first, end), slice(None)), :]


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_equals_pyqlib(market, golden_dir):
    with np.load(golden_dir / f"{market}_windows.npz") as stored:
        want = dict(stored)
    sampler = TSDataSampler(fetched(golden_dir, market), *VALID[market], STEP)
    sampler.config(fillna_type="ffill+bfill")
    assert len(sampler) == int(want["length"])
    index = sampler.get_index()[want["position"]]
    assert index.get_level_values(0).strftime("%Y-%m-%d").tolist() == want["date"].tolist()
    assert index.get_level_values(1).tolist() == want["instrument"].tolist()
    np.testing.assert_array_equal(sampler[want["position"]], want["window"])
    np.testing.assert_array_equal(sampler.batch(want["position"]).numpy(), want["window"])
