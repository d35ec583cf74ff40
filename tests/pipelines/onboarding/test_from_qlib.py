"""`rnn-pipelines init --from-qlib`: qlib's workflow files become markets that run.

Oracle: the values in the files, and a provider folder whose bars and days are known.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.market.market import Market
from pipelines.operations.backfill import run_backfill
from pipelines.operations.console import make_console
from rnn_core.workflow import load_document
from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.rnn_core.workflow.workflow_cases import BENCHMARKS, FILES, SESSIONS, SPANS, small

DAYS = [f"{day:%Y-%m-%d}" for day in SESSIONS]
TINY = {
    "LSTM": {"hidden_size": 4},
    "GRU": {"hidden_size": 4},
    "KRNN": {"cnn_dim": 4, "rnn_dim": 4},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own, and nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A provider of twelve names; nobody writes to it."""
    bars = adjusted_market(12, SESSIONS, 1, signal=0.3, suspension_rate=0.05)
    whole = (DAYS[0], "2099-12-31")
    codes = sorted(bars["instrument"].unique())
    spans = [(code, *SPANS.get(k, whole)) for k, code in enumerate(codes)]
    root = tmp_path_factory.mktemp("provider") / "data"
    return dump_provider(root, bars, sessions=SESSIONS, spans=spans)


def init(*flags: object) -> int:
    return main(["init", "--from-qlib", *map(str, flags)])


def write(name: str, *overrides: str) -> Path:
    """A benchmark file with other values, beside the working folder's files."""
    path = Path(f"{name}.yaml")
    values = load_document(FILES / path.name, overrides).values
    path.write_text(yaml.safe_dump(values))
    return path


def shortened(name: str, folder: Path, *overrides: str) -> Path:
    """A benchmark file over the provider's days, with a network that trains in a moment."""
    family = name.partition("_")[0].upper()
    return write(name, *small(**TINY[family]), f"qlib_init.provider_uri={folder}", *overrides)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_becomes_a_market(name, capsys):
    """Handler, window, network and costs are those of the file, without a provider at hand."""
    family, features = name.split("_")
    assert init(FILES / f"{name}.yaml") == 0
    said = capsys.readouterr().out
    config = load_config(f"csi300_{name}.yaml")
    given = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    market = config.market
    assert (market.source.kind, market.source.instruments) == ("qlib_bin", "csi300")
    assert market.source.path == str(Path("~/.qlib/qlib_data/cn_data").expanduser())
    assert (market.calendar, market.universe.market) == ("XSHG", "csi300")
    # 60 sessions before the handler's first, and 2017-01-03 is Shanghai's first of that year.
    assert (str(market.start), str(market.end)) == ("2007-10-08", "2020-07-31")
    assert str(config.training.first_trained) == "2017-01-03"
    assert (config.training.window_sessions, config.training.valid_sessions) == (2190, 488)
    assert config.dataset.fit.window_sessions == 2190
    (dataset,) = config.dataset_specs
    assert len(dataset.feature_set.names) == (158 if features == "alpha158" else 360)
    assert len(dataset.columns) == (20 if features == "alpha158" else 360)
    expected = ("sessions", 20) if features == "alpha158" else ("columns", 60)
    assert (dataset.config.layout, dataset.config.step_len) == expected
    (model,) = Market(config, root=Path("state")).models
    kwargs = given["task"]["model"]["kwargs"]
    assert model.family == model.name == family
    every = {**model.hyper, **model.training}
    for key, value in kwargs.items():
        if key not in ("d_feat", "fea_dim", "n_jobs", "GPU"):
            assert every[key] == (value if key in ("metric", "loss") else float(value))
    for key in ("benchmark: SH000300", "fit_start_time, fit_end_time", "PortAnaRecord"):
        assert key in said
    assert ("task.model.kwargs.n_jobs" in said) == ("n_jobs" in kwargs)
    assert "is not there: `validate` compares the YAML with it later" in said


