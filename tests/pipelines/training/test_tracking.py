"""Metric loggers. Oracles: the bundle's history and manifest, the stored evaluations, a clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pipelines.assets.materialize import CURRENT_TAG, RETRAIN
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config import tracking as section
from pipelines.config.loader import load_config, parse_config
from pipelines.config.secrets_in_text import scrubbed
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.operations.runs import run_assets
from pipelines.reports.signal_report import _provenance
from pipelines.staleness.status_report import status_report
from pipelines.training import tracking
from pipelines.training.registry import find_bundle
from pipelines.training.tracking import LOG_FILE, TrackerProcess
from tests.pipelines.conftest import TINY, make_market, market_of, materialize, merged
from tests.pipelines.finished_markets import copy_of, put_on_record

FIRST, LAST = "2020-04-01", "2020-05-15"
HERE = "tests.pipelines.training.loggers:"
TOKEN = "s3cret-t0ken"  # noqa: S105 - of no service


def tracked(finished: Market, tmp_path: Path, name: str, **options: str) -> Market:
    """A copy of the finished market with a logger of the tests."""
    loggers = {f"{HERE}{name}": {"path": str(tmp_path / "noted.jsonl"), **options}}
    return copy_of(finished, tmp_path / "tiny", changes={"tracking": loggers})


def retrain(market: Market, instance) -> None:
    """Train the model of the first trained session anew."""
    defs = build_definitions(market)
    run_assets(defs, instance, ["lstm_model"], (FIRST, FIRST), tags={CURRENT_TAG: RETRAIN})


def warnings_of(instance) -> list[str]:
    run = instance.get_runs()[0]
    assert run.is_success
    return [e.user_message for e in instance.all_logs(run.run_id) if e.level == 30]


def wait_for(path: Path, *words: str) -> str:
    """The text of a file once it holds the words: what is told arrives after the run."""
    for _ in range(600):
        text = path.read_text() if path.exists() else ""
        if all(word in text for word in words):
            return text
        time.sleep(0.05)
    pytest.fail(f"{path} never held {words}: {text!r}")


def test_a_training_and_realised_ics_are_told(finished, tmp_path, instance):
    market = tracked(finished, tmp_path, "Noting")
    retrain(market, instance)
    text = wait_for(tmp_path / "noted.jsonl", '["end"')
    (_, start), *epochs, (_, end) = map(json.loads, text.splitlines())
    assert (start["market"], start["model"], start["session"]) == ("tiny", "lstm", FIRST)
    assert start["params"]["hyper.hidden_size"] == 4
    assert (start["params"]["window_sessions"], start["params"]["features"]) == (45, 6)
    bundle = find_bundle(market, "lstm", FIRST)
    assert [event for event, _ in epochs] == ["epoch", "epoch"]
    for (_, facts), row in zip(epochs, bundle.history.itertuples(), strict=True):
        assert (facts["epoch"], facts["seed"]) == (row.epoch, 0)
        assert facts["train_loss"] == pytest.approx(row.train_loss)
        assert facts["valid_score"] == pytest.approx(row.valid_score)
    assert (end["status"], end["fingerprint"]) == ("finished", bundle.fingerprint)
    assert Path(end["bundle"]) == market.paths.models / "lstm" / FIRST
    assert end["metrics"]["valid_rank_ic"] == bundle.manifest["valid_rank_ic"]
    materialize(market, ["lstm_evaluation"], "2020-05-13", LAST, instance)
    text = wait_for(tmp_path / "noted.jsonl", LAST)
    told = [facts for event, facts in map(json.loads, text.splitlines()) if event == "session"]
    assert [facts["session"] for facts in told] == ["2020-05-13", "2020-05-14", LAST]
    file = market.paths.warehouse / "lstm_evaluation" / f"date={LAST}" / "part-0.parquet"
    row = pd.read_parquet(file).iloc[0]
    assert (told[-1]["ic"], told[-1]["rank_ic"]) == (row["ic"], row["rank_ic"])
    assert told[-1]["decision"] == f"{row['decision_date']:%Y-%m-%d}"
    assert not (market.paths.reports / LOG_FILE).exists()


def test_a_bundle_that_is_kept_is_no_training(finished, tmp_path, instance):
    market = tracked(finished, tmp_path, "Noting")
    materialize(market, ["lstm_model"], FIRST, FIRST, instance)
    materialize(market, ["lstm_evaluation"], LAST, LAST, instance)
    assert '"start"' not in wait_for(tmp_path / "noted.jsonl", LAST)


@pytest.mark.thorough
def test_a_logger_that_hangs_delays_nothing(finished, tmp_path, instance, monkeypatch):
    """It would sleep for ten minutes; the training takes about a second."""
    monkeypatch.setattr(tracking, "_SLOW_SECONDS", 0.0)
    market = tracked(finished, tmp_path, "Hanging")
    began = time.monotonic()
    retrain(market, instance)
    assert time.monotonic() - began < 60
    assert any(
        "has not answered for 0 s; the training does not" in w for w in warnings_of(instance)
    )
    os.kill(int(wait_for(tmp_path / "noted.jsonl", "\n")), signal.SIGKILL)


def test_a_logger_that_raises_is_a_warning_without_its_token(finished, tmp_path, instance):
    market = tracked(finished, tmp_path, "Raising", token=TOKEN)
    retrain(market, instance)
    warnings = warnings_of(instance)
    line = wait_for(market.paths.reports / LOG_FILE, "epoch: ConnectionError")
    assert "no answer of https://***@host/?token=***" in line
    assert TOKEN not in line + "".join(warnings)
    assert len(line.splitlines()) == 1  # once, and nothing more of that training
    assert '"end"' not in (tmp_path / "noted.jsonl").read_text()


def test_a_logger_whose_process_dies_fails_no_training(finished, tmp_path, instance):
    retrain(tracked(finished, tmp_path, "Dying"), instance)
    warnings_of(instance)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, /) -> None:
        """Ignore it."""

    def warning(self, message: str, /) -> None:
        self.lines.append(message)


def test_what_does_not_fit_is_left_out_and_said_once(tmp_path):
    """Twenty times what the pipe and the queue behind it hold; nothing blocks."""
    log, noted = Log(), tmp_path / "noted"
    process = TrackerProcess(
        f"{HERE}Hanging", {"path": str(noted)}, make_market(tmp_path / "tiny"), log
    )
    process.tell("start", {})
    for _ in range(200):
        process.tell("epoch", {"text": "x" * 100_000})
    (line,) = log.lines
    assert "does not keep up: events are left out" in line
    process.close()
    os.kill(int(wait_for(noted, "\n")), signal.SIGKILL)


@pytest.mark.parametrize("cut", ["", '["epoch", {"epo'])
def test_an_event_that_is_cut_off_loses_none_before_it(tmp_path, cut):
    """A pipe that was full when the training ended; the logger is still to be made then."""
    noted = tmp_path / "noted.jsonl"
    facts = {"name": "own", "place": f"{HERE}Noting", "options": {"path": str(noted)}}
    events = [["open", {**facts, "troubles": str(tmp_path / LOG_FILE)}], ["start", {}]]
    events += [["epoch", {"epoch": epoch}] for epoch in range(100)]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.training.tracker_process"], timeout=120, check=False,
        input="".join(json.dumps(e) + "\n" for e in events) + cut, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in noted.read_text().splitlines()]
    assert told[:-1] == events[1:]
    assert told[-1] == ["end", {"status": "interrupted"}]
    assert ("the last event was cut off" in done.stdout) == bool(cut)


def test_the_process_of_a_logger_that_hangs_ends_by_itself(tmp_path, monkeypatch):
    """More events than it keeps, and then the end of the pipe; a second is its time here."""
    noted = tmp_path / "noted"
    facts = {"name": "own", "place": f"{HERE}Hanging", "options": {"path": str(noted)}}
    events = [["open", {**facts, "troubles": str(tmp_path / LOG_FILE)}], ["start", {}]]
    events += [["epoch", {}]] * 10_100
    code = "from pipelines.training import tracker_process as t\nt.GRACE_SECONDS = 1.0\nt.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], input="".join(json.dumps(e) + "\n" for e in events),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [
        "done",  # of the constructor
        "tracking.own: it did not end in 1 s after the training, and was stopped",
        "tracking.own: it does not keep up: events are left out",
    ]


@pytest.mark.thorough
def test_the_section_makes_nothing_stale(finished, tmp_path, instance):
    plain = put_on_record(copy_of(finished, tmp_path / "tiny"), instance)
    logger = {f"{HERE}Noting": {"path": "x"}}
    market = make_market(plain.paths.root, {"tracking": logger})
    pairs = zip(stages(plain), stages(market), strict=True)
    assert all(a.config_hash == b.config_hash for a, b in pairs)
    assert _provenance(market, {}) == _provenance(plain, {})  # the fingerprint on the page
    found = status_report(market, stages(market), instance)
    before = status_report(plain, stages(plain), instance)
    assert [a.findings for a in found.assets] == [a.findings for a in before.assets]


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        ({f"{HERE}NoEnd": None}, r"has no method end\(facts\); did you mean 'ended'.* start,"),
        ({f"{HERE}TwoArguments": {"path": "x"}}, r"TwoArguments\.epoch is called with one mapping"),
        ({f"{HERE}Noting": {"paht": "x"}}, "has no option 'paht'; did you mean 'path'"),
        ({f"{HERE}Noting": None}, "Noting: missing a required argument: 'path'"),
        ({f"{HERE}Notin": None}, "has nothing under the name 'Notin'.*did you mean 'Noting'"),
        ({"mlfow": None}, "unknown logger 'mlfow'; did you mean 'mlflow'.*package.module:Class"),
        ({"no_such_package.m:X": None}, "cannot import no_such_package.m"),
        ({f"{HERE}Noting": "x"}, "expected its options by name"),
        ("mlflow", "expected loggers by name"),
    ],
)  # fmt: skip
def test_a_logger_that_breaks_the_contract_is_refused_with_the_yaml(loggers, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(TINY, {}) | {"tracking": loggers})


def test_a_yaml_that_names_an_absent_extra_is_told_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "us.yaml"
    path.write_text(Path("pipelines/config/shipped/sample.yaml").read_text().replace(
        "tracking: null ", "tracking: {mlflow: {experiment: us}} "
    ))  # fmt: skip
    monkeypatch.setattr(section.importlib.util, "find_spec", lambda name: None)
    install = r"tracking \(line \d+\): mlflow needs .* pip install 'rnn-signal-factory\[mlflow\]'"
    with pytest.raises(ConfigError, match=install):
        load_config(path)


@pytest.mark.parametrize(
    "wrong",
    [
        f"https://me:{TOKEN}@host",
        {"mlflow": f"https://me:{TOKEN}@host"},
        {f"{HERE}Noting": {"path": "x", "uri": f"https://{TOKEN}@host"}},
    ],
)
def test_no_message_about_the_section_quotes_a_value(wrong):
    with pytest.raises(ConfigError) as caught:
        parse_config(merged(TINY, {}) | {"tracking": wrong})
    assert TOKEN not in str(caught.value)
    right = {"tracking": {f"{HERE}Noting": {"path": "x", "token": TOKEN}}}
    assert TOKEN not in repr(parse_config(merged(TINY, right)))


def test_secrets_are_scrubbed_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "from-the-environment")
    options = {"uri": "https://me:pass-word@host/x", "deep": {"api_key": "abcdefg"}}
    text = (
        "GET https://me:pass-word@host/x?sig=aaa&run=1 with Authorization: Bearer q.w/e= "
        "and pass-word, abcdefg, from-the-environment, postgresql://u:p@db/mlflow"
    )
    assert scrubbed(text, options) == (
        "GET https://***@host/x?sig=***&run=1 with Authorization: Bearer *** "
        "and ***, ***, ***, postgresql://***@db/mlflow"
    )


def test_an_interrupted_and_a_failed_training_are_told_as_such(tmp_path):
    """The pipe's end without the end of a training is what a killed process leaves."""
    market = market_of(tmp_path / "tiny", "lstm", {
        "tracking": {f"{HERE}Noting": {"path": str(tmp_path / "noted.jsonl")}}
    })  # fmt: skip
    epoch = type("Report", (), dict.fromkeys(
        ("epoch", "train_loss", "valid_score", "best_epoch"), float("nan")
    ))  # fmt: skip
    spec = market.models[0]
    with tracking.Tracking(market, Log()) as told:
        with pytest.raises(ZeroDivisionError), told.training(spec, FIRST) as training:
            training.epoch(0, epoch)
            raise ZeroDivisionError
        with pytest.raises(KeyboardInterrupt), told.training(spec, LAST) as training:
            training.epoch(1, epoch)
            raise KeyboardInterrupt
    text = wait_for(tmp_path / "noted.jsonl", '"interrupted"')
    ends = [facts for event, facts in map(json.loads, text.splitlines()) if event == "end"]
    failed = {"status": "failed", "reason": "ZeroDivisionError"}
    assert ends == [failed, {"status": "interrupted"}]
