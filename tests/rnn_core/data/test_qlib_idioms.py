"""Handlers, datasets and samplers are used as users of qlib use them.

Oracles: pyqlib's recorded feature tables and windows (tests/fixtures), the same set given as
`feature_set`, and the messages.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha158,
    Alpha158DL,
    Alpha158vwap,
    Alpha360,
    Alpha360DL,
    DataHandlerLP,
    DatasetH,
    TSDataSampler,
    TSDatasetH,
)
from rnn_core.features import FeatureSet
from rnn_core.qlib_hooks import DATASET_HOOKS, HANDLER_HOOKS, SAMPLER_HOOKS

SESSIONS = pd.bdate_range("2020-01-01", periods=60)
NEXT = "Ref($close, -1)/$close - 1"
TWO = (["$close/$open", "Mean($close, 5)/$close"], ["BODY", "MEAN5"])


def columns(handler, group):
    return handler.get_cols(group)


@pytest.mark.parametrize("base", [Alpha158, Alpha360, Alpha158vwap])
@pytest.mark.parametrize("form", ["pair", "tuples", "static"])
def test_get_feature_config_decides_the_features(base, form, bars):
    """Oracle: the same expressions given as `feature_set`."""

    class Pair(base):
        def get_feature_config(self):
            return TWO

    class Tuples(base):
        def get_feature_config(self):
            return tuple(TWO[0]), tuple(TWO[1])

    class Static(base):
        @staticmethod
        def get_feature_config():
            return list(TWO[0]), list(TWO[1])

    kind = {"pair": Pair, "tuples": Tuples, "static": Static}[form]
    plain = {"bars": bars, "infer_processors": [], "learn_processors": []}
    got = kind(**plain)
    want = base(**plain, feature_set=FeatureSet(dict(zip(TWO[1], TWO[0], strict=True))))
    assert columns(got, "feature") == TWO[1]
    pd.testing.assert_frame_equal(got.fetch(), want.fetch(), check_exact=True)


def test_expressions_without_names_are_their_own_names(bars):
    class Unnamed(Alpha158):
        def get_feature_config(self):
            return TWO[0]

    assert columns(Unnamed(bars=bars), "feature") == TWO[0]


@pytest.mark.parametrize("base", [Alpha158, Alpha360])
def test_get_label_config_decides_the_label(base, bars):
    """Oracle: the same label given as `label`; an argument goes before the method, as in qlib."""

    class Next(base):
        def get_label_config(self):
            return [NEXT], ["LABEL0"]

    class Unnamed(base):
        def get_label_config(self):
            return [NEXT]

    class Named(base):
        def get_label_config(self):
            return [NEXT, "Ref($close, -5)/$close - 1"], ["NEXT", "WEEK"]

    plain = {"bars": bars, "infer_processors": [], "learn_processors": []}
    want = base(**plain, label=NEXT).fetch(col_set="label")
    pd.testing.assert_frame_equal(Next(**plain).fetch(col_set="label"), want)
    pd.testing.assert_frame_equal(Unnamed(**plain).fetch(col_set="label"), want)
    named = Named(**plain)
    assert columns(named, "label") == ["NEXT", "WEEK"]
    np.testing.assert_array_equal(named.fetch(col_set="label")["NEXT"], want["LABEL0"])
    stock = base(**plain).fetch(col_set="label")
    given = Next(**plain, label=["Ref($close, -2)/Ref($close, -1) - 1"])
    pd.testing.assert_frame_equal(given.fetch(col_set="label"), stock)


def test_a_saved_handler_keeps_overridden_columns(bars, tmp_path):
    class Mine(Alpha158):
        def get_feature_config(self):
            return TWO

        def get_label_config(self):
            return [NEXT], ["NEXT"]

    handler = Mine(bars=bars)
    handler.save(tmp_path / "handler.json")
    for kind in (Mine, Alpha158):
        loaded = kind.load(tmp_path / "handler.json", bars=bars)
        pd.testing.assert_frame_equal(loaded.fetch(), handler.fetch())


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (([NEXT], ["A", "B"]), "has 1 expressions and 2 names"),
        ({"feature": [NEXT]}, "expected a pair of lists"),
        (([NEXT], ["A"]), "looks 1 sessions ahead"),
        ([], "holds no feature"),
        (["$close +"], "get_feature_config of Mine"),
    ],
)
def test_what_is_no_table_of_expressions_is_refused(info, message, bars):
    class Mine(Alpha158):
        def get_feature_config(self):
            return info

    with pytest.raises(ValueError, match=message):
        Mine(bars=bars)


def test_the_tables_are_pyqlibs(fixtures_dir, bars):
    """Oracle: recorded from pyqlib's `Alpha158DL`, `Alpha360DL` and handlers."""
    recorded = json.loads((fixtures_dir / "sets.json").read_text())
    for case in recorded["alpha158"]:
        want = (case["expressions"], case["names"])
        assert Alpha158DL.get_feature_config(case["config"]) == want
        assert Alpha158.parse_config_to_fields(case["config"]) == want
    stock = recorded["alpha158"][0]
    assert Alpha158DL.get_feature_config() == (stock["expressions"], stock["names"])
    handler = Alpha158(bars=bars)
    assert handler.get_feature_config() == (stock["expressions"], stock["names"])
    all360 = recorded["alpha360"]
    assert Alpha360DL.get_feature_config() == (all360["expressions"], all360["names"])
    labels = recorded["labels"]
    assert handler.get_label_config() == (
        labels["Alpha158"]["expressions"],
        labels["Alpha158"]["names"],
    )
    vwap = Alpha158vwap(bars=bars).get_label_config()
    assert vwap == (labels["Alpha158vwap"]["expressions"], labels["Alpha158vwap"]["names"])
    with pytest.raises(ValueError, match=r"no group 'rollin'.*'rolling'"):
        Alpha158DL.get_feature_config({"rollin": {}})
    with pytest.raises(TypeError, match=r"Alpha158DL loads nothing: give bars to a handler"):
        Alpha158DL(config={})


