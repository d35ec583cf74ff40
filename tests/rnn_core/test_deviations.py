"""The table of docs/deviations.md against the code: each exception of qlib semantics, shown.

Oracle: the page. A row without a check, or a check without a row, fails too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import (
    PROCESSORS,
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
    simulate_market,
)
from rnn_core.data.steps import build_steps
from rnn_core.evaluation import (
    PortfolioConfig,
    calc_ic,
    calc_long_short_return,
    risk_analysis,
    topk_dropout,
)
from rnn_core.features import ExpressionError, compute_features, parse
from rnn_core.models import GRU, KRNN, KRNNModel
from rnn_core.training import predict
from rnn_core.workflow import WorkflowError, load_document, read_workflow
from rnn_core.workflow.build_data import _benchmark
from rnn_core.workflow.spec import PortfolioSpec

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deviations.md"
WORKFLOW = ROOT / "tests" / "fixtures" / "workflow" / "gru_alpha158.yaml"

S = pd.bdate_range("2020-01-01", periods=60)
SEGMENTS = {"train": (S[5], S[35]), "valid": (S[36], S[45]), "test": (S[46], S[57])}
SIZES = {"d_feat": 2, "hidden_size": 4, "num_layers": 1, "GPU": -1, "threads": 1, "seed": 0}
SHORT = {**SIZES, "n_epochs": 2, "batch_size": 50, "lr": 0.01}


class Two(Alpha158):
    """Two features in place of 158."""

    def get_feature_config(self) -> Any:
        return ["$close/$open - 1", "$high/$low - 1"], ["BODY", "RANGE"]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    raw = simulate_market(8, S, 5, late_listing_share=0.0)
    raw["vwap"] = (raw["high"] + raw["low"] + raw["close"]) / 3
    return raw


@pytest.fixture
def handler(bars: pd.DataFrame) -> DataHandlerLP:
    return Two(bars=bars, semantics="qlib")


@pytest.fixture
def dataset(handler: DataHandlerLP) -> TSDatasetH:
    return TSDatasetH(handler, SEGMENTS, step_len=3)


CHECKS: dict[str, Callable[..., None]] = {}


def shows(exception: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a check of one row; its arguments are fixtures."""

    def keep(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[exception] = check
        return check

    return keep


def rows() -> list[str]:
    """The exceptions of the page, in order."""
    text = PAGE.read_text(encoding="utf-8").partition("in qlib semantics too\n")[2]
    return re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.MULTILINE)


def test_every_row_has_its_check() -> None:
    assert rows() == list(dict.fromkeys(rows()))
    assert set(rows()) == set(CHECKS)


@pytest.mark.parametrize("exception", rows())
def test_the_row_is_true(exception: str, request: pytest.FixtureRequest) -> None:
    check = CHECKS[exception]
    names = check.__code__.co_varnames[: check.__code__.co_argcount]
    check(**{name: request.getfixturevalue(name) for name in names})


def frames(handler: DataHandlerLP) -> pd.DataFrame:
    return handler.fetch(col_set="__raw")


def fitted(dataset: Any, **given: Any) -> GRU:
    return GRU(**{**SHORT, **given}).fit(dataset)


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


@shows("the-device")
def _():
    model = GRU(**SIZES)
    with pytest.raises(TypeError, match="set GPU, the number"):
        model.device = torch.device("cpu")
    with pytest.raises(TypeError, match="device"):
        KRNNModel(2, 4, 3, 4, 2, 1, 0.0, device="cpu")


@shows("arguments-by-position")
def _():
    with pytest.raises(TypeError, match="name n_jobs, GPU and seed"):
        GRU(2, 4, 1, 0.0, 2, 0.01, "", 50, 20, "mse", "adam", -1)


@shows("changed-arguments")
def _(dataset):
    model = GRU(**SHORT)
    model.seed, model.lr = 3, 0.05
    want = fitted(dataset, seed=3, lr=0.05).predict(dataset)
    assert model.fit(dataset).predict(dataset).equals(want)
    model.hidden_size = 8
    with pytest.raises(ValueError, match="sizes of the network were changed"):
        model.fit(dataset)


@shows("argument-ranges")
def _():
    for kind, given in (
        (GRU, {"lr": 0.0}),
        (GRU, {"dropout": 1.0}),
        (KRNN, {"cnn_kernel_size": 2}),
    ):
        with pytest.raises(ValueError, match="expected"):
            kind(**given)


