"""What a workflow runs on. Oracles: `alpha158` and `compute_features` of the dumped bars."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import Panel
from rnn_core.data.alpha import Alpha158
from rnn_core.features import alpha158, alpha158_set, compute_features
from rnn_core.features.sets import set_panel
from rnn_core.workflow import WorkflowError, load_document, read_workflow
from rnn_core.workflow.build_data import load_material, needed_features
from tests.fixtures.workflow.dump_provider import write_bin
from tests.rnn_core.workflow.workflow_cases import FILES, SESSIONS, SMALL, SPANS

LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
PLAIN = (  # no FilterCol
    "data_handler_config.infer_processors=[{class: RobustZScoreNorm, kwargs: {fields_group: "
    "feature}}, {class: Fillna, kwargs: {fields_group: feature}}]"
)


def material(provider, *overrides, name="lstm_alpha158", **options):
    document = load_document(FILES / f"{name}.yaml", [*SMALL, *overrides])
    return load_material(read_workflow(document, provider_uri=str(provider), **options))


def member(index, codes):
    """Whether each row is one of a member on its day."""
    spans = {codes[k]: tuple(map(pd.Timestamp, span)) for k, span in SPANS.items()}
    return [code not in spans or spans[code][0] <= day <= spans[code][1] for day, code in index]


def test_strict_features_and_labels_are_those_of_the_same_bars(provider, bars):
    """Oracle: `alpha158` and `compute_features` over all of history, bit by bit."""
    handler = material(provider, PLAIN, semantics="strict").dataset.handler
    got = handler.fetch(col_set="__raw", data_key="raw")
    codes = sorted(bars["instrument"].unique())
    want = alpha158(bars).loc[SESSIONS[80] : SESSIONS[215]]
    want = want[member(want.index, codes)]
    pd.testing.assert_frame_equal(got["feature"], want)
    label = compute_features(bars, [("LABEL0", LABEL)]).reindex(want.index)
    pd.testing.assert_frame_equal(got["label"], label)


def test_qlib_features_have_a_row_on_every_session_of_the_files(provider, bars):
    """Oracle: the set over a panel whose rows are all sessions between first and last bar."""
    got = material(provider, PLAIN).dataset.handler.fetch(col_set="__raw", data_key="raw")
    long = bars[["date", "instrument", "open", "high", "low", "close", "volume", "vwap"]]
    near = long[long["date"].between(SESSIONS[20], SESSIONS[217])]  # 60 before, 2 after
    panel = Panel.from_frame(near, sessions=SESSIONS[20:218])
    days = bars.groupby("instrument")["date"]
    inside = np.array(
        [(panel.sessions >= days.min()[c]) & (panel.sessions <= days.max()[c])
         for c in panel.instruments]
    )  # fmt: skip
    whole = Panel(panel.sessions, panel.instruments, panel.fields, inside)
    values = set_panel(whole, alpha158_set(), semantics="qlib")
    want = whole.to_frame(values, alpha158_set().names).loc[SESSIONS[80] : SESSIONS[215]]
    want = want[member(want.index, list(panel.instruments))]
    pd.testing.assert_frame_equal(got["feature"], want)
    assert len(got) > len(alpha158(bars).reindex(got.index).dropna(how="all"))


def test_a_name_that_enters_has_warm_features_on_its_first_day(provider, bars):
    """Oracle: `alpha158` of the name's whole history; a cold ROC60 would be missing."""
    code = sorted(bars["instrument"].unique())[0]
    first = pd.Timestamp(SPANS[0][0])
    want = alpha158(bars).loc[(first, code)]
    long = ["ROC60", "MA60", "STD60", "MAX60"]
    assert np.isfinite(want[long]).all()
    for semantics in ("strict", "qlib"):
        handler = material(provider, PLAIN, semantics=semantics).dataset.handler
        rows = handler.fetch(col_set="feature", data_key="raw").xs(code, level="instrument")
        assert rows.index[0] == first
        np.testing.assert_allclose(rows.loc[first, long], want[long], rtol=1e-6)
        if semantics == "strict":
            np.testing.assert_array_equal(rows.loc[first], want)


