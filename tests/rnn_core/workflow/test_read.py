"""What a workflow file asks for. Oracle: qlib's files, their settings written out by hand."""

from __future__ import annotations

import datetime
import re

import pytest

from rnn_core.evaluation import PortfolioConfig
from rnn_core.workflow import WorkflowError, load_document, read_workflow
from tests.rnn_core.workflow.workflow_cases import BENCHMARKS, FILES

LSTM = FILES / "lstm_alpha158.yaml"
KRNN = FILES / "krnn_alpha360.yaml"


def read(path=LSTM, overrides=(), **options):
    return read_workflow(load_document(path, overrides), **options)


def problems(path=LSTM, overrides=(), **options):
    """The lines of the one error."""
    with pytest.raises(WorkflowError) as caught:
        read(path, overrides, **options)
    head, *lines = str(caught.value).splitlines()
    lines = [line for line in lines if not line.startswith("   ")]  # continued
    assert re.fullmatch(rf".*\.yaml has {len(lines)} problems?, nothing was run:", head), head
    return [line.strip() for line in lines]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_benchmark_files_are_read(name):
    spec = read(FILES / f"{name}.yaml")
    assert spec.provider.region == "cn"
    assert spec.dataset.handler == ("Alpha158" if "158" in name else "Alpha360")
    assert spec.dataset.dataset == ("TSDatasetH" if "158" in name else "DatasetH")
    assert spec.model.name.lower() == name.split("_")[0]
    assert spec.dataset.segments["test"] == (
        datetime.date(2017, 1, 1),
        datetime.date(2020, 8, 1),
    )
    assert list(spec.dataset.segments) == ["train", "valid", "test"]
    assert spec.semantics == "qlib"
    assert (spec.signal.long_short, spec.signal.sessions_per_year) == (False, 252)
    assert spec.portfolio.benchmark == ("SH000300",)
    assert spec.portfolio.key == "task.record.2.kwargs.config.backtest"


def test_the_settings_of_one_in_full():
    spec = read(LSTM)
    assert spec.model.arguments == {
        "d_feat": 20, "hidden_size": 64, "num_layers": 2, "dropout": 0.0, "n_epochs": 200,
        "lr": 0.001, "early_stop": 10, "batch_size": 800, "metric": "loss", "loss": "mse",
        "n_jobs": 20, "GPU": 0,
    }  # fmt: skip
    assert spec.dataset.step_len == 20
    assert spec.dataset.instruments == "csi300"
    assert [s["class"] for s in spec.dataset.arguments["infer_processors"]] == [
        "FilterCol", "RobustZScoreNorm", "Fillna",
    ]  # fmt: skip
    assert [s["class"] for s in spec.dataset.arguments["learn_processors"]] == [
        "DropnaLabel", "CSRankNorm",
    ]  # fmt: skip
    # Without exchange_kwargs the costs are Exchange's own defaults, the limit the region's.
    assert spec.portfolio.config == PortfolioConfig(
        topk=50, n_drop=5, account=1e8, open_cost=0.0015, close_cost=0.0025, min_cost=5.0,
        limit_threshold=0.095, semantics="qlib", trade_unit=100,
    )  # fmt: skip
    assert read(KRNN).portfolio.config == PortfolioConfig(
        trade_unit=100, open_cost=0.0005, close_cost=0.0015, limit_threshold=0.095, semantics="qlib"
    )


