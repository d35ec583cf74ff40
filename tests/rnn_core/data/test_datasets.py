"""DatasetH and TSDatasetH: segments of a handler as rows and as windows.

Oracles: pyqlib's own datasets (fixtures/make_handler.py; golden), and `fetch` by hand.
"""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import Alpha158, DataHandlerLP, DatasetH, TSDataSampler, TSDatasetH
from rnn_core.features import ALPHA158_20

FIT = {"fit_start_time": "2020-01-10", "fit_end_time": "2020-02-14"}
FEATURES = ["NORMAL", "TIES", "HOLES", "TINY"]
SEGMENTS = {
    "first": ("2020-01-01", "2020-01-14"),
    "middle": ("2020-02-03", "2020-02-28"),
    "weekend": ("2020-02-08", "2020-02-16"),
    "last": ("2020-03-16", "2021-01-01"),
}
BOTH = ["feature", "label"]

MARKETS = {
    "us": {
        "train": ("2013-02-08", "2016-06-30"),
        "valid": ("2016-07-01", "2017-03-31"),
        "test": ("2017-04-03", "2018-02-07"),
    },
    "cn": {
        "train": ("2020-01-02", "2023-06-30"),
        "valid": ("2023-07-03", "2024-06-28"),
        "test": ("2024-07-01", "2025-04-07"),
    },
}


def step(name, **kwargs):
    return {"class": name, "kwargs": kwargs}


@pytest.fixture(scope="module")
def made(fixtures_dir):
    with np.load(fixtures_dir / "handler.npz") as stored:
        return dict(stored)


@pytest.fixture
def data(frame):
    """The frame of fixtures/make_handler.py."""
    df = frame[[("feature", n) for n in FEATURES] + [("label", "LABEL0")]].copy()
    df[("keep", "KEEP")] = (df[("feature", "NORMAL")] > 0).astype("float32")
    return df


@pytest.fixture
def handler(data):
    """The handler of fixtures/make_handler.py."""
    return DataHandlerLP(
        data,
        shared_processors=[step("ZScoreNorm", fields_group="feature")],
        infer_processors=[
            step("MinMaxNorm", fields_group="feature"),
            step("Fillna", fields_group="feature"),
        ],
        learn_processors=[
            "DropnaLabel",
            step("RobustZScoreNorm", fields_group="feature"),
            step("CSRankNorm", fields_group="label"),
        ],
        semantics="qlib",
        **FIT,
    )


@pytest.mark.parametrize("key", ["infer", "learn"])
@pytest.mark.parametrize("name", SEGMENTS)
@pytest.mark.parametrize("flt_col", [None, "keep"])
def test_windows_equal_pyqlibs(flt_col, name, key, handler, data, made):
    """Padding is one session more than windows need, counted on the infer view."""
    dataset = TSDatasetH(handler, SEGMENTS, step_len=6, flt_col=flt_col)
    sampler = dataset.prepare(name, col_set=BOTH, data_key=key)
    base = f"windows/{flt_col}/{name}/{key}"
    pd.testing.assert_index_equal(
        sampler.get_index().remove_unused_levels(),
        data.index[made[f"{base}/row"]].remove_unused_levels(),
    )
    for fill in ("none", "ffill+bfill"):
        sampler.config(fillna_type=fill)
        got = sampler[list(range(0, len(sampler), 5))]
        np.testing.assert_allclose(got, made[f"{base}/{fill}"], rtol=2e-5, atol=2e-6)