@shows("one-label")
def _(bars):
    handler = Two(bars=bars, semantics="qlib", label=["$close/$open", "$high/$open"])
    with pytest.raises(ValueError, match="2 of 'label'"):
        fitted(TSDatasetH(handler, SEGMENTS, step_len=3))


@shows("unsupported-in-a-file")
def _():
    wrong = ["qlib_init.region=tw", "task.model.class=ALSTM", "task.record.0.class=HFSignalRecord"]
    with pytest.raises(WorkflowError, match="has 4 problems"):  # and no SignalRecord is left
        read_workflow(load_document(WORKFLOW, wrong), semantics="qlib")


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


@shows("hooks")
def _(bars, dataset):
    for kind, hook, given in (
        (GRU, "train_epoch", {}),
        (Two, "process_data", {"bars": bars}),
        (TSDatasetH, "_extend_slice", {"handler": dataset.handler, "segments": SEGMENTS}),
    ):
        mine = type("Mine", (kind,), {hook: lambda self, *args: None})
        with pytest.raises(TypeError, match=f"overrides {hook}"):
            mine(**given)


@shows("the-network")
def _():
    model = GRU(**SIZES)
    with pytest.raises(TypeError, match="cannot be replaced"):
        model.gru_model = torch.nn.Linear(2, 1)
    model.gru_model.load_state_dict(GRU(**{**SIZES, "seed": 1}).gru_model.state_dict())


@shows("unknown-arguments-of-a-file")
def _():
    document = load_document(WORKFLOW, ["task.model.kwargs.hiden=3"])
    with pytest.raises(WorkflowError, match="GRU has no argument 'hiden'"):
        read_workflow(document, semantics="qlib")
    with pytest.warns(UserWarning, match="GRU has no argument 'hiden'"):
        GRU(hiden=3)


@shows("last-batch")
def _(dataset):
    model = fitted(dataset, n_epochs=1, batch_size=79)  # no multiple of it is the number of rows
    windows = dataset.prepare("valid", ["feature", "label"], "learn")
    windows.config(fillna_type="ffill+bfill")
    labels = np.array([window[-1, -1] for window in windows])
    assert len(labels) % 79
    scores = predict(model.network, windows, device="cpu", has_label=True)
    known = np.isfinite(labels)
    want = -np.mean(np.square(scores[known] - labels[known]))
    assert model.member_scores[0] == pytest.approx(want, rel=1e-5)


@shows("small-training-set")
def _(dataset):
    rows = fitted(dataset, batch_size=10**6).history["samples"]
    assert (rows == len(dataset.prepare("train", ["feature", "label"], "learn"))).all()


@shows("train-score")
def _(dataset):
    evals: dict[str, list[float]] = {}
    model = GRU(**SHORT)
    model.fit(dataset, evals_result=evals)
    assert evals["train"] == (-model.history["train_loss"]).tolist()


@shows("seed")
def _(dataset):
    drawn = {**SHORT, "seed": None}
    scores = {}
    for seed in (0, None):
        for run in (0, 1):
            torch.manual_seed(4)
            scores[seed, run] = GRU(**{**drawn, "seed": seed}).fit(dataset).predict(dataset)
    assert scores[0, 0].equals(scores[0, 1])
    assert not scores[None, 0].equals(scores[None, 1])


@shows("finite-features")
def _(bars):
    broken = bars.copy()
    broken.loc[broken["date"] == S[20], "high"] = np.inf
    dataset = TSDatasetH(Two(bars=broken, semantics="qlib"), SEGMENTS, step_len=3)
    with pytest.raises(ValueError, match="RANGE"):
        fitted(dataset)


@shows("infinite-label")
def _(handler):
    data = handler.fetch(col_set="__raw", data_key="learn")
    data.loc[(S[20], "S0001"), ("label", "LABEL0")] = np.inf
    dataset = TSDatasetH(DataHandlerLP(data, semantics="qlib"), SEGMENTS, step_len=3)
    model = fitted(dataset, batch_size=10**6)
    known = len(dataset.prepare("train", ["feature", "label"], "learn")) - 1
    assert (model.history["samples"] == known).all()
    assert np.isfinite(model.history["train_loss"]).all()


@shows("test-segment")
def _(dataset):
    asked = []
    prepare = dataset.prepare
    dataset.prepare = lambda name, *args, **kwargs: (
        asked.append(name) or prepare(name, *args, **kwargs)
    )
    fitted(dataset)
    assert asked == ["train", "valid"]


@shows("no-valid-segment")
def _(dataset):
    del dataset.segments["valid"]
    assert len(fitted(dataset, n_epochs=3, early_stop=1).history) == 3