def test_all_benchmarks_become_one_market(capsys):
    """Equal datasets are one, and each model learns from its own."""
    files = [FILES / f"{name}.yaml" for name in BENCHMARKS]
    assert init(*files, "--name", "table") == 0
    said = capsys.readouterr().out
    config = load_config("table.yaml")
    assert list(config.datasets) == ["alpha158", "alpha360"]
    models = {spec.name: spec for spec in Market(config, root=Path("state")).models}
    assert {name: (spec.family, spec.dataset) for name, spec in models.items()} == {
        "lstm": ("lstm", None),
        "gru": ("gru", None),
        "lstm_alpha360": ("lstm", "alpha360"),
        "gru_alpha360": ("gru", "alpha360"),
        "krnn_alpha360": ("krnn", "alpha360"),
    }
    # The shipped configuration of the same five differs in the windows' lengths only, and holds
    # all of them against two that are no networks.
    shipped = load_config("csi300_benchmarks")
    shipped_models = {spec.name: spec for spec in Market(shipped, root=Path("other")).models}
    assert shipped_models.keys() - models.keys() == {"linear", "lightgbm"}
    assert {name: shipped_models[name] for name in models} == models
    for name, dataset in shipped.datasets.items():
        ours = config.datasets[name]
        assert (ours.layout, ours.step_len) == (dataset.layout, dataset.step_len)
        columns = [next(s for s in c.dataset_specs if s.name == name).columns
                   for c in (config, shipped)]  # fmt: skip
        assert set(columns[0]) == set(columns[1])
    # Costs differ between the files: the first has the market's, and the others are told.
    assert config.portfolio.open_cost == 0.0015
    key = "exchange_kwargs.open_cost: 0.0005, and the one portfolio has 0.0015 of lstm_alpha158"
    assert key in said
    assert key in Path("table.yaml").read_text().replace("\n#    ", "")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("names", "last"),
    [
        pytest.param(["lstm_alpha158"], 186, marks=pytest.mark.thorough),
        pytest.param(["krnn_alpha360"], 183, marks=pytest.mark.thorough),
        ([*BENCHMARKS], 182),
    ],
    ids=["windows of sessions", "windows in columns", "all together"],
)
def test_a_drafted_market_runs(names, last, folder, here, capsys):
    """Bars to evaluations over the days of the folder; only sizes and dates were overridden."""
    files = [shortened(name, folder) for name in names]
    assert init(*files, "--out", "drafted.yaml") == 0
    said = capsys.readouterr().out
    assert "calendar   from the data: XSHG differs from the days of the folder on" in said
    # One epoch on twelve names learns nothing that orders them.
    text = Path("drafted.yaml").read_text()
    Path("drafted.yaml").write_text(text.replace("rank_ic: block", "rank_ic: warn"))
    config = load_config("drafted.yaml")
    assert config.market.vwap == "amount"
    assert (str(config.market.start), str(config.training.first_trained)) == (DAYS[20], DAYS[181])
    assert (config.training.window_sessions, config.training.valid_sessions) == (101, 30)
    assert (config.portfolio.topk, config.portfolio.n_drop) == (5, 1)
    assert (config.training.seed, config.training.threads, config.training.device) == (3, 1, "cpu")
    assert main(["validate", "drafted.yaml"]) == 0
    market = Market(config, root=here / "state")
    assert market.sessions.keys[-1] == DAYS[215]
    run_backfill(market, make_console(), start=DAYS[0], end=DAYS[last])
    for spec in market.models:
        days = DAYS[181 : last + 1]
        table = f"{spec.name}_prediction"
        scores = market.warehouse.read(table, days, needed_by="the test").frame
        assert len(scores) >= 8 * len(days)
        assert scores["score"].std() > 0


