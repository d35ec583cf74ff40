"""Checks of docs/deviations.md: handlers, processors, datasets, samplers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha158,
    Alpha158DL,
    CSRankNorm,
    CSZScoreNorm,
    DataHandlerLP,
    DatasetH,
    DropCol,
    FilterCol,
    TimeRangeFlt,
    TSDataSampler,
    TSDatasetH,
    ZScoreNorm,
)
from tests.rnn_core.deviation_cases import (
    SEGMENTS,
    S,
    Two,
    frames,
    shows,
)


@shows("label-names")
def _(bars):
    assert Two(bars=bars, semantics="qlib", label=["$close/$open"]).get_cols("label") == ["LABEL0"]


@shows("absent-field")
def _(bars):
    with pytest.raises(ValueError, match=r"no values of \['high'\]"):
        Two(bars=bars.drop(columns="high"), semantics="qlib")


@shows("looking-ahead")
def _(bars):
    class Ahead(Alpha158):
        def get_feature_config(self):
            return ["Ref($close, -1)/$close"], ["NEXT"]

    with pytest.raises(ValueError, match="looks 1 sessions ahead"):
        Ahead(bars=bars, semantics="qlib")


@shows("fit-window-twice")
def _(handler):
    step = {"class": "ZScoreNorm", "kwargs": {"fields_group": "feature", "fit_end_time": S[20]}}
    with pytest.raises(ValueError, match="state it once, or alike"):
        DataHandlerLP(
            frames(handler), infer_processors=[step], fit_start_time=S[0], fit_end_time=S[30],
            semantics="qlib",
        )  # fmt: skip


@shows("unknown-options")
def _():
    for config in ({"rollin": {}}, {"rolling": {"window": [5]}}, {"rolling": {"include": ["X"]}}):
        with pytest.raises(ValueError, match=r"no (group|option) |has no 'X'"):
            Alpha158DL.get_feature_config(config)


@shows("open-fit-window")
def _(handler):
    with pytest.raises(ValueError, match="needs fit_end_time"):
        ZScoreNorm(None, None, "feature", semantics="qlib")
    steps = [{"class": "ZScoreNorm", "kwargs": {"fields_group": "feature"}}]
    with pytest.raises(ValueError, match="give the handler fit_start_time and fit_end_time"):
        DataHandlerLP(frames(handler), infer_processors=steps, semantics="qlib")


@shows("empty-fit-window")
def _(handler):
    with pytest.raises(ValueError, match="has no row in its fit window"):
        ZScoreNorm("2030-01-01", "2030-02-01", "feature", semantics="qlib").fit(frames(handler))


@shows("empty-col-list")
def _():
    for kind in (FilterCol, DropCol):
        with pytest.raises(ValueError, match="a list of one column name or more"):
            kind()


@shows("time-range-filter")
def _():
    with pytest.raises(ValueError, match="looks_ahead=True"):
        TimeRangeFlt(S[0], S[40])


@shows("repeats")
def _(handler):
    data = frames(handler)
    for twice in (pd.concat([data, data.iloc[:1]]), pd.concat([data, data.iloc[:, :1]], axis=1)):
        with pytest.raises(ValueError, match="repeated"):
            DataHandlerLP(twice, semantics="qlib")


@shows("unknown-columns")
def _(handler):
    for step in (FilterCol("feature", ["BODY", "NONE"], semantics="qlib"), DropCol(["NONE"])):
        with pytest.raises(KeyError, match="NONE"):
            step(frames(handler))


@shows("frame-kept")
def _(handler):
    given = frames(handler)
    before = given.copy(deep=True)
    steps = [{"class": "Fillna", "kwargs": {"fields_group": "label", "fill_value": 9}}]
    DataHandlerLP(given, infer_processors=steps, semantics="qlib")
    TSDataSampler(given, None, None, 3)
    pd.testing.assert_frame_equal(given, before)


@shows("list-of-instruments")
def _(handler):
    got = handler.fetch(["S0001", "S0003"], level="instrument")
    assert got.index.unique("instrument").tolist() == ["S0001", "S0003"]


@shows("no-provider")
def _(bars):
    with pytest.raises(TypeError, match="needs bars="):
        Two("csi300", semantics="qlib")
    with pytest.raises(FileNotFoundError, match="'csi300' is no file"):
        Two("csi300", bars=bars, semantics="qlib")


@shows("daily-bars")
def _(bars):
    for given in ({"freq": "1min"}, {"filter_pipe": [{}]}, {"inst_processors": ["TimeRangeFlt"]}):
        with pytest.raises(ValueError, match=next(iter(given))):
            Two(bars=bars, semantics="qlib", **given)


@shows("flat-frame")
def _(handler):
    with pytest.raises(ValueError, match="expected two-level columns"):
        DataHandlerLP.from_df(handler.fetch())


@shows("unknown-settings")
def _(handler, dataset):
    sampler = dataset.prepare("train")
    for config in (handler.config, dataset.config, sampler.config):
        with pytest.raises(TypeError, match="colour"):
            config(colour=1)


@shows("fetch-options")
def _(handler, dataset):
    with pytest.raises(TypeError, match="squeeze"):
        handler.fetch(squeeze=True)
    with pytest.raises(TypeError, match=r"fetch_kwargs is .*expected none"):
        DatasetH(handler, SEGMENTS, fetch_kwargs={"squeeze": True})
    rows_of_infer = TSDatasetH(handler, SEGMENTS, step_len=3, window_rows="infer")
    for data in (dataset, DatasetH(handler, SEGMENTS), rows_of_infer):
        with pytest.raises(TypeError, match="proc_func"):
            data.prepare("train", data_key="learn", proc_func=len)


@shows("handler-options")
def _(bars):
    for option in ("init_data", "fetch_orig"):
        with pytest.raises(TypeError, match=option):
            Two(bars=bars, **{option: True})


@shows("loaders")
def _(handler):
    with pytest.raises(TypeError, match="expected a pandas DataFrame"):
        DataHandlerLP(object())
    with pytest.raises(TypeError, match="loads nothing"):
        Alpha158DL({})


@shows("windows-by-position")
def _(handler):
    with pytest.raises(TypeError, match="multiple values for argument 'handler'"):
        TSDatasetH(30, handler=handler)
    with pytest.raises(TypeError, match="handler is int, expected a DataHandlerLP"):
        TSDatasetH(30, SEGMENTS)


@shows("backward-segment")
def _(handler):
    with pytest.raises(ValueError, match="before it starts"):
        DatasetH(handler, {"train": (S[9], S[3])})


@shows("end-of-a-period")
def _(bars):
    handler = Two(bars=bars, semantics="qlib", end_time="2020-02")
    segment = DatasetH(Two(bars=bars, semantics="qlib"), {"train": (None, "2020-02")})
    for rows in (handler.fetch(), segment.prepare("train")):
        assert rows.index.unique("datetime").max() == pd.Timestamp("2020-02-28")
    with pytest.raises(ValueError, match="whole period, expected one day"):
        TSDatasetH(handler, SEGMENTS, step_len=3).prepare("train")["2020", "S0001"]


@shows("empty-segment")
def _(dataset):
    with pytest.raises(ValueError, match="no session of the handler lies between"):
        dataset.prepare(slice("2030-01-01", "2030-02-01"))


@shows("flat-z-score")
def _(handler):
    data = frames(handler)
    data[("feature", "BODY")] = np.float32(0.1)
    scores = CSZScoreNorm("feature", semantics="qlib")(data)[("feature", "BODY")]
    assert scores.isna().all()


@shows("float32-label")
def _(handler):
    ranks = CSRankNorm("label", semantics="qlib")(frames(handler))
    assert (ranks.dtypes == np.float32).all()


@shows("float32-windows")
def _(handler):
    data = frames(handler)
    data[("label", "LABEL0")] = data[("label", "LABEL0")].astype("float64")
    assert TSDataSampler(data, None, None, 3).data_arr.dtype == np.float32
    assert TSDataSampler(data, None, None, 3, dtype="float64").data_arr.dtype == np.float64


@shows("unknown-instrument")
def _(dataset):
    with pytest.raises(KeyError, match="no instrument 'S0000'"):
        dataset.prepare("train")[S[20], "S0000"]
    with pytest.raises(KeyError, match="before the first session"):
        dataset.prepare("train")["2019-01-01", "S0001"]


@shows("session-labels")
def _():
    stamps = pd.to_datetime(["2024-01-02 16:00", "2024-01-03 00:00"])
    for labels in (stamps, [20240102, 20240103]):
        index = pd.MultiIndex.from_product([labels, ["A"]], names=["datetime", "instrument"])
        with pytest.raises((ValueError, TypeError), match="2024"):
            TSDataSampler(pd.DataFrame({"x": [1.0, 2.0]}, index=index), S[0], S[40], 2)