@shows("second-fit")
def _(dataset):
    model = fitted(dataset)
    once = model.predict(dataset)
    assert model.fit(dataset).predict(dataset).equals(once)


@shows("sorted-scores")
def _(dataset):
    scores = fitted(dataset).predict(dataset)
    assert scores.name == "score" and scores.index.is_monotonic_increasing
    assert scores.index.names == ["datetime", "instrument"]


@shows("metric-of-all-rows")
def _(dataset):
    sizes = []

    class Mine(GRU):
        def metric_fn(self, pred, label):
            sizes.append(len(pred))
            return 0.0

    Mine(**{**SHORT, "batch_size": 20}).fit(dataset)
    assert sizes == [len(dataset.prepare("valid", ["feature", "label"], "learn"))] * 2


@shows("no-pickle")
def _(dataset, tmp_path):
    fitted(dataset).save(tmp_path / "model")
    dataset.handler.save(tmp_path / "handler.json")
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".yaml", ".parquet", ".safetensors"}
    assert not hasattr(DataHandlerLP, "to_pickle") and not hasattr(GRU, "to_pickle")


@shows("own-code-in-a-file")
def _():
    document = load_document(WORKFLOW, ["task.model.module_path=mine.models"])
    with pytest.raises(WorkflowError, match=r"'mine\.models' is not supported"):
        read_workflow(document, semantics="qlib")


@shows("benchmark-span")
def _():
    class Provider:
        def series(self, code: str, field: str) -> pd.Series:
            return pd.Series(1.0, index=S[:50])

    with pytest.raises(WorkflowError, match="benchmark SH000300 has closes from"):
        _benchmark(
            Provider(), PortfolioSpec(PortfolioConfig(), None, None, ("SH000300",)), S[10:], "qlib"
        )


@shows("whole-windows")
def _():
    for text in ("Mean($close, 2.5)", "Std($close, 0.5)"):
        with pytest.raises(ExpressionError):
            parse(text)
    assert parse("Mean($close, 0.5)") and parse("EMA($close, 0.5)")


@shows("conditions-only")
def _():
    for text in ("$close & $open", "$close | 3", "Not($close)"):
        with pytest.raises(ExpressionError):
            parse(text)


@shows("exact-reach")
def _():
    assert parse("Ref(Ref($close, -2), 1)").look_ahead == 1


@shows("parsed-text")
def _():
    for text in ("__import__('os')", "$close.real", "Mask($close, S0001)"):
        with pytest.raises(ExpressionError):
            parse(text)


def computed(bars: pd.DataFrame, text: str) -> pd.Series:
    return compute_features(bars, [("X", text)], semantics="qlib")["X"]


@shows("history-begins")
def _(bars):
    last = (S[-1], "S0001")
    late = bars[bars["date"] >= S[30]]
    for text in ("Sum($close, 0)", "EMA($close, 0.1)"):
        assert computed(bars, text)[last] != computed(late, text)[last]
    assert computed(bars, "Sum($close, 5)")[last] == pytest.approx(
        computed(late, "Sum($close, 5)")[last]
    )


@shows("corr-of-all-history")
def _(bars):
    one = bars[bars["instrument"] == "S0001"].set_index("date")
    want = one["close"].astype("float32").expanding(1).corr(one["volume"].astype("float32"))
    got = computed(bars, "Corr($close, $volume, 0)").xs("S0001", level="instrument")
    np.testing.assert_allclose(got[5:], want[5:], rtol=1e-4)


@shows("mask")
def _(bars):
    late = bars[(bars["instrument"] != "S0002") | (bars["date"] >= S[30])]
    got = computed(late, "$close/Mask($close, 'S0002')").xs("S0001", level="instrument")
    assert got[got.index < S[30]].isna().all() and got[got.index > S[30]].notna().any()
    with pytest.raises(ValueError, match="NONE"):
        computed(bars, "Mask($close, 'NONE')")


@shows("shifted-condition")
def _(bars):
    got = computed(bars, "Ref($close > $open, 1)")
    assert got.dtype == np.float32 and set(got.dropna()) == {0.0, 1.0}


@shows("flat-ic")
def _():
    index = pd.MultiIndex.from_product([S[:1], list("ABC")], names=["datetime", "instrument"])
    ic, rank_ic = calc_ic(pd.Series(0.1, index=index), pd.Series([1.0, 2.0, 3.0], index=index))
    assert ic.isna().all() and rank_ic.isna().all()


