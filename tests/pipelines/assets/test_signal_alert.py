"""The alert of a scored session. Oracles: the stored partitions, and the program's own notes.

The program of these tests is Python itself, adding a line with its environment to a file.
"""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from pipelines.assets.signal_alert import SIGNALS, ScoredSession, _claim
from tests.pipelines.conftest import make_market, materialize
from tests.pipelines.finished_markets import copy_of, put_on_record

LAST = "2020-05-15"
MODELS = ("lstm", "gru", "krnn")
TELL = """
import json, os, sys
names = ("MARKET", "RUN_ID", "SESSION", "MODELS", "PATH", "IC_SESSION", "IC", "RANK_IC", "IC_RANK")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({name: os.environ["RNN_" + name] for name in names}) + "\\n")
"""


def told(tmp_path: Path) -> list[dict[str, str]]:
    path = tmp_path / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def changes(tmp_path: Path) -> dict:
    program = [sys.executable, "-c", TELL, str(tmp_path / "told.jsonl")]
    return {"alerts": {"on_signal": program}}


@pytest.fixture
def market(finished, tmp_path, instance):
    """A finished market on record that names the program; gru has not scored its newest session."""
    market = copy_of(finished, tmp_path / "tiny", changes=changes(tmp_path))
    shutil.rmtree(partition(market, "gru").parent)
    return put_on_record(market, instance)


def partition(market, model: str, key: str = LAST) -> Path:
    return market.paths.warehouse / f"{model}_prediction" / f"date={key}" / "part-0.parquet"


def test_the_run_that_completes_the_scores_tells_it_once(market, tmp_path, instance):
    materialize(market, ["lstm_prediction"], LAST, LAST, instance)
    assert told(tmp_path) == []  # gru is missing
    materialize(market, ["gru_prediction"], "2020-05-08", LAST, instance)
    (facts,) = told(tmp_path)
    run = instance.get_runs()[0]
    assert (facts["MARKET"], facts["SESSION"], facts["RUN_ID"]) == ("tiny", LAST, run.run_id)
    assert facts["MODELS"] == " ".join(MODELS)
    assert facts["PATH"].splitlines() == [str(partition(market, model)) for model in MODELS]
    # The newest evaluation of each model, read from the files themselves.
    assert facts["IC_SESSION"] == LAST
    for n, model in enumerate(MODELS):
        files = sorted((market.paths.warehouse / f"{model}_evaluation").glob("date=*/*.parquet"))
        rows = pd.concat([pd.read_parquet(file) for file in files]).dropna(subset=["rank_ic"])
        newest = rows.iloc[-1]
        assert facts["IC"].split()[n] == f"{model}={newest['ic']:.4f}"
        assert facts["RANK_IC"].split()[n] == f"{model}={newest['rank_ic']:.4f}"
        place = int(rows["rank_ic"].rank(ascending=False, method="min").iloc[-1])
        assert facts["IC_RANK"].split()[n] == f"{model}={place}/{len(rows)}"
    # A run of the same session again, and one in a process that knows nothing of this one.
    materialize(market, ["gru_prediction"], LAST, LAST, instance)
    again = make_market(market.paths.root, changes(tmp_path))
    materialize(again, ["lstm_prediction", "gru_prediction"], LAST, LAST, instance)
    assert len(told(tmp_path)) == 1


def test_a_backfill_of_old_sessions_tells_nobody(market, tmp_path, instance):
    materialize(market, ["gru_prediction"], "2020-04-08", "2020-05-14", instance)
    assert told(tmp_path) == []
    assert not (market.paths.reports / SIGNALS).exists()


def test_a_model_that_never_scored_is_waited_for_by_the_run_that_makes_it_only(
    market, tmp_path, instance
):
    """A model that joins weeks later holds no signal back."""
    shutil.rmtree(market.paths.warehouse / "gru_prediction")
    materialize(market, ["lstm_prediction", "gru_prediction"], LAST, LAST, instance)
    assert told(tmp_path)[0]["MODELS"] == " ".join(MODELS)
    (market.paths.reports / SIGNALS).unlink()
    shutil.rmtree(market.paths.warehouse / "gru_prediction")
    materialize(market, ["lstm_prediction"], LAST, LAST, instance)
    assert told(tmp_path)[1]["MODELS"] == "lstm krnn"


def test_a_failing_program_is_a_warning_of_a_run_that_succeeds(market, tmp_path, instance):
    script = "print('no route'); raise SystemExit(3)"
    failing = {"alerts": {"on_signal": [sys.executable, "-c", script]}}
    market = make_market(market.paths.root, failing)
    materialize(market, ["gru_prediction"], LAST, LAST, instance)
    run = instance.get_runs()[0]
    assert run.is_success
    messages = [e.user_message for e in instance.all_logs(run.run_id) if e.level == 30]
    assert any("alerts.on_signal" in m and "status 3: no route" in m for m in messages)


def test_of_several_processes_one_marks_the_session(tmp_path):
    market = make_market(tmp_path / "tiny")
    scored = ScoredSession("tiny", "r", LAST, MODELS, (), "", {}, {}, {})
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: _claim(market, scored), range(16)))
    assert sum(claims) == 1
    # A line that a full disk cut off hides no other.
    with (market.paths.reports / SIGNALS).open("a") as file:
        file.write('{"session": "2020-0\n')
    assert not _claim(market, scored)


def test_a_line_that_a_full_disk_cut_off_swallows_no_mark(tmp_path):
    """It has no end: a mark that went on in its line would be found by nobody."""
    market = make_market(tmp_path / "tiny")
    scored = ScoredSession("tiny", "r", LAST, MODELS, (), "", {}, {}, {})
    market.paths.reports.mkdir(parents=True)
    (market.paths.reports / SIGNALS).write_text('{"session": "2020-0')
    assert _claim(market, scored)
    assert not _claim(market, scored)


def test_a_damaged_evaluation_is_a_warning(market, tmp_path, instance):
    file = market.paths.warehouse / "lstm_evaluation" / f"date={LAST}" / "part-0.parquet"
    file.write_bytes(b"no parquet")
    materialize(market, ["gru_prediction"], LAST, LAST, instance)
    run = instance.get_runs()[0]
    assert run.is_success
    messages = [e.user_message for e in instance.all_logs(run.run_id) if e.level == 30]
    (why,) = (m for m in messages if "alerts.on_signal was not told: " in m)
    assert "lstm_evaluation" in why
    assert told(tmp_path) == []