def test_features_that_are_thrown_away_are_not_computed_and_need_no_vwap(provider, tmp_path):
    """Oracle: the same 20 columns out of the handler that computes all 158."""
    root = shutil.copytree(provider, tmp_path / "data")
    for path in (root / "features").glob("*/vwap.day.bin"):
        path.unlink()
    few = material(root)
    assert few.n_features == 20
    all_of_them = material(provider, PLAIN).dataset.handler.fetch(data_key="raw")
    got = few.dataset.handler.fetch(col_set="feature", data_key="raw")
    pd.testing.assert_frame_equal(got, all_of_them[got.columns])
    with pytest.raises(WorkflowError, match=r"^task.dataset: .*no file vwap.day.bin for 12 of 12"):
        material(root, PLAIN)
    assert material(root, PLAIN, vwap="typical").n_features == 158


@pytest.mark.parametrize(
    "change",
    [
        {"infer_processors": []},
        {"process_type": "independent"},
        {"shared_processors": [{"class": "Fillna", "kwargs": {"fields_group": "feature"}}]},
        {"infer_processors": [{"class": "Fillna", "kwargs": {"fields_group": "feature"}}]},
    ],
)
def test_all_features_are_computed_where_another_view_may_see_them(change):
    keep = {"class": "FilterCol", "kwargs": {"fields_group": "feature", "col_list": ["KLEN"]}}
    arguments = {"infer_processors": [keep], "process_type": "append"}
    assert needed_features(alpha158_set(), arguments).names == ("KLEN",)
    assert needed_features(alpha158_set(), {**arguments, **change}) == alpha158_set()


def test_segments_count_the_rows_they_are_used_by(provider):
    made = material(provider)
    by_name = {s.name: s for s in made.segments}
    assert list(by_name) == ["train", "valid", "test"]
    for name, segment in by_name.items():
        key = "infer" if name == "test" else "learn"
        rows = made.dataset.handler.fetch(slice(*made.dataset.segments[name]), data_key=key)
        assert segment.rows == len(rows) > 0
        days = rows.index.get_level_values("datetime")
        assert (segment.first, segment.last) == (days.min(), days.max())
        assert segment.sessions == days.nunique()


def test_windows_of_strict_are_made_of_the_rows_of_serving(provider):
    assert material(provider).dataset.window_rows == "fetched"
    assert material(provider, semantics="strict").dataset.window_rows == "infer"


def test_codes_in_place_of_a_universe(provider, bars):
    codes = sorted(bars["instrument"].unique())[2:5]
    made = material(provider, f"task.dataset.kwargs.handler.kwargs.instruments={codes}")
    assert isinstance(made.dataset.handler, Alpha158)
    index = made.dataset.handler.fetch().index
    assert sorted(index.get_level_values("instrument").unique()) == codes


def test_the_benchmark_is_the_mean_return_of_its_codes(provider, bars):
    """Oracle: the closes of the files, by hand."""
    codes = sorted(bars["instrument"].unique())[2:4]
    made = material(provider, f"port_analysis_config.backtest.benchmark={codes}")
    closes = bars.pivot_table(index="date", columns="instrument", values="close")[codes]
    want = (closes.reindex(SESSIONS) / closes.reindex(SESSIONS).shift(1) - 1).mean(axis=1)
    want = want.fillna(0.0).loc[made.sessions]
    np.testing.assert_allclose(made.benchmark, want, rtol=0, atol=1e-7)
    assert made.sessions[0] == SESSIONS[181]
    assert made.sessions[-1] == SESSIONS[215]
    assert material(provider, "port_analysis_config.backtest.benchmark=").benchmark is None


def test_a_benchmark_with_a_hole(provider, tmp_path):
    """Oracle: by hand. A missing close takes two returns away in qlib, none in strict."""
    root = shutil.copytree(provider, tmp_path / "data")
    path = root / "features" / "sh000300" / "close.day.bin"
    closes = np.fromfile(path, dtype="<f4")[1:]
    closes[200] = np.nan
    write_bin(path, 0, closes)
    qlib = material(root).benchmark
    assert (qlib.loc[SESSIONS[200:202]] == 0).all()
    strict = material(root, semantics="strict").benchmark
    assert strict.loc[SESSIONS[200]] == 0
    np.testing.assert_allclose(strict.loc[SESSIONS[201]], closes[201] / closes[199] - 1, atol=1e-6)