def test_every_problem_is_in_one_error():
    """Oracle: the list of what was put in."""
    wrong = [
        "qlib_init.region=tw",
        "qlib_init.provder=x",
        "task.model.kwargs.hiden_size=3",
        "task.model.kwargs.lr=fast",
        "task.model.kwargs.dropout=2",
        "task.dataset.kwargs.handler.kwargs.freq=1min",
        "task.dataset.kwargs.handler.kwargs.label=[$close +]",
        "task.dataset.kwargs.handler.kwargs.infer_processors.1.class=RobustZNorm",
        "task.dataset.kwargs.handler.kwargs.infer_processors.0.kwargs.col_list=[KLEN, KLEM]",
        "task.dataset.kwargs.segments.valid=[2017-01-01, 2015-01-01]",
        "task.dataset.kwargs.sampler=x",
        "task.record.0.class=HFSignalRecord",
        "port_analysis_config.strategy.class=EnhancedIndexingStrategy",
        "port_analysis_config.backtest.exchange_kwargs={impact_cost: 0.1, deal_price: $high}",
        "port_analysis_config.executor={class: NestedExecutor}",
        "sys={path: [.]}",
        "experiments=x",
        "task.modle=x",
    ]
    found = problems(LSTM, wrong)
    want = [
        r"qlib_init.region \(line 2\): 'tw' is not supported, expected cn, us",
        r"qlib_init.provder: unknown key, supported: .*; did you mean 'provider_uri'\?",
        r"task.model.kwargs.hiden_size: LSTM has no argument 'hiden_size'.*'hidden_size'",
        r"task.model.kwargs.lr \(line 50\): lr is 'fast'",
        r"task.model.kwargs.dropout \(line 48\): dropout is 2",
        r"handler.kwargs.freq: '1min' is not supported, expected day",
        r"handler.kwargs.label \(line 25\): the label: LABEL0: ",
        r"infer_processors.1 \(line 17\): no processor is called 'RobustZNorm'.*'RobustZScoreNorm'",
        r"infer_processors.0.kwargs.col_list \(line 15\): Alpha158 has no feature KLEM; did you",
        r"segments.valid \(line 67\): segment 'valid' ends on 2015-01-01, before it starts",
        r"task.dataset.kwargs.sampler: unknown key, supported: handler, segments, step_len",
        r"task.record.0.class \(line 71\): 'HFSignalRecord' is not supported, expected SignalRec",
        r"task.record \(line 70\): has an analysis without SignalRecord",
        r"config.strategy.class \(line 28\): 'EnhancedIndexingStrategy' is not supported, expecte",
        r"config.backtest.exchange_kwargs.impact_cost: is not supported, leave it out",
        r"config.backtest.exchange_kwargs.deal_price: '\$high' is not supported, expected close,",
        r"config.executor.class: 'NestedExecutor' is not supported, expected SimulatorExecutor",
        r"sys: is about importing other code, which is never done",
        r"experiments: unknown key, supported: qlib_init, task, experiment_name",
        r"task.modle: unknown key, supported: model, dataset, record; did you mean 'model'\?",
    ]
    for pattern in want:
        assert sum(bool(re.search(pattern, line)) for line in found) == 1, (pattern, found)
    assert len(found) == len(want), found