@pytest.mark.golden
@pytest.mark.parametrize("market", MARKETS)
def test_from_bars_to_windows_as_pyqlib(market, golden_dir):
    """Bars to Alpha158 to 20 standardised features to windows, bit for bit but for the ranks."""
    segments = MARKETS[market]
    handler = Alpha158(
        bars=golden_dir / f"{market}_panel.parquet",
        start_time=segments["train"][0],
        end_time=segments["test"][1],
        fit_start_time=segments["train"][0],
        fit_end_time=segments["train"][1],
        infer_processors=[
            step("FilterCol", fields_group="feature", col_list=list(ALPHA158_20)),
            step("RobustZScoreNorm", fields_group="feature", clip_outlier=True),
            step("Fillna", fields_group="feature"),
        ],
        learn_processors=["DropnaLabel", step("CSRankNorm", fields_group="label")],
        label=["Ref($close, -2) / Ref($close, -1) - 1"],
        semantics="qlib",
    )
    for key in ("infer", "learn"):
        want = pd.read_parquet(golden_dir / f"{market}_{key}.parquet")
        want = want.rename(columns={"date": "datetime"}).set_index(["datetime", "instrument"])
        want, got = want.sort_index(), handler.fetch(data_key=key)
        assert got.columns.tolist()[:-1] == want.columns.tolist()[:-1]
        assert got.columns[-1] == "LABEL0"
        assert (got.dtypes == np.float32).all()
        assert got.index.equals(want.index)
        np.testing.assert_allclose(got.to_numpy(), want.to_numpy(), rtol=1e-4, atol=1e-5)
    with np.load(golden_dir / f"{market}_windows.npz") as stored:
        want = dict(stored)
    dataset = TSDatasetH(handler, segments, step_len=20)
    sampler = dataset.prepare("valid", col_set=BOTH, data_key="learn")
    sampler.config(fillna_type="ffill+bfill")
    assert len(sampler) == int(want["length"])
    index = sampler.get_index()[want["position"]]
    assert index.get_level_values(0).strftime("%Y-%m-%d").tolist() == want["date"].tolist()
    assert index.get_level_values(1).tolist() == want["instrument"].tolist()
    np.testing.assert_allclose(sampler[want["position"]], want["window"], rtol=1e-4, atol=1e-5)


def test_rows_of_segments(handler):
    dataset = DatasetH(handler, SEGMENTS)
    want = handler.fetch(slice(*SEGMENTS["middle"]), col_set=BOTH, data_key="learn")
    pd.testing.assert_frame_equal(dataset.prepare("middle", BOTH, "learn"), want)
    several = dataset.prepare(["middle", "last"], col_set=BOTH, data_key="learn")
    pd.testing.assert_frame_equal(several[0], want)
    assert [len(f) for f in several] == [len(want), len(dataset.prepare("last", data_key="learn"))]
    assert isinstance(dataset.prepare(("middle",)), list)
    by_slice = dataset.prepare(slice(*SEGMENTS["middle"]), col_set=BOTH, data_key="learn")
    pd.testing.assert_frame_equal(by_slice, want)
    assert dataset.prepare("middle").columns.tolist() == [*FEATURES, "LABEL0", "KEEP"]


@pytest.mark.parametrize(
    "bounds",
    [
        ("2020-02-03", "2020-02-28"),
        ["2020-02-01", datetime.date(2020, 3, 1)],
        (pd.Timestamp("2020-02-03"), np.datetime64("2020-02-28")),
        slice("2020-02-03", "2020-02-28"),
        ("2020-02", "2020-02"),
    ],
)
def test_bounds_of_any_kind(bounds, handler):
    want = DatasetH(handler, SEGMENTS).prepare("middle")
    pd.testing.assert_frame_equal(DatasetH(handler, {"x": bounds}).prepare("x"), want)
    samplers = [
        TSDatasetH(handler, {"x": b}, step_len=6).prepare("x", col_set=BOTH)
        for b in (bounds, SEGMENTS["middle"])
    ]
    assert samplers[0].get_index().equals(samplers[1].get_index())
    np.testing.assert_array_equal(samplers[0][:], samplers[1][:])
    assert len(samplers[0]) == len(want)


def test_open_ends(handler):
    dataset = TSDatasetH(handler, {"all": (None, None), "from": ("2020-03-02", None)}, step_len=3)
    assert len(dataset.prepare("all")) == len(handler.fetch())
    assert len(dataset.prepare("from")) == len(handler.fetch(slice("2020-03-02", None)))


def test_a_list_of_names_gives_samplers(handler):
    dataset = TSDatasetH(handler, SEGMENTS, step_len=4)
    samplers = dataset.prepare(["first", "middle"], col_set=BOTH, data_key="learn")
    assert all(isinstance(s, TSDataSampler) for s in samplers)
    assert all(s.step_len == 4 and s.dtype == np.float32 for s in samplers)  # Q9
    assert dataset.prepare("first", dtype=np.float64).dtype == np.float64
    assert TSDatasetH(handler, SEGMENTS).step_len == 30


def test_handler_and_windows_do_not_share_what_is_written(handler):
    """Q10: in qlib the frame is emptied, and a window is a view of the store."""
    before = {k: handler.fetch(col_set="__raw", data_key=k).copy() for k in ("raw", "learn")}
    sampler = TSDatasetH(handler, SEGMENTS, step_len=6).prepare("middle", BOTH, "learn")
    window = sampler[9]
    kept = window.copy()
    window[:] = 99.0
    np.testing.assert_array_equal(sampler[9], kept)
    for key, want in before.items():
        pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key=key), want)


