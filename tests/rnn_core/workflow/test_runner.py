"""Whole runs of the five benchmark files. Oracles are named at each test."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import mean_test, risk_analysis
from rnn_core.models import GRU, KRNN, LSTM
from rnn_core.workflow import (
    Watcher,
    WorkflowError,
    default_folder,
    load_document,
    read_workflow,
    run_workflow,
)
from rnn_core.workflow.build_data import load_material
from tests.rnn_core.workflow.workflow_cases import BENCHMARKS, FILES, SESSIONS, small

CLASSES = {"lstm": LSTM, "gru": GRU, "krnn": KRNN}
EXPECTED = {
    "config.yaml", "run.json", "handler.json", "predictions.parquet", "label.parquet",
    "bundle/config.yaml", "bundle/history.parquet", "bundle/manifest.json",
    "bundle/processors.json", "bundle/weights.safetensors",
    "signal_analysis/ic.parquet", "signal_analysis/quantiles.parquet",
    "signal_analysis/summary.json",
    "portfolio_analysis/report.parquet", "portfolio_analysis/positions.parquet",
    "portfolio_analysis/risk.json",
    "plots/ic.png", "plots/loss.png", "plots/portfolio.png", "plots/quantile_returns.png",
}  # fmt: skip


class Recorder(Watcher):
    """Keeps what it is told."""

    def __init__(self):
        self.stages, self.epochs, self.segments = [], [], []

    def stage(self, text):
        self.stages.append(text)

    def loaded(self, segments, n_features):
        self.segments = list(segments)

    def epoch(self, report):
        self.epochs.append(report)


def spec_of(provider, name="gru_alpha158", overrides=(), **options):
    light = {} if name.startswith("krnn") else {"hidden_size": 8}
    document = load_document(FILES / f"{name}.yaml", [*small(**light), *overrides])
    return read_workflow(document, provider_uri=str(provider), **options)


def files_of(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        BENCHMARKS[0],
        *(pytest.param(name, marks=pytest.mark.thorough) for name in BENCHMARKS[1:]),
    ],
)
def test_the_benchmark_files_run_to_a_whole_folder(name, provider, tmp_path):
    """Oracles: the saved bundle scores again; IC by pandas' corr, day by day."""
    spec, watcher = spec_of(provider, name), Recorder()
    result = run_workflow(spec, tmp_path / "run", watcher)
    assert files_of(tmp_path / "run") == EXPECTED
    assert len(watcher.epochs) == 1
    assert [s.name for s in watcher.segments] == ["train", "valid", "test"]
    assert (tmp_path / "run" / "config.yaml").read_bytes() == (FILES / f"{name}.yaml").read_bytes()

    keys = ["datetime", "instrument"]
    scores = pd.read_parquet(tmp_path / "run" / "predictions.parquet").set_index(keys)["score"]
    label = pd.read_parquet(tmp_path / "run" / "label.parquet").set_index(keys)["LABEL0"]
    days = scores.index.get_level_values("datetime")
    assert (days.min(), days.max()) == (SESSIONS[181], SESSIONS[215])
    model = CLASSES[name.split("_")[0]].load(tmp_path / "run" / "bundle")
    again = model.predict(load_material(spec).dataset, "test")
    np.testing.assert_array_equal(scores, again)
    assert scores.index.equals(label.index)

    both = pd.DataFrame({"score": scores, "label": label})
    want = both.groupby(level="datetime").apply(lambda d: d["score"].corr(d["label"]))
    daily = pd.read_parquet(tmp_path / "run" / "signal_analysis" / "ic.parquet")
    np.testing.assert_allclose(daily["ic"], want, rtol=1e-6, atol=1e-9)
    summary = json.loads((tmp_path / "run" / "signal_analysis" / "summary.json").read_text())
    assert summary["ic"] == pytest.approx(want.mean())
    assert summary["icir"] == pytest.approx(want.mean() / want.std())

    part = tmp_path / "run" / "portfolio_analysis"
    report = pd.read_parquet(part / "report.parquet").set_index("datetime")
    assert (report.index[0], report.index[-1]) == (SESSIONS[181], SESSIONS[215])
    excess = report["return"] - report["bench"] - report["cost"]
    risk = json.loads((part / "risk.json").read_text())
    want_risk = risk_analysis(excess).to_dict()
    assert risk["excess_return_with_cost"] == pytest.approx(want_risk)
    positions = pd.read_parquet(part / "positions.parquet")
    value = (positions["amount"] * positions["price"]).groupby(positions["datetime"]).sum()
    np.testing.assert_allclose(value, report["value"].loc[value.index], rtol=1e-9)
    assert positions.groupby("datetime").size().iloc[0] == 5
    assert result.portfolio.risk["benchmark_return"]["std"] > 0