def test_a_folder_decides_and_names_what_is_not_there(folder, capsys):
    """`--path` stands for the file's folder; one that is not there is an error."""
    file = shortened("gru_alpha158", folder, "qlib_init.provider_uri=elsewhere")
    assert init(file, "--path", folder, "--calendar", "data", "--timezone", "Asia/Tokyo") == 0
    calendar = load_config("csi300_gru_alpha158.yaml").market.calendar
    assert (calendar.from_, calendar.timezone) == ("data", "Asia/Tokyo")
    assert init(file, "--path", "nowhere", "--force") == 1
    assert "no provider folder" in capsys.readouterr().err
    zone = ("--timezone", "Asia/Tokyo")
    assert init(file, "--path", folder, "--calendar", "XNYS", "--out", "x.yaml", *zone) == 0
    assert "time zone  Asia/Tokyo is not used: XNYS has its own" in capsys.readouterr().out
    market = load_config("x.yaml").market
    assert (market.calendar, str(market.closed), str(market.extra_sessions[0])) == (
        "XNYS", "()", "2020-02-17")  # fmt: skip
    universe = shortened("gru_alpha158", folder, "data_handler_config.instruments=csi500")
    assert init(universe, "--out", "y.yaml") == 1
    assert "no universe 'csi500'" in capsys.readouterr().err
    assert not Path("y.yaml").exists()


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("gru_alpha158", "task.model.class=ALSTM", "task.model.class: 'ALSTM' is not"),
        ("gru_alpha158", "task.dataset.kwargs.handler.class=Alpha101", "'Alpha101' is not supp"),
        ("gru_alpha158", "data_handler_config.instruments=[SH600000]", "instruments: li"),
        ("gru_alpha158", "data_handler_config.process_type=independent", "process_type: is indep"),
        ("gru_alpha158", "data_handler_config.shared_processors=[{class: ProcessInf}]",
         "shared_processors: a market has no shared processors"),
        ("gru_alpha158", "data_handler_config.learn_processors.1={class: CSRankNorm}",
         "learn_processors.1: CSRankNorm touches every column, and learn_processors"),
        ("gru_alpha158", "data_handler_config.label=['$close/Ref($close, 1)']",
         "looks at no later session"),
        ("gru_alpha158", "task.model.kwargs.d_feat=158",
         "task.model.kwargs.d_feat: is 158, and the processors leave 20 columns: set it"),
        ("gru_alpha360", "task.model.kwargs.d_feat=7", "is 7, and the rows cannot be cut into its"),
        ("gru_alpha158", "task.dataset={class: DatasetH, kwargs: {handler: {class: Alpha158}, "
         "segments: {train: [2015-01-01, 2015-12-31], test: [2017-01-01, 2017-12-31]}}}",
         "task.model.kwargs.d_feat: is 20, and the rows cannot be cut into its steps"),
        ("gru_alpha158", "port_analysis_config.strategy.kwargs.n_drop=0", "n_drop: Input should"),
        ("gru_alpha158", "task.dataset.kwargs.segments.valid=[2016-01-01, 2017-06-30]",
         "test begins on 2017-01-01, before valid ends on 2017-06-30"),
        ("gru_alpha158", "task.dataset.kwargs.segments.train=[2001-01-01, 2001-12-31]",
         "segments.train holds no session of the market, 2007-10-08 to 2020-07-31"),
    ],
)  # fmt: skip
def test_what_a_market_cannot_do_is_refused_by_key(name, override, said, here, capsys):
    assert init(write(name, override)) == 1
    error = capsys.readouterr().err
    assert said in re.sub(r" \(line \d+\)", "", error)
    assert not list(here.glob("csi300*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("qlib_init.region=us", "qlib_init.region is us, and lstm_alpha158.yaml has cn"),
        ("data_handler_config.instruments=csi500",
         "handler.kwargs.instruments is csi500, and lstm_alpha158.yaml has csi300"),
        ("task.dataset.kwargs.segments.test=[2018-01-01, 2020-08-01]",
         "segments.test is 2018-01-01 to 2020-08-01, and lstm_alpha158.yaml has 2017-01-01"),
    ],
)  # fmt: skip
def test_files_of_several_markets_are_refused(override, said, here, capsys):
    assert init(FILES / "lstm_alpha158.yaml", write("gru_alpha158", override)) == 1
    assert f"gru_alpha158.yaml: {'' if said.startswith('qlib') else 'task.'}" in (
        error := capsys.readouterr().err
    )
    assert said in error
    assert not list(here.glob("csi300*"))