def traded(signal: dict[tuple[int, str], float], close: pd.DataFrame, **config: Any) -> Any:
    """A backtest of the last three of four sessions; nothing costs."""
    keys = [(S[t], name) for t, name in signal]
    index = pd.MultiIndex.from_tuples(keys, names=["datetime", "instrument"])
    bars = close.stack().rename("close").rename_axis(["datetime", "instrument"]).to_frame()  # noqa: PD013
    bars["change"] = 0.0
    settings = PortfolioConfig(
        semantics="qlib", open_cost=0, close_cost=0, min_cost=0, n_drop=1, **config
    )
    return topk_dropout(
        pd.Series(list(signal.values()), index=index), bars, settings, sessions=S[1:4]
    ).positions


@shows("held-without-score")
def _():
    close = pd.DataFrame(10.0, index=S[:4], columns=list("ABC"))
    first = {(0, "A"): 1.0, (0, "B"): 3.0, (0, "C"): 2.0}
    held = traded({**first, (1, "A"): 1.0}, close, topk=3)  # B and C have no score, nobody waits
    assert held.loc[held["datetime"] == S[1], "instrument"].tolist() == ["A", "B", "C"]
    assert held.loc[held["datetime"] == S[2], "instrument"].tolist() == ["A", "B"]


@shows("price-limits")
def _():
    close = pd.DataFrame(10.0, index=S[:4], columns=list("AB"))
    close.loc[S[1] :, "A"] = 11.0  # beyond the limit; the stored change says 0
    held = traded({(0, "A"): 2.0, (0, "B"): 1.0}, close, topk=2, limit_threshold=0.095)
    assert held.loc[held["datetime"] == S[1], "instrument"].tolist() == ["B"]


@shows("session-labels")
def _():
    stamps = pd.to_datetime(["2024-01-02 16:00", "2024-01-03 00:00"])
    for labels in (stamps, [20240102, 20240103]):
        index = pd.MultiIndex.from_product([labels, ["A"]], names=["datetime", "instrument"])
        with pytest.raises((ValueError, TypeError), match="2024"):
            TSDataSampler(pd.DataFrame({"x": [1.0, 2.0]}, index=index), S[0], S[40], 2)


@shows("metric-options")
def _(handler):
    label = handler.fetch(col_set="label")["LABEL0"]
    for call, option in (
        (calc_ic, "date_col"),
        (calc_ic, "dropna"),
        (calc_long_short_return, "date_col"),
        (calc_long_short_return, "dropna"),
    ):
        with pytest.raises(TypeError, match=option):
            call(label, label, **{option: True})
    for option in ("N", "freq"):
        with pytest.raises(TypeError, match=option):
            risk_analysis(label, **{option: 252})


@shows("no-common-row")
def _():
    one, other = (
        pd.Series([1.0, 2.0], index=pd.MultiIndex.from_product([[S[t]], list("AB")]))
        for t in (0, 1)
    )
    with pytest.raises(ValueError, match="row"):
        calc_ic(one, other)


REFUSED = {
    "DropCol": "empty-col-list",
    "FilterCol": "empty-col-list",
    "TimeRangeFlt": "time-range-filter",
}


@pytest.mark.filterwarnings("ignore:.*takes every column")
@pytest.mark.parametrize("name", PROCESSORS)
def test_what_qlib_semantics_refuses_of_qlibs_processors_is_on_the_page(name: str) -> None:
    """Each class, with qlib's defaults, in a handler of qlib semantics: built, or a row."""
    window = {"fit_start_time": S[0], "fit_end_time": S[40], "semantics": "qlib"}
    if name not in REFUSED:
        assert len(build_steps([{"class": name}], "learn", window)) == 1
        return
    assert REFUSED[name] in rows()
    with pytest.raises(ValueError, match=name):
        build_steps([{"class": name}], "learn", window)


def test_no_group_and_krnn_are_no_exceptions(handler: DataHandlerLP) -> None:
    """qlib semantics once refused the one and repaired the other; the page no longer lists them."""
    with pytest.warns(UserWarning, match="takes every column"):
        DataHandlerLP(frames(handler), infer_processors=["Fillna"], semantics="qlib")
    assert "in nothing else" not in PAGE.read_text(encoding="utf-8")
    krnn = WORKFLOW.with_name("krnn_alpha360.yaml")
    assert read_workflow(load_document(krnn)).model.arguments["legacy_layout"] is True
    strict = read_workflow(load_document(krnn), semantics="strict")
    assert strict.model.arguments["legacy_layout"] is False
    assert isinstance(DatasetH(handler, SEGMENTS), DatasetH)