def test_run_json_says_what_the_other_files_do_not(provider, tmp_path):
    spec = spec_of(provider)
    run_workflow(spec, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seed"] == 3
    assert record["semantics"] == "qlib"
    assert record["workflow"] == "gru_alpha158.yaml"
    assert record["overrides"] == list(spec.document.overrides)
    assert record["provider"] == {"uri": str(provider), "region": "cn", "vwap": None}
    assert record["features"] == 20
    assert record["segments"]["test"]["first"] == f"{SESSIONS[181]:%Y-%m-%d}"
    assert record["device"] == "cpu, as configured"
    assert set(record["versions"]) == {"numpy", "pandas", "pyarrow", "torch"}


def test_the_same_seed_gives_the_same_scores_and_none_is_drawn(provider, tmp_path):
    def run(name, *seed):
        alone = "task.record={class: SignalRecord}"  # the scores, and no book or picture of them
        return run_workflow(spec_of(provider, overrides=[alone, *seed]), tmp_path / name)

    first, second = run("a"), run("b")
    pd.testing.assert_series_equal(first.predictions, second.predictions)
    drawn = run("c", "task.model.kwargs.seed=")
    assert drawn.seed != 3
    assert set(drawn.history["seed"]) == {drawn.seed}
    assert not np.array_equal(drawn.predictions, first.predictions)
    had_again = run("d", f"task.model.kwargs.seed={drawn.seed}")
    pd.testing.assert_series_equal(had_again.predictions, drawn.predictions)


def test_the_tests_of_a_run_know_the_horizon_of_its_label(provider, tmp_path):
    """Oracle: `mean_test` of the stored ICs, with the lags of the overlap."""
    label = "task.dataset.kwargs.handler.kwargs.label=['Ref($close,-11)/Ref($close,-1)-1']"
    result = run_workflow(spec_of(provider, overrides=[label]), tmp_path / "run")
    daily = pd.read_parquet(tmp_path / "run" / "signal_analysis" / "ic.parquet")
    assert result.signal.horizon == 10
    for name in ("ic", "rank_ic"):
        expected = mean_test(daily[name], lags=9)["t_nw"]
        assert result.signal.summary[f"{name}_t_nw"] == expected
        assert expected != mean_test(daily[name])["t_nw"]


@pytest.mark.thorough
def test_long_short_returns_where_they_are_asked_for(provider, tmp_path):
    """Oracle: qlib's formula, by hand: mean of the top fifth less that of the bottom, halved."""
    spec = spec_of(provider, overrides=["task.record.1.kwargs.ana_long_short=true"])
    result = run_workflow(spec, tmp_path / "run")
    daily = pd.read_parquet(tmp_path / "run" / "signal_analysis" / "ic.parquet")
    daily = daily.set_index("datetime")
    both = pd.DataFrame({"score": result.predictions, "label": result.label})

    def spread(day):
        k = int(len(day) * 0.2)
        ranked = day.sort_values("score", ascending=False)["label"]
        return (ranked.iloc[:k].mean() - ranked.iloc[-k:].mean()) / 2

    want = both.groupby(level="datetime").apply(spread)
    np.testing.assert_allclose(daily["long_short"], want, rtol=1e-9, atol=1e-12)
    summary = result.signal.summary
    assert summary["long_short_annualized_return"] == pytest.approx(want.mean() * 252)


def test_only_the_records_that_are_asked_for(provider, tmp_path):
    spec = spec_of(provider, overrides=["task.record={class: SignalRecord}"])
    result = run_workflow(spec, tmp_path / "run")
    assert result.signal is None
    assert result.portfolio is None
    names = files_of(tmp_path / "run")
    assert not any(name.startswith(("signal_", "portfolio_")) for name in names)
    assert "plots/loss.png" in names
    assert "predictions.parquet" in names


@pytest.mark.thorough
def test_without_a_benchmark_the_return_itself_is_analysed(provider, tmp_path):
    """Oracle: `risk_analysis` of the report's return."""
    spec = spec_of(provider, overrides=["port_analysis_config.backtest.benchmark="])
    result = run_workflow(spec, tmp_path / "run")
    daily = result.portfolio.result.daily
    want = risk_analysis(daily["return"] - daily["cost"]).to_dict()
    assert result.portfolio.risk["return_with_cost"] == pytest.approx(want)
    assert set(result.portfolio.risk) == {"return_with_cost", "return_without_cost"}


class Stopped(Watcher):
    def epoch(self, report):
        raise KeyboardInterrupt


def test_a_run_that_is_stopped_leaves_nothing(provider, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_workflow(spec_of(provider), tmp_path / "runs" / "one", Stopped())
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_written_leaves_no_half_of_it(provider, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("rnn_core.workflow.folder.to_png", full)
    with pytest.raises(OSError, match="no space left"):
        run_workflow(spec_of(provider), tmp_path / "runs" / "one")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_is_taken_is_told_before_any_work(provider, tmp_path):
    taken = tmp_path / "run"
    taken.mkdir()
    (taken / "mine.txt").write_text("kept")
    watcher = Recorder()
    with pytest.raises(WorkflowError, match="run exists already: choose another folder"):
        run_workflow(spec_of(provider), taken, watcher)
    assert watcher.stages == []
    with pytest.raises(WorkflowError, match="cannot be written to: choose another folder"):
        run_workflow(spec_of(provider), taken / "mine.txt" / "below")
    assert (taken / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.model.kwargs.d_feat=6", r"gru_alpha158.yaml, task.model: d_feat is 6 and the windo"),
        (
            "market=csi500",
            r"gru_alpha158.yaml, task\.dataset\..*\.instruments: .*no universe 'csi500'",
        ),
        ("task.model.kwargs.lr=1.0e+30", r"gru_alpha158.yaml, task.model: .*epoch"),
    ],
)
def test_what_goes_wrong_is_told_with_its_section(override, message, provider, tmp_path):
    more = ["task.model.kwargs.n_epochs=5", override]
    with pytest.raises(WorkflowError, match=message):
        run_workflow(spec_of(provider, overrides=more), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_there_are_no_plots(provider, tmp_path, monkeypatch):
    monkeypatch.setattr("rnn_core.workflow.runner.find_spec", lambda name: None)
    watcher = Recorder()
    run_workflow(spec_of(provider), tmp_path / "run", watcher)
    assert not (tmp_path / "run" / "plots").exists()
    assert any(stage.startswith("no plots") for stage in watcher.stages)


def test_the_default_folder():
    now = datetime.datetime(2026, 1, 2, 3, 4, 5)
    assert str(default_folder("a/flow.yaml", now)) == "qruns/flow/20260102-030405"