def test_labels_and_processors_make_datasets_of_their_own(capsys):
    """A label of vwap, qlib's default processors, no segment valid, and settings of all models."""
    own = write(
        "gru_alpha158",
        "task.dataset.kwargs.handler.class=Alpha158vwap",
        "data_handler_config.label=null",
        "data_handler_config.infer_processors.2={class: Fillna}",
        "task.model.kwargs.seed=7",
        "task.model.kwargs.GPU=2",
        "qlib_init.kernels=4",
        "experiment_name=mine",
    )
    assert init(FILES / "lstm_alpha158.yaml", own, "--name", "two") == 0
    said = capsys.readouterr().out
    config = load_config("two.yaml")
    assert [entry.features.label for entry in config.datasets.values()] == [
        "Ref($close, -2) / Ref($close, -1) - 1", "Ref($vwap, -2)/Ref($vwap, -1) - 1"]  # fmt: skip
    assert list(config.datasets) == ["alpha158", "alpha158_2"]
    assert config.models["gru_alpha158_2"] == {"family": "gru", "dataset": "alpha158_2"}
    assert config.training.seed == 0
    for text in (
        "seed 7, and all models have 0 of lstm_alpha158.yaml (gru_alpha158.yaml)",
        "GPU: training.device is auto, the first GPU: cuda:2 is qlib's (gru_alpha158.yaml)",
        "infer_processors.2: Fillna has no fields_group: qlib's takes the label too",
        "qlib_init.kernels: about qlib's processes, caches and logs",
        "experiment_name: the market's name is that of all its state",
    ):
        assert text in said


def test_a_file_without_valid_and_backtest(capsys):
    document = load_document(FILES / "krnn_alpha360.yaml").values
    del document["task"]["dataset"]["kwargs"]["segments"]["valid"], document["task"]["record"]
    document["task"]["model"]["kwargs"]["fea_dim"] = 360  # a row as one step
    document["data_handler_config"]["learn_processors"] = [{"class": "DropnaLabel"}]
    Path("plain.yaml").write_text(yaml.safe_dump(document))
    assert init("plain.yaml", "--out", "x.yaml") == 0
    config = load_config("x.yaml")
    assert (config.training.window_sessions, config.training.valid_sessions) == (2190, 120)
    assert (config.portfolio.topk, config.portfolio.open_cost) == (50, 0.0005)
    assert (config.dataset.layout, config.dataset.step_len) == ("sessions", 1)
    assert [step.name for step in config.dataset.learn_processors] == ["DropnaLabel"]
    assert "portfolio  no file has a backtest" in capsys.readouterr().out


def test_flags_that_the_files_answer_are_refused(here, capsys):
    file = write("gru_alpha158")
    assert init(file, "--universe", "csi500", "--quick") == 1
    assert "--universe, --quick: the workflow files say it" in capsys.readouterr().err
    assert init(file, file) == 1
    assert "gru_alpha158.yaml is given twice" in capsys.readouterr().err
    assert init(file, "--out", here / "gru_alpha158.yaml", "--force") == 1
    assert "is the workflow file itself" in capsys.readouterr().err
    assert init(file, "--name", "No Name") == 1
    assert "as in no_name" in capsys.readouterr().err
    assert init("absent.yaml") == 1
    assert "no workflow file absent.yaml" in capsys.readouterr().err
