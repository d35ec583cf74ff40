"""`compare`. Oracles: `compare_signals` on the files of the warehouse, and shapes by hand."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.instance.market_list import keep_config
from rnn_core.evaluation import compare_signals
from tests.pipelines.conftest import TINY, merged
from tests.pipelines.finished_markets import copy_of

KEYS = ["datetime", "instrument"]


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market in a data folder, and nothing that names it but the folder."""
    for name, value in (
        ("RNN_DATA_DIR", str(tmp_path / "data")), ("RNN_CONFIG", ""), ("DAGSTER_HOME", "")
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    market = copy_of(finished, tmp_path / "data" / "tiny")
    keep_config(market.paths, tmp_path / "tiny.yaml")
    return market


def stored(market, table: str, column: str, day: str = "date") -> pd.Series:
    """A column of a table by (datetime, instrument), read from its files."""
    parts = []
    for file in sorted((market.paths.warehouse / table).glob("date=*/*.parquet")):
        rows = pd.read_parquet(file).assign(date=file.parent.name.removeprefix("date="))
        parts.append(rows)
    rows = pd.concat(parts)
    rows = rows.assign(datetime=pd.to_datetime(rows[day]).dt.as_unit("ns")).set_index(KEYS)
    return rows[column].astype(float).dropna().sort_index()


def run_folder(market, folder, change=lambda scores: scores, label=1.0):
    """A folder as `qrun` writes it, with the scores of lstm, changed."""
    folder.mkdir(parents=True)
    scores = change(stored(market, "lstm_prediction", "score"))
    labels = label * stored(market, "label", "label", "decision_date").rename("LABEL0")
    scores.rename("score").reset_index().to_parquet(folder / "predictions.parquet")
    labels.reset_index().to_parquet(folder / "label.parquet")
    return folder


def table(capsys, *words: str) -> tuple[pd.DataFrame, str]:
    assert main(["compare", "--csv", *words]) == 0
    out, err = capsys.readouterr()
    return pd.read_csv(io.StringIO(out), keep_default_na=False, na_values=["NaN"]), err


def error(capsys, *words: str) -> str:
    assert main(["compare", *words]) == 1
    return capsys.readouterr().err


def test_models_of_a_market_are_compared_as_the_library_does(market, capsys):
    rows, err = table(capsys, "tiny.lstm", "tiny.gru", "tiny.krnn")
    scores = {
        f"tiny.{name}": stored(market, f"{name}_prediction", "score")
        for name in ("lstm", "gru", "krnn")
    }
    labels = stored(market, "label", "label", "decision_date")
    expected = compare_signals(scores, labels, ensemble=False)
    single = rows[(rows["b"] == "") & (rows["statistic"] == "rank_ic")].set_index("a")
    for name, row in expected.summary.iterrows():
        for column, own in (("mean", "rank_ic"), ("ir", "rank_ic_ir"), ("t_nw", "rank_ic_t_nw")):
            assert float(single.loc[name, column]) == pytest.approx(row[own])
    pairs = rows[rows["b"] != ""].reset_index(drop=True)
    assert len(pairs) == 6
    for column, own in (("mean", "difference"), ("p_nw", "p_nw"), ("p_holm", "p_holm")):
        found = pairs[column].astype(float).to_numpy()
        np.testing.assert_allclose(found, expected.differences[own])
    assert err == "".join(f"note: {note}\n" for note in expected.notes)


@pytest.mark.parametrize("words", [["tiny"], ["tiny.yaml"], ["--config", "tiny.yaml", "lstm", "gru",
                                                           "krnn"]])  # fmt: skip
def test_a_market_stands_for_its_models_and_a_model_for_itself(market, capsys, words):
    rows, _ = table(capsys, *words)
    assert set(rows["a"]) == {"tiny.lstm", "tiny.gru", "tiny.krnn"}


def test_a_run_of_qrun_is_compared_on_the_rows_that_both_have(market, tmp_path, capsys):
    folder = run_folder(market, tmp_path / "qruns" / "one", lambda s: (-s).iloc[12:])
    rows, err = table(capsys, "tiny.lstm", "qruns/one")
    days = stored(market, "lstm_prediction", "score").iloc[12:].index.get_level_values(0)
    assert f"compared are 2020-04-03 to 2020-05-15 ({days.nunique()} sessions, " in err
    means = rows[(rows["b"] == "") & (rows["statistic"] == "ic")].set_index("a")["mean"]
    assert means["tiny.lstm"] == pytest.approx(-means["qruns/one"])
    assert folder.is_dir()


def test_other_labels_are_said_and_the_first_are_taken(market, tmp_path, capsys):
    run_folder(market, tmp_path / "run", label=2.0)
    _, err = table(capsys, "tiny.lstm", "run")
    assert "the labels of run differ from those of tiny.lstm on " in err
    assert "all signals are measured on those of tiny.lstm" in err


def test_the_tests_know_the_horizon_of_the_first_signals_label(market, tmp_path, capsys):
    """Oracle: the library with the horizon of the label that the run has stored."""
    runs = {"one": run_folder(market, tmp_path / "one")}
    runs["two"] = run_folder(market, tmp_path / "two", lambda s: s.groupby(level=1).shift(1))
    state = {"label": [["Ref($close, -12)/Ref($close, -1) - 1"], ["LABEL0"]]}
    (runs["one"] / "handler.json").write_text(json.dumps(state))
    rows, _ = table(capsys, "one", "two")
    scores = {
        name: pd.read_parquet(folder / "predictions.parquet").set_index(KEYS)["score"]
        for name, folder in runs.items()
    }
    labels = pd.read_parquet(runs["one"] / "label.parquet").set_index(KEYS)["LABEL0"]
    expected = compare_signals(scores, labels, ensemble=False, horizon=11)
    found = rows[(rows["a"] == "one") & (rows["b"] == "two")]["p_nw"].astype(float)
    np.testing.assert_allclose(found, expected.differences["p_nw"])
    assert set(expected.differences["lags"]) == {10}


def test_a_thing_named_twice_is_compared_once(market, capsys):
    rows, err = table(capsys, "tiny.lstm", "tiny", "tiny.yaml")
    assert len(rows) == 2 * (3 + 3)
    assert err.count("is named twice, and compared once") == 4
    text = error(capsys, "tiny.lstm", "tiny.lstm")
    assert "a comparison needs two signals, and tiny.lstm tiny.lstm names one: tiny.lstm" in text


def test_a_model_of_a_market_that_has_no_scores_yet_is_left_out(market, capsys):
    shutil.rmtree(market.paths.warehouse / "gru_prediction")
    rows, err = table(capsys, "tiny")
    assert set(rows["a"]) == {"tiny.lstm", "tiny.krnn"}
    assert "note: tiny.gru has no scores yet and is left out" in err


def test_what_cannot_be_compared_is_an_error_that_says_why(market, tmp_path, capsys):
    assert "needs two signals" in error(capsys, "tiny.lstm")
    assert "tiny has no model 'lsmt'; did you mean 'lstm'" in error(capsys, "tiny.lsmt", "tiny.gru")
    assert "'tin' is no model, market or folder of qrun; did you mean 'tiny'" in error(
        capsys, "tin", "tiny.gru"
    )
    (tmp_path / "empty").mkdir()
    lacks = "empty is no folder that qrun has written: it lacks predictions.parquet and label"
    assert lacks in error(capsys, "empty", "tiny.gru")
    run_folder(market, tmp_path / "other", lambda s: s.rename(lambda n: f"X{n}", level=1))
    text = error(capsys, "tiny.lstm", "other")
    assert "no session and name in common: tiny.lstm 2020-04-01 to 2020-05-15 (32 sess" in text
    text = error(capsys, "tiny.lstm", "tiny", "--start", "2021-01-01")
    assert "tiny.lstm has no score from 2021-01-01 to its last: it has 2020-04-01 to" in text
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(merged(TINY, {"name": "new"})))
    assert " has no scores yet; run `rnn-pipelines demo --config new.yaml`" in error(
        capsys, "new.yaml", "tiny"
    )
    (tmp_path / "other" / "label.parquet").write_bytes(b"no parquet")
    assert "other is a damaged folder of qrun" in error(capsys, "other", "tiny")


@pytest.mark.thorough
def test_a_backend_that_a_notebook_hands_down_is_not_asked(market, tmp_path):
    program = "import sys; from pipelines.cli.main import main; sys.exit(main())"
    words = ["compare", "tiny.lstm", "tiny.gru", "--out", "two.png"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "MPLBACKEND": "nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_the_json_and_the_picture(market, tmp_path, capsys):
    words = ["compare", "tiny.lstm", "tiny.gru", "--start", "2020-04-10"]
    assert main([*words, "--out", "plots/two.png"]) == 0
    out = capsys.readouterr().out
    assert "tiny.lstm − tiny.gru" in out and "p (Holm)" in out and "rank ICIR" in out
    assert (tmp_path / "plots" / "two.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"rows", "notes"} and len(answer["rows"]) == 6
    assert "--csv and --json exclude each other" in error(capsys, "tiny", "--csv", "--json")
    assert "give the file a name in .png" in error(capsys, "tiny", "--out", "two.pdf")