def test_the_arguments_of_qlibs_handlers(bars):
    """By position, as qlib's handlers are built, and with the keywords that change nothing."""
    start, end = SESSIONS[10], SESSIONS[50]
    named = Alpha158(bars=bars, instruments=["S0001", "S0002"], start_time=start, end_time=end)
    placed = Alpha158(["S0001", "S0002"], start, end, bars=bars)
    pd.testing.assert_frame_equal(placed.fetch(), named.fetch())
    full = Alpha158(
        ["S0001", "S0002"], start, end, "day", [], named.learn_processors, start, end, "append",
        None, None, bars=bars,
    )  # fmt: skip
    pd.testing.assert_frame_equal(full.fetch(data_key="learn"), named.fetch(data_key="learn"))
    assert (full.instruments, full.start_time, full.end_time) == (["S0001", "S0002"], start, end)
    for given, message in (
        ({"freq": "1min"}, "freq is '1min', expected 'day'"),
        ({"filter_pipe": [{"filter_type": "NameDFilter"}]}, "filter_pipe is .* expected None"),
        ({"inst_processors": ["TimeRangeFlt"]}, "inst_processors is .* expected None"),
    ):
        with pytest.raises(ValueError, match=message):
            Alpha158(bars=bars, **given)
    with pytest.raises(TypeError, match=r"Alpha360 needs bars=\.\.\."):
        Alpha360("csi300")


def test_from_df(frame):
    handler = DataHandlerLP.from_df(frame)
    for key in ("raw", "infer", "learn"):
        pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key=key), frame)
    assert handler.get_all_processors() == ()
    with pytest.raises(TypeError, match=r"call DataHandlerLP\.from_df"):
        Alpha158.from_df(frame)
    with pytest.raises(TypeError, match="instruments, data_loader and loads nothing by itself"):
        DataHandlerLP(instruments="csi300", data_loader={"class": "QlibDataLoader"})


@pytest.mark.parametrize("hook", sorted(HANDLER_HOOKS))
def test_hooks_of_handlers_that_are_never_called_are_refused(hook, bars, frame):
    for kind, given in ((Alpha158, {"bars": bars}), (DataHandlerLP, {"data": frame})):
        mine = type("Mine", (kind,), {hook: lambda self, *args, **kwargs: None})
        with pytest.raises(TypeError, match=f"Mine overrides {hook}, which qlib calls"):
            mine(**given)


def test_fetch_and_setup_data_of_a_subclass_are_called(frame):
    class Mine(DataHandlerLP):
        calls = 0

        def setup_data(self, *args, **kwargs):
            self.calls += 1
            super().setup_data(*args, **kwargs)

        def fetch(self, *args, **kwargs):
            return super().fetch(*args, **kwargs) * 2

    handler = Mine(frame)
    assert handler.calls == 1
    dataset = DatasetH(handler, {"all": (None, None)})
    pd.testing.assert_frame_equal(dataset.prepare("all", col_set="__raw"), frame * 2)


