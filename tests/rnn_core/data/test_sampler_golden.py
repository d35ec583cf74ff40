"""TSDataSampler against pyqlib's recorded windows of two real markets (oracle: golden).

pyqlib's TSDatasetH fetches the learn frame from step_len sessions of the infer frame before the
segment to the segment's end, and its models set fillna "ffill+bfill".
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import DataHandlerLP, DropnaLabel, TSDataSampler, TSDatasetH

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


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_the_arrays_give_pyqlibs_windows(market, golden_dir):
    """The windows are put together from qlib's arrays, and filled, as qlib does it."""
    with np.load(golden_dir / f"{market}_windows.npz") as stored:
        want = dict(stored)
    sampler = TSDataSampler(fetched(golden_dir, market), *VALID[market], STEP)
    index = sampler.data_index[want["position"]]
    assert index.get_level_values("instrument").tolist() == want["instrument"].tolist()
    days = index.get_level_values("datetime").strftime("%Y-%m-%d")
    assert days.tolist() == want["date"].tolist()
    places, cells = sampler.idx_arr, sampler.idx_map
    for k, position in enumerate(want["position"]):
        row, col = cells[position]
        window = pd.Series(places[max(0, row - STEP + 1) : row + 1, col])
        window = window.reindex(range(len(window) - STEP, len(window))).ffill().bfill()
        rows = window.fillna(sampler.nan_idx).astype(int)
        np.testing.assert_array_equal(sampler.data_arr[rows], want["window"][k])


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_prepare_seg_pads_as_pyqlib(market, golden_dir):
    """A handler of the recorded infer rows, with the label where the learn rows have one."""
    infer = pd.read_parquet(golden_dir / f"{market}_infer.parquet")
    learn = pd.read_parquet(golden_dir / f"{market}_learn.parquet")
    keys = ["date", "instrument"]
    label = learn.columns[-1]  # named by its expression, Q23
    features = [name for name in learn.columns if name not in (*keys, label)]
    joined = infer[[*keys, *features]].merge(learn[[*keys, label]], how="left", on=keys)
    frame = joined.rename(columns={"date": "datetime"}).set_index(["datetime", "instrument"])
    frame.columns = pd.MultiIndex.from_tuples(
        [("label" if name == label else "feature", name) for name in frame.columns]
    )
    handler = DataHandlerLP(frame, learn_processors=[DropnaLabel()])
    dataset = TSDatasetH(handler, {"valid": VALID[market]}, STEP)
    assert dataset.cal == sorted(infer["date"].unique())
    sampler = dataset._prepare_seg(
        slice(*VALID[market]), col_set=["feature", "label"], data_key="learn"
    )
    sampler.config(fillna_type="ffill+bfill")
    with np.load(golden_dir / f"{market}_windows.npz") as stored:
        assert len(sampler) == int(stored["length"])
        np.testing.assert_array_equal(sampler[stored["position"]], stored["window"])