def test_a_backtest_without_dates_runs_one_session_past_the_scores(provider):
    made = material(
        provider,
        "port_analysis_config.backtest.start_time=",
        "port_analysis_config.backtest.end_time=",
    )
    assert (made.sessions[0], made.sessions[-1]) == (SESSIONS[181], SESSIONS[216])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "market=csi500",
            r"^task\.dataset\.kwargs\.handler\.kwargs\.instruments: .*no universe 'csi500'.*"
            r"there are: all, csi300",
        ),
        (
            "task.dataset.kwargs.segments.test=[2021-01-01, 2021-02-01]",
            r"^task\.dataset\.kwargs\.segments\.test: "
            r"the segment 'test', 2021-01-01 to 2021-02-01, has no row: those of the handler run",
        ),
        (
            "port_analysis_config.backtest.benchmark=SH000905",
            r"backtest\.benchmark: .*no folder of SH000905.*name another one, or null",
        ),
        (
            "port_analysis_config.backtest.start_time=2031-01-01",
            r"^task\.record\.\d\.kwargs\.config\.backtest: "
            r"no session between the backtest's start_time 2031-01-01",
        ),
        (
            "port_analysis_config.backtest.end_time=2010-01-01",
            r"^task\.record\.\d\.kwargs\.config\.backtest: "
            r"no session between the backtest's start_time",
        ),
    ],
)
def test_what_the_provider_lacks_is_told_with_the_key_that_asked(override, message, provider):
    with pytest.raises(WorkflowError, match=message):
        material(provider, override)


def test_a_benchmark_that_is_qlibs_default_is_named_as_such(provider, tmp_path):
    root = shutil.copytree(provider, tmp_path / "data")
    shutil.rmtree(root / "features" / "sh000300")
    document = load_document(FILES / "lstm_alpha158.yaml", SMALL)
    spec = read_workflow(document, provider_uri=str(root))
    with pytest.raises(WorkflowError, match=r"backtest\.benchmark: .*no folder of SH000300"):
        load_material(spec)
    portfolio = dataclasses.replace(spec.portfolio, names_benchmark=False)
    with pytest.raises(WorkflowError, match=r"benchmark \(not given, so qlib's default\): "):
        load_material(dataclasses.replace(spec, portfolio=portfolio))


def test_a_time_without_sessions_or_members(provider):
    late = ["data_handler_config.start_time=2031-01-01", "data_handler_config.end_time=2032-01-01"]
    with pytest.raises(WorkflowError, match="no session between start_time 2031-01-01"):
        material(provider, *late)
    late = ["data_handler_config.start_time=2101-01-01", "data_handler_config.end_time="]
    with pytest.raises(WorkflowError, match="the universe 'csi300' has no member between 2101-"):
        material(provider, *late)


def test_a_benchmark_must_cover_the_backtest(provider, tmp_path):
    root = shutil.copytree(provider, tmp_path / "data")
    path = root / "features" / "sh000300" / "close.day.bin"
    write_bin(path, 0, np.fromfile(path, dtype="<f4")[1:201])
    with pytest.raises(WorkflowError, match=r"the benchmark SH000300 has closes from 2020-01-01"):
        material(root)


def test_lots_count_only_where_every_bar_has_a_factor(provider, tmp_path, bars):
    """Oracle: qlib's rule in Exchange.get_quote_from_qlib."""
    made = material(provider)
    assert made.portfolio.trade_unit == 100
    assert made.notes == ()
    want = bars[bars["date"].isin(made.sessions)].set_index(["date", "instrument"])["factor"]
    got = made.bars[made.bars["date"].isin(made.sessions)].set_index(["date", "instrument"])
    np.testing.assert_array_equal(got["factor"], want.loc[got.index])
    root = shutil.copytree(provider, tmp_path / "data")
    code = sorted(bars["instrument"].unique())[3]
    (root / "features" / code.lower() / "factor.day.bin").unlink()
    without = material(root)
    assert without.portfolio.trade_unit is None
    assert "fractions of adjusted shares" in without.notes[0]
    assert "factor" not in without.bars.columns
    unit = "port_analysis_config.backtest.exchange_kwargs={trade_unit: null}"
    assert material(root, unit).notes == ()