@pytest.mark.parametrize("kind", [DatasetH, TSDatasetH])
def test_prepare_seg_of_a_subclass_is_called(kind, frame):
    class Mine(kind):
        def _prepare_seg(self, slc, **kwargs):
            self.asked = (slc, kwargs)
            return super()._prepare_seg(slc, **kwargs)

        def setup_data(self, **kwargs):
            super().setup_data(**kwargs)
            self.ready = True

    segments = {"a": ("2020-01-10", "2020-01-31"), "b": ("2020-02-03", "2020-02-28")}
    dataset = Mine(DataHandlerLP(frame), segments)
    plain = kind(DataHandlerLP(frame), segments)
    assert dataset.ready
    got, want = dataset.prepare("b", col_set="feature"), plain.prepare("b", col_set="feature")
    assert dataset.asked == (
        slice("2020-02-03", "2020-02-28"),
        {"col_set": "feature", "data_key": "infer"},
    )
    if kind is DatasetH:
        pd.testing.assert_frame_equal(got, want)
    else:
        np.testing.assert_array_equal(got.data_arr, want.data_arr)
    assert len(dataset.prepare(["a", "b"])) == 2
    with pytest.raises(TypeError, match="fetch_kwargs"):
        kind(DataHandlerLP(frame), segments, fetch_kwargs={"level": 0})


@pytest.mark.parametrize("hook", sorted(DATASET_HOOKS))
def test_hooks_of_datasets_that_are_never_called_are_refused(hook, frame):
    mine = type("Mine", (TSDatasetH,), {hook: lambda self, *args: None})
    with pytest.raises(TypeError, match=f"overrides {hook}.*_prepare_seg, which is called"):
        mine(DataHandlerLP(frame), {"a": ("2020-01-10", "2020-01-31")})


@pytest.mark.parametrize("hook", sorted(SAMPLER_HOOKS))
def test_hooks_of_samplers_that_are_never_called_are_refused(hook, frame):
    mine = type("Mine", (TSDataSampler,), {hook: lambda self, *args: None})
    with pytest.raises(TypeError, match=f"overrides {hook}"):
        mine(frame, None, None, 6)


def test_cal_counts_the_infer_view(frame):
    dataset = TSDatasetH(DataHandlerLP(frame), {"all": (None, None)}, step_len=3)
    assert dataset.cal == sorted(frame.index.unique("datetime"))


@pytest.mark.parametrize("step", [1, 6, 70])
@pytest.mark.parametrize("kept", ["all", "kept"])
def test_the_arrays_of_a_sampler_give_pyqlibs_windows(step, kept, frame, recorded):
    """Oracle: recorded windows. They are put together from the arrays as qlib does it."""
    flt = frame[("label", "LABEL0")].notna() if kept == "kept" else None
    start, end = "2020-02-03", "2020-02-28"  # the second of the recorded ranges
    sampler = TSDataSampler(frame.iloc[:, [0, 7]], start, end, step, flt_data=flt)
    base = f"windows/{step}/1/{kept}"
    rows = frame.index[recorded[f"{base}/row"]]
    assert sampler.data_index.names == ["instrument", "datetime"]
    assert sampler.data_index.swaplevel().tolist() == rows.tolist()
    assert sampler.nan_idx == len(frame) == len(sampler.data_arr) - 1
    assert np.isnan(sampler.data_arr[sampler.nan_idx]).all()
    assert sampler.idx_map.dtype == np.int32 and len(sampler.idx_map) == len(sampler)
    np.testing.assert_array_equal(sampler.idx_df.to_numpy(dtype="float64"), sampler.idx_arr)
    assert sampler.idx_df.index.tolist() == sorted(frame.index.unique("datetime"))
    assert sampler.idx_df.columns.tolist() == sorted(frame.index.unique("instrument"))
    windows = []
    for row, col in sampler.idx_map:
        places = sampler.idx_arr[max(0, row - step + 1) : row + 1, col]
        places = np.r_[np.full(step - len(places), np.nan), places]
        places = np.where(np.isnan(places), sampler.nan_idx, places).astype(int)
        windows.append(sampler.data_arr[places])
    pick = range(0, len(sampler), 1 if step == 6 else 7)
    np.testing.assert_array_equal(np.array(windows)[list(pick)], recorded[f"{base}/none"])


def test_an_array_of_a_sampler_may_be_written_to(frame):
    """qlib's users fill the missing cells of `data_arr` in place."""
    sampler = TSDataSampler(frame, None, None, 3)
    sampler.data_arr[np.isnan(sampler.data_arr)] = 0
    assert not np.isnan(sampler[np.arange(len(sampler))]).any()
    assert not np.isnan(sampler.batch(np.arange(len(sampler))).numpy()).any()
