"""Handlers, datasets, processors and samplers are used as users of qlib use them.

Oracles: pyqlib's recorded feature tables, processors and windows (tests/fixtures), the same set
given as `feature_set`, and the messages.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha158,
    Alpha158DL,
    Alpha158vwap,
    Alpha360,
    Alpha360DL,
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DataHandlerLP,
    DatasetH,
    DropnaProcessor,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessInf,
    Processor,
    ProcessorChain,
    RobustZScoreNorm,
    TanhProcess,
    TSDataSampler,
    TSDatasetH,
    ZScoreNorm,
    simulate_market,
)
from rnn_core.features import FeatureSet
from rnn_core.qlib_hooks import DATASET_HOOKS, HANDLER_HOOKS, PROCESSOR_HOOKS, SAMPLER_HOOKS

SESSIONS = pd.bdate_range("2020-01-01", periods=60)
FIELDS = ["open", "high", "low", "close", "volume", "vwap"]
FIT = ("2020-01-10", "2020-02-14")
NEXT = "Ref($close, -1)/$close - 1"
TWO = (["$close/$open", "Mean($close, 5)/$close"], ["BODY", "MEAN5"])


@pytest.fixture(scope="module")
def bars():
    traded = simulate_market(5, SESSIONS, 5, suspension_rate=0.1)
    traded["vwap"] = (traded["high"] + traded["low"] + traded["close"]) / 3
    return traded[["date", "instrument", *FIELDS]].reset_index(drop=True)


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


EVERY = {
    "DropnaProcessor": lambda group, **kw: DropnaProcessor(group, **kw),
    "Fillna": lambda group, **kw: Fillna(group, 0.5, **kw),
    "ProcessInf": lambda group, **kw: ProcessInf(group, **kw),
    "MinMaxNorm": lambda group, **kw: MinMaxNorm(*FIT, group, **{"semantics": "qlib", **kw}),
    "ZScoreNorm": lambda group, **kw: ZScoreNorm(*FIT, group, **{"semantics": "qlib", **kw}),
    "RobustZScoreNorm": lambda group, **kw: RobustZScoreNorm(
        *FIT, group, **{"semantics": "qlib", **kw}
    ),
    "CSZScoreNorm": lambda group, **kw: CSZScoreNorm(group, **kw),
    "CSRankNorm": lambda group, **kw: CSRankNorm(group, **kw),
    "CSZFillna": lambda group, **kw: CSZFillna(group, **kw),
    "FilterCol": lambda group, **kw: FilterCol(group, ["TIES", "LABEL0"], **kw),
}


@pytest.mark.parametrize("name", EVERY)
def test_no_group_is_every_column_in_qlib_semantics(name, frame):
    """Oracle: both groups by name, which are recorded from pyqlib one by one."""
    with pytest.warns(UserWarning, match=f"{name} has no fields_group and takes every column"):
        every = EVERY[name](None, semantics="qlib")
    both = EVERY[name](["feature", "label"])
    pd.testing.assert_frame_equal(every.fit(frame)(frame), both.fit(frame)(frame))
    chain = ProcessorChain([every])
    chain.fit(frame)
    stored = ProcessorChain.from_json(chain.to_json())  # without a warning: it is written down
    pd.testing.assert_frame_equal(stored.transform(frame), both(frame))
    with pytest.raises(ValueError, match=r"in qlib takes every column.*semantics='qlib'"):
        EVERY[name](None, semantics="strict")


@pytest.mark.parametrize("name", ["ProcessInf", "TanhProcess"])
def test_classes_without_a_group_in_qlib(name, frame, recorded):
    """Oracle: recorded from pyqlib, whose two classes have no argument at all."""
    kind = {"ProcessInf": ProcessInf, "TanhProcess": TanhProcess}[name]
    with pytest.warns(UserWarning, match="takes every column"):
        got = kind(semantics="qlib")(frame)
    np.testing.assert_allclose(got, recorded[f"{name}/values"], rtol=1e-6, atol=1e-6)


def test_the_ranks_of_every_column_are_pyqlibs(frame, recorded):
    with pytest.warns(UserWarning):
        got = CSRankNorm(semantics="qlib")(frame)
    label = frame.columns.get_loc(("label", "LABEL0"))
    want = recorded["CSRankNorm/values"].copy()
    want[:, label] = recorded["CSRankNorm_label/values"][:, label]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_steps_without_a_group_follow_the_semantics_of_their_handler(frame):
    steps = [{"class": "Fillna"}, "CSRankNorm"]
    with pytest.warns(UserWarning) as caught:
        handler = DataHandlerLP(frame, infer_processors=steps, semantics="qlib")
    assert len([w for w in caught if "takes every column" in str(w.message)]) == 2
    want = CSRankNorm(["feature", "label"])(Fillna(["feature", "label"])(frame))
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)
    with pytest.raises(ValueError, match="takes every column"):
        DataHandlerLP(frame, infer_processors=steps)


@pytest.mark.parametrize(("own", "other"), [("strict", "qlib"), ("qlib", "strict")])
def test_an_instance_of_the_other_semantics_is_named(own, other, frame):
    """An instance cannot follow its handler, and a constructor's default is strict."""
    step = ZScoreNorm(*FIT, "feature", semantics=own)
    with pytest.warns(UserWarning, match=f"has semantics='{own}' in a handler of '{other}'"):
        DataHandlerLP(frame, infer_processors=[step], semantics=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = [step, Fillna("feature")]
        DataHandlerLP(frame, infer_processors=steps, semantics=own)


def test_the_stored_form_of_a_named_group_is_as_before():
    """A bundle's hash must not change: the semantics is stored where it decides numbers only."""
    for kwargs in ({}, {"semantics": "qlib"}):
        assert Fillna("feature", **kwargs).kwargs() == {"fields_group": "feature", "fill_value": 0}
        assert CSRankNorm("label", **kwargs).kwargs() == {"fields_group": "label"}
    assert ZScoreNorm(*FIT, "feature").kwargs()["semantics"] == "strict"


def test_alpha360_in_qlib_semantics_standardises_the_label(bars):
    """Q14. Oracle: qlib's three processors, applied to both groups by name."""
    fit = {"fit_start_time": SESSIONS[0], "fit_end_time": SESSIONS[40]}
    with pytest.warns(UserWarning, match="takes every column"):
        handler = Alpha360(bars=bars, semantics="qlib", **fit)
    raw = Alpha360(bars=bars, semantics="qlib", infer_processors=[], learn_processors=[])
    groups = ["feature", "label"]
    chain = ProcessorChain(
        [
            ProcessInf(groups),
            ZScoreNorm(*fit.values(), groups, semantics="qlib"),
            Fillna(groups),
        ]
    )
    want = chain.fit(raw.fetch(col_set="__raw"))
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)
    assert not handler.fetch(col_set="label").isna().any(axis=None)