def test_an_unknown_name_is_an_error(handler):
    """Q11: in qlib the next instrument answers."""
    sampler = TSDatasetH(handler, SEGMENTS, step_len=6).prepare("middle", col_set=BOTH)
    with pytest.raises(KeyError, match="'I33'"):
        sampler["2020-02-10", "I33"]


def test_windows_of_training_can_be_those_of_serving(handler):
    """Q12: by default the learn view's missing rows are gaps; "infer" only takes away samples."""
    samplers = {
        (rows, key): TSDatasetH(handler, SEGMENTS, 6, window_rows=rows).prepare("last", BOTH, key)
        for rows in ("fetched", "infer")
        for key in ("infer", "learn")
    }
    served, learn = samplers["infer", "infer"], samplers["infer", "learn"]
    gaps = samplers["fetched", "learn"]
    assert learn.get_index().equals(gaps.get_index())  # the same samples
    place = served.get_index().get_indexer(learn.get_index())
    assert len(learn) < len(served)
    np.testing.assert_array_equal(learn[:][..., :-1], served[place][..., :-1])
    assert not np.array_equal(gaps[:][..., :-1], learn[:][..., :-1], equal_nan=True)
    want = handler.fetch(col_set="label", data_key="learn")["LABEL0"].loc[learn.get_index()]
    np.testing.assert_array_equal(learn[:][:, -1, -1], want.to_numpy())
    flat = TSDatasetH(handler, SEGMENTS, 6, window_rows="infer").prepare("last", data_key="learn")
    assert flat.columns.tolist() == [*FEATURES, "LABEL0", "KEEP"]
    chosen = TSDatasetH(handler, SEGMENTS, 6, flt_col="keep", window_rows="infer")
    kept = chosen.prepare("last", BOTH, "learn").get_index()
    keep = handler.fetch(col_set="keep", data_key="learn")["KEEP"].loc[learn.get_index()]
    assert kept.equals(learn.get_index()[keep.to_numpy() > 0])


def test_config_and_setup(handler, data):
    dataset = TSDatasetH(handler, SEGMENTS, step_len=6)
    dataset.config(segments={"x": ("2020-02-03", "2020-02-28")}, step_len=9)
    assert dataset.prepare("x").step_len == 9
    assert list(dataset.segments) == ["x"]
    state = handler.state()
    dataset.setup_data({"init_type": "load_state", "data": data.loc["2020-02-10":]})
    assert handler.state() == state
    index = dataset.prepare("x").get_index()
    assert index.get_level_values(0).min() == pd.Timestamp("2020-02-10")  # the calendar is new
    with pytest.raises(TypeError, match="no settings"):
        dataset.config(handler_kwargs={"start_time": "2020-01-01"})


def test_errors(handler):
    dataset = TSDatasetH(handler, SEGMENTS)
    with pytest.raises(KeyError, match=r"no segment 'midle'.*did you mean 'middle'"):
        dataset.prepare("midle")
    with pytest.raises(KeyError, match=r"no segment '2020-01-01'.*give slice\(start, end\)"):
        dataset.prepare(("2020-01-01", "2020-02-01"))
    with pytest.raises(ValueError, match="the slice has step 2"):
        dataset.prepare(slice(None, None, 2))
    with pytest.raises(ValueError, match="no session of the handler lies between 2031"):
        dataset.prepare(slice("2031-01-01", None))
    with pytest.raises(ValueError, match="names 4 columns, expected one"):
        dataset.prepare("middle", flt_col="feature")
    with pytest.raises(ValueError, match="segment 'x' ends on 2020-01-01, before it starts"):
        DatasetH(handler, {"x": ("2020-02-01", "2020-01-01")})
    with pytest.raises(TypeError, match=r"segment 'x' is '2020', expected \(start, end\)"):
        DatasetH(handler, {"x": "2020"})
    with pytest.raises(TypeError, match="expected a mapping of name"):
        DatasetH(handler, [("a", "b")])
    with pytest.raises(TypeError, match="handler is DataFrame, expected a DataHandlerLP"):
        DatasetH(handler.fetch(), SEGMENTS)
    with pytest.raises(ValueError, match="step_len is 0, expected 1 or more"):
        TSDatasetH(handler, SEGMENTS, step_len=0)
    with pytest.raises(ValueError, match="window_rows is 'learn', expected"):
        TSDatasetH(handler, SEGMENTS, window_rows="learn")
