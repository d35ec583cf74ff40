"""The parity certificate of a `qrun` folder.

Oracle: pyqlib itself, run by the Python that `RNN_PYQLIB` names (skipped without). Whatever needs
no pyqlib is shown with a stand-in for the interpreter, which answers with the run's own scores,
moved by a known amount.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from pipelines.cli.main import main, parse
from pipelines.operations.certificate import SCORE
from pipelines.operations.parity import ParityError
from pipelines.operations.qrun import DIFFERS, run_command
from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.rnn_core.workflow.workflow_cases import FILES, SESSIONS, small

KRNN = {
    "class": "KRNN",
    "kwargs": "{fea_dim: 20, rnn_dim: 8, n_epochs: 1, batch_size: 200, GPU: -1, seed: 3}",
}
PYQLIB = os.environ.get("RNN_PYQLIB", "")

STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys
import pandas as pd
from rnn_core.evaluation import calc_ic
if sys.argv[2] == "versions":
    print(json.dumps({{"pyqlib": "0.0.0"}}))
    raise SystemExit
place = pathlib.Path(sys.argv[3])
run = pathlib.Path(RUN)
keys = ["datetime", "instrument"]
scores = pd.read_parquet(place / "ours.parquet").set_index(keys)["score"].astype("float64")
label = pd.read_parquet(run / "label.parquet").set_index(keys)["LABEL0"]
book = pd.read_parquet(run / "portfolio_analysis" / "report.parquet").set_index("datetime")
print("pyqlib: is not here", flush=True)
CHANGE
theirs = pd.DataFrame({{"score": scores, "label": label.reindex(scores.index)}})
theirs.reset_index().to_parquet(place / "scores.parquet")
ic, rank_ic = calc_ic(scores, label)
daily = pd.DataFrame({{"ic": ic, "rank_ic": rank_ic}}).join(book).rename_axis("datetime")
for name in ("theirs", "ours"):
    daily.reset_index().to_parquet(place / f"daily_{{name}}.parquet")
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory) -> Path:
    bars = adjusted_market(12, SESSIONS, 1, signal=0.3, suspension_rate=0.05)
    return dump_provider(tmp_path_factory.mktemp("parity") / "data", bars, sessions=SESSIONS)


def words(provider: Path, out: Path, file: str = "gru_alpha158", **model: str) -> list[str]:
    """A command line of a small run."""
    texts = small(**model)
    if "class" in model:  # the model as a whole, in place of the file's
        texts = [text for text in texts if not text.startswith("task.model")]
        texts.append(f"task.model={{class: {model['class']}, kwargs: {model['kwargs']}}}")
    overrides = [word for text in texts for word in ("--set", text)]
    path = str(FILES / f"{file}.yaml")
    return ["qrun", path, "--provider-uri", str(provider), "--out", str(out), *overrides]


def shown(*given: str) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    status = run_command(parse(given), console)
    return status, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(provider, tmp_path_factory) -> Path:
    """A finished run, which nobody changes."""
    out = tmp_path_factory.mktemp("parity") / "run"
    assert shown(*words(provider, out, hidden_size="8"))[0] == 0
    return out


def stand_in(tmp_path: Path, run: Path, change: str = "") -> str:
    path = tmp_path / "python"
    path.write_text(STAND_IN.replace("RUN", repr(str(run))).replace("CHANGE", change))
    path.chmod(0o755)
    return str(path)


def verified(provider: Path, run: Path, python: str) -> tuple[int, str, dict]:
    """Verify a finished run; the certificate is removed again."""
    status, text = shown(*words(provider, run, hidden_size="8"), "--verify-with", python)
    certificate = json.loads((run / "certificate.json").read_text())
    page = (run / "certificate.md").read_text()
    assert certificate["verdict"].lower() in page.lower()
    for name in ("certificate.json", "certificate.md"):
        (run / name).unlink()
    return status, text, certificate


def test_a_finished_run_is_verified_without_running_it_again(provider, run, tmp_path):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    status, text, certificate = verified(provider, run, stand_in(tmp_path, run))
    assert status == 0
    assert "training" not in text
    assert "pyqlib: is not here" in text
    assert "parity holds: 420 rows" in text
    assert certificate["holds"] is True
    assert {m["name"] for m in certificate["measures"]} == {
        "score", "label", "IC", "rank IC", "portfolio return", "portfolio cost",
        "portfolio turnover", "portfolio benchmark",
    }  # fmt: skip
    assert max(m["largest"] for m in certificate["measures"]) < 1e-15
    manifest = json.loads((run / "bundle" / "manifest.json").read_text())
    assert certificate["fingerprints"] == [manifest["fingerprint"]]
    assert certificate["versions"]["pyqlib"] == {"pyqlib": "0.0.0"}
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (f"scores.iloc[7] += {2 * SCORE}", ["score"]),
        ("scores = scores.iloc[1:]", ["score"]),
        ("label.iloc[3] += 1e-5", ["label"]),
        ("book.loc[book.index[2], 'return'] += 1e-8", ["portfolio return"]),
        ("book = book.iloc[:-1]", ["portfolio return", "portfolio cost", "portfolio turnover"]),
    ],
)
def test_a_difference_above_its_bound_is_named(provider, run, tmp_path, change, broken):
    status, text, certificate = verified(provider, run, stand_in(tmp_path, run, change))
    assert status == DIFFERS
    assert certificate["holds"] is False
    differs = [m["name"] for m in certificate["measures"] if not m["holds"]]
    assert differs[: len(broken)] == broken
    assert "parity does not hold: " + broken[0] in text


def test_the_place_of_the_largest_difference_is_named(provider, run, tmp_path):
    scores = pd.read_parquet(run / "predictions.parquet").sort_values(["datetime", "instrument"])
    row = scores.iloc[7]
    change = f"scores = scores.sort_index(); scores.iloc[7] += {SCORE / 2}"
    status, _, certificate = verified(provider, run, stand_in(tmp_path, run, change))
    measure = certificate["measures"][0]
    assert status == (0 if all(m["holds"] for m in certificate["measures"]) else DIFFERS)
    assert measure["holds"]
    assert measure["at"] == f"{row['datetime']:%Y-%m-%d}, {row['instrument']}"


@pytest.mark.thorough
def test_strict_semantics_get_no_certificate(provider, tmp_path):
    out = tmp_path / "run"
    given = [*words(provider, out, hidden_size="8"), "--semantics", "strict"]
    status, text = shown(*given, "--verify-with", stand_in(tmp_path, out))
    assert status == DIFFERS
    assert "no certificate: semantics are strict" in text.replace("\n", " ")
    assert json.loads((out / "certificate.json").read_text())["holds"] is False


def test_an_interpreter_that_cannot_do_it_is_refused_before_the_run(provider, tmp_path):
    given = [*words(provider, tmp_path / "run"), "--verify-with"]
    with pytest.raises(ParityError, match=r"cannot import pyqlib .*No module named 'qlib'.*pip"):
        shown(*given, sys.executable)
    with pytest.raises(ParityError, match="is no program that can be run"):
        shown(*given, str(tmp_path / "none"))
    with pytest.raises(ParityError, match="is no Python: it answered"):
        shown(*given, "echo")
    assert not (tmp_path / "run").exists()


def test_a_run_of_something_else_is_refused(provider, run, tmp_path):
    python = stand_in(tmp_path, run)
    for given, what in (
        (words(provider, run, hidden_size="9"), r"another overrides \(--set\)"),
        ([*words(provider, run, hidden_size="8"), "--semantics", "strict"], "another semantics"),
        ([*words(provider, run, hidden_size="8"), "--vwap", "typical"], "another provider"),
        (words(provider, run, "lstm_alpha158", hidden_size="8"), "another workflow file"),
    ):
        with pytest.raises(ParityError, match=what):
            shown(*given, "--verify-with", python)


def test_a_failure_of_pyqlib_is_shown_with_its_last_lines(provider, run, tmp_path, capsys):
    python = stand_in(tmp_path, run, "raise ValueError('the benchmark does not exist')")
    given = [*words(provider, run, hidden_size="8"), "--verify-with", python]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert "pyqlib 0.0.0 could not do it (status 1)" in error
    assert "the benchmark does not exist" in error
    assert not (run / "certificate.json").exists()


END = "port_analysis_config.backtest.end_time="


@pytest.mark.parametrize(
    ("file", "model", "end"),
    [
        ("gru_alpha158", {}, -1),  # the calendar's last, where pyqlib's backtest fails
        ("lstm_alpha158", {"seeds": "2"}, 215),
        ("lstm_alpha360", {}, 215),  # suspended names have equal scores
        ("krnn_alpha360", {}, 215),
        ("krnn_alpha360", {"legacy_layout": "false"}, 215),
        ("gru_alpha158", KRNN, 215),  # windows, for which pyqlib's KRNN has no dataset
    ],
)
@pytest.mark.skipif(not PYQLIB, reason="set RNN_PYQLIB to a Python that has pyqlib and torch")
def test_pyqlib_itself_confirms_a_run(provider, tmp_path, file, model, end):
    last = f"{END}{SESSIONS[end]:%Y-%m-%d}"
    given = [
        last if word.startswith(END) else word
        for word in words(provider, tmp_path / "run", file, **model)
    ]
    status, text = shown(*given, "--verify-with", PYQLIB)
    assert status == 0, text
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert certificate["rows"] == 420
    assert certificate["measures"][0]["largest"] < 1e-6
    assert any("fails on the last session" in n for n in certificate["notes"]) == (end == -1)


def test_help_names_the_option(capsys):
    with pytest.raises(SystemExit):
        parse(["qrun", "--help"])
    assert "--verify-with PYTHON" in capsys.readouterr().out