def test_sections_that_are_missing_are_told_too(tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text("task: {model: {class: LSTM}, dataset: 3}\n")
    found = problems(path)
    want = [
        "qlib_init: is missing, expected a mapping",
        "task.dataset (line 1): is 3, expected a mapping",
    ]
    for start in want:
        assert any(line.startswith(start) for line in found), (start, found)


@pytest.mark.parametrize(
    "override",
    [
        "experiment_name=first",
        "qlib_init.exp_manager={class: MLflowExpManager, kwargs: {uri: mlruns}}",
        "qlib_init.kernels=1",
        "qlib_init.provider_uri={day: ~/data}",
        "task.model.kwargs.metric=",
        "task.model.kwargs.seed=",
        "task.dataset.kwargs.handler.kwargs.drop_raw=true",
        "task.dataset.kwargs.handler.kwargs.infer_processors.1.module_path="
        "qlib.data.dataset.processor",
        "port_analysis_config.executor={class: SimulatorExecutor, module_path: "
        "qlib.backtest.executor, kwargs: {time_per_step: day, generate_portfolio_metrics: true}}",
        "task.record.2.kwargs.risk_analysis_freq=day",
        "task.record.1.kwargs.skip_existing=false",
    ],
)
def test_harmless_keys_are_accepted(override):
    if override.endswith("metric="):
        override += "''"
    assert read(LSTM, [override]).model.arguments["metric"] == "loss"


def test_what_the_command_line_says_comes_first():
    spec = read(LSTM, provider_uri="/elsewhere", vwap="typical", semantics="strict")
    assert (spec.provider.uri, spec.provider.vwap) == ("/elsewhere", "typical")
    assert spec.portfolio.config.semantics == "strict"
    with pytest.raises(ValueError, match="semantics is 'loose', expected 'qlib' or 'strict'"):
        read(LSTM, semantics="loose")


def test_the_region_decides_the_limit():
    assert read(LSTM, ["qlib_init.region=us"]).portfolio.config.limit_threshold is None
    given = ["qlib_init.region=us"]
    assert read(KRNN, given).portfolio.config.limit_threshold == 0.095


def test_the_lot_is_the_regions_unless_it_is_given():
    """Oracle: qlib's config.py, 100 shares in cn and 1 in us; null is fractions."""
    unit = "port_analysis_config.backtest.exchange_kwargs.trade_unit="
    assert read(KRNN).portfolio.config.trade_unit == 100
    assert read(KRNN, ["qlib_init.region=us"]).portfolio.config.trade_unit == 1
    assert read(KRNN, [unit]).portfolio.config.trade_unit is None
    assert read(KRNN, [f"{unit}200"]).portfolio.config.trade_unit == 200
    (line,) = problems(KRNN, [f"{unit}0"])
    assert "trade_unit (line" not in line
    assert "trade_unit: is 0, expected a whole number from 1 on" in line


def test_the_layout_of_krnn_is_noted_unless_it_is_chosen():
    """In qlib semantics it is qlib's, in strict that of the columns."""
    for semantics in ("qlib", "strict"):
        spec = read(KRNN, semantics=semantics)
        assert any("legacy_layout=true" in note for note in spec.notes)
        assert spec.model.arguments["legacy_layout"] is (semantics == "qlib")
        for word in ("true", "false"):
            chosen = read(KRNN, [f"task.model.kwargs.legacy_layout={word}"], semantics=semantics)
            assert not any("legacy_layout" in note for note in chosen.notes)
            assert chosen.model.arguments["legacy_layout"] is (word == "true")


def test_a_processor_without_a_group_is_noted_in_qlib_and_a_problem_in_strict():
    bare = ["task.dataset.kwargs.handler.kwargs.infer_processors.2.kwargs={}"]
    (note,) = read(LSTM, bare).notes
    assert note.startswith("dataset: Fillna has no fields_group and takes every column")
    (line,) = problems(LSTM, bare, semantics="strict")
    assert "infer_processors.2 (line 19): Fillna was given fields_group=None" in line


def test_the_default_processors_of_alpha360_follow_the_semantics():
    """Q14: qlib's have no group, so they standardise the label and fill it."""
    overrides = ["task.dataset.kwargs.handler.kwargs={fit_end_time: 2014-12-31}"]
    spec = read(KRNN, overrides)
    assert [step["kwargs"] for step in spec.dataset.arguments["infer_processors"]] == [{}, {}, {}]
    assert len([note for note in spec.notes if "takes every column" in note]) == 3
    strict = read(KRNN, overrides, semantics="strict")
    for step in strict.dataset.arguments["infer_processors"]:
        assert step["kwargs"] == {"fields_group": "feature"}


def test_a_portfolio_without_config_is_qlibs_default():
    spec = read(LSTM, ["task.record.2.kwargs={}"])
    assert spec.portfolio.config == PortfolioConfig(semantics="qlib", trade_unit=100)
    assert (spec.portfolio.start_time, spec.portfolio.end_time) == (None, None)
    assert spec.portfolio.benchmark == ("SH000300",)
    assert not spec.portfolio.names_benchmark


def test_one_record_need_not_be_a_list():
    spec = read(LSTM, ["task.record={class: SignalRecord}"])
    assert (spec.signal, spec.portfolio) == (None, None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.model.class=ALSTM", "'ALSTM' is not supported, expected LSTM, GRU, KRNN; did you"),
        ("task.model.module_path=my.models", "'my.models' is not supported, expected qlib.contr"),
        ("task.model.kwargs.GPU=x", "GPU is 'x'"),
        (
            "task.dataset.kwargs.handler.class=Alpha159",
            "expected Alpha158, .*did you mean 'Alpha15",
        ),
        ("task.dataset.kwargs.segments={train: [2008-01-01, 2014-12-31]}", "test: is missing"),
        ("task.dataset.kwargs.step_len=0", "is 0, expected a whole number from 1 on"),
        ("task.record.1.kwargs.label_col=1", "1 is not supported, expected 0"),
        ("data_handler_config.start_time=soon", "is 'soon', expected a date such as 2008-01-01"),
        ("data_handler_config.end_time=2007-01-01", "is 2007-01-01, before start_time"),
        ("data_handler_config.fit_end_time=", "RobustZScoreNorm is fitted: give the handler"),
        ("data_handler_config.instruments={market: csi300}", "is a dict, expected the name of"),
        ("data_handler_config.label=[$close, $open]", "holds 2 expressions, the models learn one"),
        ("data_handler_config.filter_pipe=[x]", "filter_pipe: is not supported, leave it out"),
        ("port_analysis_config.strategy.kwargs.topk=0", "topk=0: expected 1 name or more"),
        ("port_analysis_config.strategy.kwargs.method_buy=random", "'random' is not supported"),
        ("port_analysis_config.backtest.account={cash: 1}", "is a dict, expected a number"),
        ("port_analysis_config.backtest.benchmark=3", "is 3, expected a code or a list of codes"),
        ("BASE_CONFIG_PATH=other.yaml", "is not supported: merge the two files into one"),
        ("task.record=3", "is 3, expected a list of records"),
    ],
)
def test_a_single_problem_says_what_is_supported(override, message):
    found = problems(LSTM, [override])
    assert any(re.search(message, line) for line in found), found


def test_keys_that_only_hold_anchors_are_left_alone(tmp_path):
    text = LSTM.read_text()
    path = tmp_path / "flow.yaml"
    path.write_text(text + "my_part: &part {a: 1}\nmine: {deep: [&x 2]}\n")
    assert read(path).model.name == "LSTM"
    path.write_text(text + "my_part: {a: 1}\n")
    (line,) = problems(path)
    assert line.startswith("my_part (line 84): unknown key")


def test_reading_does_not_write_to_the_document():
    document = load_document(LSTM)
    before = repr(document.values)
    read_workflow(document)
    assert repr(document.values) == before