def test_a_processor_written_for_qlib(frame):
    """`fit` returns nothing, and `__call__` writes to the frame that it is given."""

    class Centre(Processor):
        def __init__(self, fields_group=None):
            self.group = fields_group

        def fit(self, df=None):
            self.mean = df[self.group].mean()

        def __call__(self, df):
            df[self.group] = (df[self.group] - self.mean).to_numpy()
            return df

        def readonly(self):
            return False

    before = frame.copy(deep=True)
    chain = ProcessorChain([Centre("feature")])
    got = chain.fit(frame)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_allclose(
        got["feature"]["NORMAL"], before["feature"]["NORMAL"] - before["feature"]["NORMAL"].mean()
    )
    pd.testing.assert_frame_equal(chain.transform(frame), got)
    with pytest.raises(TypeError, match=r"does not keep its argument 'fields_group'"):
        chain.to_json()
    handler = DataHandlerLP(frame, infer_processors=[Centre("feature")])
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), got)


def test_a_call_of_a_subclass_is_called_among_its_neighbours(frame):
    """Neighbours of one group work on one copy of its cells, but for such a one."""

    class Twice(Fillna):
        def __call__(self, df):
            return super().__call__(df) * 2

    steps = [Fillna("feature", 1.0), Twice("feature"), Fillna("feature", 3.0)]
    want = Fillna("feature", 1.0)(frame) * 2
    pd.testing.assert_frame_equal(ProcessorChain(steps).fit(frame), want)
    handler = DataHandlerLP(frame, infer_processors=steps)
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)


def test_a_fit_that_cannot_be_stored_is_refused():
    """Stored without its fit, the processor would come back untrained."""

    class Learns(Processor):
        def fit(self, df=None):
            self.mean = 1.0

        def __call__(self, df):
            return df

    with pytest.raises(TypeError, match="Learns learns in fit and cannot be stored"):
        ProcessorChain([Learns()]).to_json()


@pytest.mark.parametrize("hook", sorted(PROCESSOR_HOOKS))
def test_hooks_of_processors_that_are_never_called_are_refused(hook, frame):
    mine = type("Mine", (Fillna,), {hook: lambda self, **kwargs: None})
    with pytest.raises(TypeError, match=f"Mine overrides {hook}"):
        DataHandlerLP(frame, infer_processors=[mine("feature")])
