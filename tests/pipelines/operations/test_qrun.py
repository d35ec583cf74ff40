"""`qrun` as a person sees it. Oracle: the files of the run folder, and the lines asked for."""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from pipelines.cli.main import parse
from pipelines.operations.qrun import WorkflowFailedError, run_command
from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.rnn_core.workflow.workflow_cases import FILES, SESSIONS, small

CONFIG = str(FILES / "gru_alpha158.yaml")


@pytest.fixture(scope="module")
def provider(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("qrun") / "data"
    return dump_provider(root, adjusted_market(12, SESSIONS, 1, signal=0.3), sessions=SESSIONS)


def parsed(*words: str) -> argparse.Namespace:
    return parse(["qrun", *words])


def quick(**model) -> list[str]:
    overrides = small(hidden_size=8, **model)
    return [word for text in overrides for word in ("--set", text)]


def shown(*words: str) -> str:
    console = Console(file=io.StringIO(), width=120)
    assert run_command(parsed(*words), console) == 0
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_shows_what_it_does_and_where_it_is(provider, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = shown(CONFIG, "--provider-uri", str(provider), *quick(n_epochs=2))
    (folder,) = (tmp_path / "qruns" / "gru_alpha158").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}", folder.name)
    assert f"written to {folder.relative_to(tmp_path)}" in text
    for line in (
        r"data +Alpha158, TSDatasetH, 20 steps, instruments csi300",
        r"semantics +qlib",
        r"model +GRU\(d_feat=20, hidden_size=8",
        r"device: cpu, as configured; seed: 3",
        r"train +2020-04-22 +2020-07-29 +71 +[\d,]+ +20",
        r"epoch +train loss +valid score +best +rows/s",
        r"1/2 +\d+\.\d{6} +-\d+\.\d{6} +1 +[\d,]+",
        r"2/2 +\d+\.\d{6} +-\d+\.\d{6} +[12] +[\d,]+",
        r"IC +ICIR +rank IC +rank ICIR",
        r"excess return with cost +-?\d+\.\d\d%",
        r"\d+ sessions, \d+ names held, benchmark \w+",
    ):
        assert re.search(line, text), (line, text)
    summary = json.loads((folder / "signal_analysis" / "summary.json").read_text())
    assert f"{summary['ic']:.4f}" in text
    risk = json.loads((folder / "portfolio_analysis" / "risk.json").read_text())
    assert f"{risk['excess_return_with_cost']['annualized_return']:.2%}" in text
    assert len(pd.read_parquet(folder / "bundle" / "history.parquet")) == 2


def test_options_reach_the_run(tmp_path):
    copy = dump_provider(
        tmp_path / "data",
        adjusted_market(12, SESSIONS, 1),
        sessions=SESSIONS,
        fields=("open", "high", "low", "close", "volume"),
    )
    out = tmp_path / "mine"
    words = [str(FILES / "krnn_alpha360.yaml"), "--provider-uri", str(copy), "--out", str(out)]
    overrides = [word for text in small() for word in ("--set", text)]
    with pytest.raises(WorkflowFailedError, match=r"no file vwap.day.bin for 12 of 12"):
        shown(*words, *overrides)
    assert not out.exists()
    text = shown(*words, *overrides, "--vwap", "typical", "--semantics", "strict")
    record = json.loads((out / "run.json").read_text())
    assert record["provider"] == {"uri": str(copy), "region": "cn", "vwap": "typical"}
    assert record["semantics"] == "strict"
    assert "legacy_layout=true" in text


def test_warnings_of_the_library_are_lines_of_the_run(provider, tmp_path, caplog):
    codes = "[SH600001, SH600002, SH600003, SH600004, SH600005, SH600006, SH600007, SH999999]"
    text = shown(
        CONFIG, "--provider-uri", str(provider), "--out", str(tmp_path / "run"), *quick(),
        "--set", f"data_handler_config.instruments={codes}",
    )  # fmt: skip
    assert "note: 1 of 8 instruments have no folder" in text.replace("\n", " ")
    assert logging.getLogger("rnn_core").propagate


def test_what_cannot_be_run_is_one_error(tmp_path):
    words = [CONFIG, "--set", "task.model.class=ALSTM", "--set", "qlib_init.region=xx"]
    with pytest.raises(WorkflowFailedError, match=r"gru_alpha158.yaml has 2 problems") as caught:
        shown(*words, "--out", str(tmp_path / "run"))
    assert "task.model.class (line " in str(caught.value)
    with pytest.raises(WorkflowFailedError, match="no workflow file"):
        shown(str(tmp_path / "none.yaml"))
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    text = capsys.readouterr().out
    for option in ("--provider-uri", "--out", "--semantics", "--vwap", "--set"):
        assert option in text
