"""TSDataSampler: qlib's interface, its repairs, and batches. Oracles: pyqlib's recorded windows
(fixtures/make_dataset.py), and windows read off small frames by eye."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_core.data import TSDataSampler

RANGES = [
    ("2020-01-01", "2020-03-24"),
    ("2020-02-03", "2020-02-28"),
    ("2020-01-04", "2020-01-05"),
    ("2020-03-20", "2021-01-01"),
]
FILLS = ["none", "ffill", "ffill+bfill"]


@pytest.fixture
def small() -> pd.DataFrame:
    """A on sessions 1 2 4 5, B on 2 3; session 3 has B only."""
    day = pd.to_datetime([f"2024-01-0{d}" for d in (1, 2, 2, 3, 4, 5)])
    index = pd.MultiIndex.from_arrays([day, list("AABBAA")], names=["datetime", "instrument"])
    return pd.DataFrame({"x": [10.0, 11, 20, 21, 12, 13], "y": [0.0, 1, 2, 3, 4, 5]}, index=index)


@pytest.mark.parametrize("step", [1, 6, 70])
@pytest.mark.parametrize("k", range(len(RANGES)))
@pytest.mark.parametrize("kept", ["all", "kept"])
def test_equals_pyqlib(step, k, kept, frame, recorded):
    flt = None if kept == "all" else frame[("label", "LABEL0")].notna()
    sampler = TSDataSampler(frame.iloc[:, [0, 7]], *RANGES[k], step, flt_data=flt)
    base = f"windows/{step}/{k}/{kept}"
    want = frame.index[recorded[f"{base}/row"]]
    assert len(sampler) == len(want)
    assert sampler.get_index().tolist() == want.tolist()
    pick = range(0, len(sampler), 1 if step == 6 else 7)
    for fill in FILLS:
        sampler.config(fillna_type=fill)
        windows = recorded[f"{base}/{fill}"]
        np.testing.assert_array_equal(sampler[list(pick)], windows)
        np.testing.assert_array_equal(sampler.batch(list(pick)).numpy(), windows)


@pytest.mark.parametrize(
    ("fill", "want"),
    [
        ("none", [[np.nan, 10, 11], [10, 11, np.nan], [np.nan, np.nan, 20], [np.nan, 20, 21]]),
        ("ffill", [[np.nan, 10, 11], [10, 11, 11], [np.nan, np.nan, 20], [np.nan, 20, 21]]),
        ("ffill+bfill", [[10, 10, 11], [10, 11, 11], [20, 20, 20], [20, 20, 21]]),
    ],
)
def test_windows_by_eye(small, fill, want):
    sampler = TSDataSampler(small, None, None, 3, fillna_type=fill)
    keys = [("2024-01-02", "A"), ("2024-01-03", "A"), ("2024-01-02", "B"), ("2024-01-03", "B")]
    for key, window in zip(keys, want, strict=True):
        np.testing.assert_array_equal(sampler[key][:, 0], window)


def test_a_hole_is_filled_from_inside_the_window_only(small):
    sampler = TSDataSampler(small, None, None, 2, fillna_type="ffill")
    np.testing.assert_array_equal(sampler["2024-01-04", "A"][:, 0], [np.nan, 12])
    sampler.config(fillna_type="ffill+bfill")
    np.testing.assert_array_equal(sampler["2024-01-04", "A"][:, 0], [12, 12])
    np.testing.assert_array_equal(sampler["2024-01-05", "B"][:, 0], [np.nan, np.nan])


def test_order_and_index(small):
    sampler = TSDataSampler(small.sample(frac=1, random_state=0), "2024-01-02", "2024-01-04", 2)
    index = sampler.get_index()
    assert index.names == ["datetime", "instrument"]
    assert [(f"{d:%d}", i) for d, i in index] == [
        ("02", "A"),
        ("04", "A"),
        ("02", "B"),
        ("03", "B"),
    ]
    assert not sampler.empty
    assert TSDataSampler(small, "2025-01-01", None, 2).empty


def test_every_way_to_ask(small):
    sampler = TSDataSampler(small, None, None, 2)
    whole = sampler[list(range(6))]
    assert whole.shape == (6, 2, 2)
    np.testing.assert_array_equal(sampler[3], whole[3])
    np.testing.assert_array_equal(sampler[np.int32(3)], whole[3])
    np.testing.assert_array_equal(sampler[1:5:2], whole[[1, 3]])
    np.testing.assert_array_equal(sampler[np.array([5, 0, 0])], whole[[5, 0, 0]])
    np.testing.assert_array_equal(np.stack(list(sampler)), whole)
    assert sampler[[]].shape == (0, 2, 2)
    last = sampler[pd.Timestamp("2024-01-07"), "A"]  # taken down to the last session, the 5th
    np.testing.assert_array_equal(last[:, 0], [12, 13])


def test_lookups_that_have_no_answer(small):
    sampler = TSDataSampler(small, None, None, 2)
    for number in (6, -1):
        with pytest.raises(KeyError, match=rf"sample {number} is outside \[0, 6\)"):
            sampler[number]
        with pytest.raises(KeyError, match="outside"):
            sampler[[0, number]]
        with pytest.raises(KeyError, match="outside"):
            sampler.batch(torch.tensor([0, number]))
    with pytest.raises(KeyError, match=r"no instrument 'AA' among 2; did you mean 'A'"):
        sampler["2024-01-02", "AA"]
    with pytest.raises(KeyError, match="2023-12-31 is before the first session 2024-01-01"):
        sampler["2023-12-31", "A"]
    with pytest.raises(TypeError, match="asked for by number"):
        sampler[np.array([True, False, True, False, False, False])]
    with pytest.raises(TypeError, match="asked for by number"):
        sampler["A"]
    with pytest.raises(TypeError, match="expected integers"):
        sampler.batch(torch.ones(6, dtype=torch.bool))


def test_the_frame_is_kept_and_windows_are_copies(small):
    before = small.copy(deep=True)
    sampler = TSDataSampler(small, None, None, 3, fillna_type="ffill+bfill")
    pd.testing.assert_frame_equal(small, before)
    want = sampler[:].copy()
    sampler[2][:] = -1
    sampler[0:3][:] = -1
    sampler["2024-01-05", "A"][:] = -1
    sampler.batch([0, 1, 2]).fill_(-1)
    small.iloc[:, :] = -1
    np.testing.assert_array_equal(sampler[:], want)


def test_types(small):
    assert TSDataSampler(small, None, None, 2).dtype == np.float32  # though the frame is float64
    wide = TSDataSampler(small, None, None, 2, dtype="float64")
    assert wide[0].dtype == np.float64
    assert wide.batch([0]).dtype == torch.float64
    with pytest.raises(TypeError, match="int32 holds no NaN"):
        TSDataSampler(small, None, None, 2, dtype="int32")


def test_flt_data_filters_samples_but_not_windows(small):
    flt = pd.Series([True, np.nan, True], index=small.index[[0, 1, 4]], dtype=object)
    for given in (flt, flt.to_frame("keep")):
        sampler = TSDataSampler(small, None, None, 3, fillna_type="none", flt_data=given)
        assert [(f"{d:%d}", i) for d, i in sampler.get_index()] == [("01", "A"), ("04", "A")]
        np.testing.assert_array_equal(sampler[1][:, 0], [11, np.nan, 12])
        np.testing.assert_array_equal(sampler["2024-01-03", "B"][:, 0], [np.nan, 20, 21])


def test_between_shares_the_rows(small):
    sampler = TSDataSampler(small, "2024-01-01", "2024-01-02", 2, fillna_type="ffill")
    sampler.batch([0])
    later = sampler.between("2024-01-03", None)
    whole = TSDataSampler(small, "2024-01-03", None, 2, fillna_type="ffill")
    assert later.get_index().tolist() == whole.get_index().tolist()
    np.testing.assert_array_equal(later[:], whole[:])
    np.testing.assert_array_equal(later.batch(slice(None)).numpy(), whole[:])
    assert len(sampler) == 3  # the parent keeps its own list
    assert later._store is sampler._store
    assert later._store.on_device.keys() == {"cpu"}
    later.config(fillna_type="none")
    assert sampler.fillna_type == "ffill"


def test_batch_takes_every_kind_of_index(small):
    sampler = TSDataSampler(small, None, None, 2, fillna_type="ffill+bfill")
    want = sampler[[4, 1]]
    for indices in ([4, 1], np.array([4, 1]), torch.tensor([4, 1]), torch.tensor([4, 1]).int()):
        got = sampler.batch(indices)
        assert got.device.type == "cpu"
        np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(sampler.batch(4, device="cpu").numpy(), want[:1])
    assert sampler.batch([]).shape == (0, 2, 2)


def test_the_cpu_tensor_is_the_store_itself(small):
    sampler = TSDataSampler(small, None, None, 2)
    sampler.batch([0])
    matrix = sampler._store.on_device["cpu"].matrix
    assert matrix.data_ptr() == sampler._store.matrix.ctypes.data


def test_pickled_into_workers(small):
    sampler = TSDataSampler(small, None, None, 2, fillna_type="ffill")
    sampler.batch([0])
    back = pickle.loads(pickle.dumps(sampler))  # noqa: S301
    assert not back._store.on_device
    np.testing.assert_array_equal(back[:], sampler[:])
    for workers, start in ((0, None), (2, "fork"), (1, "spawn")):
        loader = DataLoader(
            sampler,
            batch_size=4,
            num_workers=workers,
            multiprocessing_context=start,
            timeout=120 if workers else 0,
        )
        got = torch.cat(list(loader)).numpy()
        np.testing.assert_array_equal(got, sampler[:])


def test_construction_errors(small):
    with pytest.raises(ValueError, match="step_len is 0, expected 1 or more"):
        TSDataSampler(small, None, None, 0)
    with pytest.raises(ValueError, match="fillna_type is 'bfill', expected one of 'none', 'ffill'"):
        TSDataSampler(small, None, None, 2, fillna_type="bfill")
    with pytest.raises(ValueError, match=r"frame of shape \(0, 2\)"):
        TSDataSampler(small.iloc[:0], None, None, 2)
    with pytest.raises(ValueError, match=r"call data\.swaplevel\(\) first"):
        TSDataSampler(small.swaplevel(), None, None, 2)
    with pytest.raises(ValueError, match=r"2 rows are repeated, the first is .*2024-01-02.*'B'"):
        TSDataSampler(pd.concat([small, small.iloc[[2, 4]]]), None, None, 2)
    with pytest.raises(TypeError, match=r"column word is .*expected a number"):
        TSDataSampler(small.assign(word="a"), None, None, 2)
    with pytest.raises(ValueError, match="levels 'datetime' and 'instrument'"):
        TSDataSampler(small.reset_index(), None, None, 2)
    with pytest.raises(TypeError, match="flt_data is a frame of 2 columns"):
        TSDataSampler(small, None, None, 2, flt_data=small > 0)


def test_sizes(frame):
    sampler = TSDataSampler(frame, None, None, 20)
    assert repr(sampler) == "TSDataSampler(416 samples of [20, 8] float32, 'none')"
    assert sampler.columns.tolist() == frame.columns.tolist()
    rows, index, lists = 417 * 8 * 4, 9 * (60 + 20) * 4, 2 * 416 * 8
    assert sampler.nbytes == rows + index + lists
    assert sampler._store.table.dtype == np.int32
