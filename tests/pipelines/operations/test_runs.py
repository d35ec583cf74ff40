"""Commands: what is left to do, runs whose process is gone, and the demo from start to finish."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.cli.arguments import day
from pipelines.cli.main import main
from pipelines.instance.made_keys import made_keys
from pipelines.instance.orphaned_runs import OWNER_TAG, owner, sweep_orphans
from pipelines.operations.demo import run_demo
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import (
    DATA_ASSETS,
    TINY,
    key_of,
    make_market,
    market_of,
    materialize,
    model_assets,
    partition_bytes,
)
from tests.pipelines.processes import start_python, wait_until

SHORT = {"market": {"end": "2020-04-21"}}


def recorded(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def make_console() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.mark.thorough
def test_the_demo_runs_once_and_then_says_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = make_market(tmp_path / "tiny", SHORT)
    console = make_console()
    run_demo(market, console)
    text = recorded(console)
    for word in (
        "rank ICIR",
        "max DD",
        "lstm",
        "krnn",
        "*.png",
        "rnn-pipelines ui",
        "dataset_learn",
    ):
        assert word in text
    before = partition_bytes(market)

    again = make_console()
    run_demo(make_market(tmp_path / "tiny", SHORT), again)
    assert "already there" in recorded(again)
    assert "rank ICIR" in recorded(again)
    assert partition_bytes(market) == before

    sessions = market.sessions
    assert re.search(r"verified   \d+ files, [\d.]+ .B: nothing is damaged or missing", text)
    with dg.DagsterInstance.from_config(str(market.paths.dagster)) as instance:
        assert status_report(market, stages(market), instance).verified is not None
        for asset in DATA_ASSETS:
            done = made_keys(instance, key_of(asset))
            assert done == set(sessions.keys), asset
        for asset in model_assets(market):
            done = made_keys(instance, key_of(asset))
            assert done == {k for k in sessions.keys if k >= market.plan.first_trained}, asset
        record = instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=key_of("lstm_model"), asset_partitions=[market.plan.first_trained]
            ),
            limit=1,
        ).records[0]
        metadata = record.asset_materialization.metadata
        assert "data:image/png;base64" in metadata["loss_curve"].value
        assert metadata["samples_per_second"].value > 0
        assert metadata["device"].value


def test_a_run_whose_process_is_gone_is_failed(market, instance):
    sleeper = "import sys, time; print(sys.argv[1]); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", sleeper, "x"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    host, _, _ = owner().split(":")
    start = owner_start(process.pid)
    job = build_definitions(market).resolve_job_def("tiny_daily")

    def started(tag):
        return instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={OWNER_TAG: tag}
        ).run_id

    theirs = started(f"{host}:{process.pid}:{start}")
    ours = started(owner())
    assert sweep_orphans(instance) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sweep_orphans(instance) == [theirs]
    statuses = {r.run_id: r.status for r in instance.get_runs()}
    assert statuses[theirs] == dg.DagsterRunStatus.FAILURE
    assert statuses[ours] == dg.DagsterRunStatus.STARTED


def test_a_pid_that_was_given_to_another_process_is_not_mistaken(market, instance):
    host, pid, start = owner().split(":")
    job = build_definitions(market).resolve_job_def("tiny_daily")
    run = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={OWNER_TAG: f"{host}:{pid}:{int(start) - 1}"},
    )
    assert sweep_orphans(instance) == [run.run_id]


def owner_start(pid: int) -> str:
    from pipelines.instance.orphaned_runs import _started

    return _started(pid)


@pytest.fixture
def tiny_yaml(tmp_path, monkeypatch):
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    return file


def test_backfill_snaps_to_sessions_and_signal_prints_scores(finished, tiny_yaml, capsys):
    root = tiny_yaml.parent / "data" / "tiny"
    shutil.copytree(finished.paths.root, root)
    before = partition_bytes(finished)
    # 2020-05-09 and -10 were a weekend: the range starts on Monday.
    arguments = ["backfill", "--start", "2020-05-09", "--end", "2020-05-12"]
    assert main([*arguments, "--config", str(tiny_yaml)]) == 0
    market = make_market(root)
    assert partition_bytes(market) == before
    with dg.DagsterInstance.from_config(str(market.paths.dagster)) as instance:
        done = made_keys(instance, key_of("gru_evaluation"))
        assert done == {"2020-05-11", "2020-05-12"}
    capsys.readouterr()
    assert main(["signal", "--config", str(tiny_yaml)]) == 0
    printed = capsys.readouterr().out
    assert "krnn, 2020-05-15:" in printed
    assert "S0001" in printed or "S0002" in printed


def test_errors_end_a_command_with_their_text(tiny_yaml, capsys):
    assert main(["signal", "--config", str(tiny_yaml)]) == 1
    said = f"no session yet; run `rnn-pipelines demo --config {tiny_yaml}` first"
    assert said in capsys.readouterr().err
    assert main(["demo", "--config", "nothing"]) == 1
    assert "no configuration 'nothing'" in capsys.readouterr().err
    weekend = ["backfill", "--start", "2020-05-09", "--end", "2020-05-10"]
    assert main([*weekend, "--config", str(tiny_yaml)]) == 1
    assert "no closed session between 2020-05-09 and 2020-05-10" in capsys.readouterr().err


def test_signal_says_what_a_day_is(finished, tiny_yaml, capsys):
    """Not a session, a session without scores, and one of the warm-up."""
    shutil.copytree(finished.paths.root, tiny_yaml.parent / "data" / "tiny")
    config = ["--config", str(tiny_yaml)]

    def said(day):
        status = main(["signal", "--date", day, *config])
        out = capsys.readouterr()
        return status, out.err + out.out

    status, text = said("2020-05-09")
    assert status == 1
    assert "2020-05-09 is not a session of XNYS; the nearest" in text
    assert "2020-05-08, 2020-05-11" in text
    assert "the nearest of this market: 2020-05-15" in said("2021-03-01")[1]
    status, text = said("2020-03-31")
    assert status == 1
    assert "no model has scores of 2020-03-31: the first session that trains is 2020-04-01" in text
    shutil.rmtree(tiny_yaml.parent / "data/tiny/warehouse/gru_prediction/date=2020-04-02")
    status, text = said("2020-04-02")
    assert status == 1
    assert "gru_prediction has no session 2020-04-02, it has 31 from 2020-04-01" in text
    assert "`rnn-pipelines backfill --start 2020-04-02 --end 2020-04-02 --config" in text


def test_bundles_of_the_same_fingerprints_are_kept(finished, tmp_path, instance):
    """A second run trains nothing; a lost bundle is trained again to the same bytes."""
    market = make_market(tmp_path / "kept")
    shutil.copytree(finished.paths.root, market.paths.root)
    weights = sorted(market.paths.models.glob("*/*/weights.safetensors"))
    stamps = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in weights}
    keys = market.sessions.keys
    materialize(market, model_assets(market)[:3], market.plan.first_trained, keys[-1], instance)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in weights} == stamps
    shutil.rmtree(market.paths.models / "gru" / market.plan.first_trained)
    materialize(market, ["gru_model"], market.plan.first_trained, keys[-1], instance)
    assert partition_bytes(market) == partition_bytes(finished)


def test_days_are_read_as_dates(tiny_yaml, capsys):
    """`2012-1-5` is the fifth of January, never the text that sorts after `2012-09`."""
    assert day("2020-5-9") == "2020-05-09"
    with pytest.raises(SystemExit):
        main(["signal", "--date", "20200509", "--config", str(tiny_yaml)])
    assert "'20200509' is not a date; write YYYY-MM-DD" in capsys.readouterr().err


KILLED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
from pathlib import Path
from rich.console import Console
from tests.pipelines.conftest import market_of
from pipelines.operations.demo import run_demo
from pipelines.staleness.status_report import status_report
run_demo(market_of(Path(sys.argv[1]), sys.argv[2], {"market": {"end": "2020-04-21"}}), Console())
"""


def demo_until(root: Path, model: str, table: str) -> subprocess.Popen[bytes]:
    """A demo of one model in a process of its own, when the first file of a table appears."""
    process = start_python(KILLED, root, model)
    seen = root / "warehouse" / table
    wait_until(process, f"a file of {table}", lambda: seen.is_dir() and any(seen.iterdir()))
    return process


@pytest.mark.thorough  # tests/faults kills at many more points
@pytest.mark.parametrize("at", ["alpha158", "gru_model"])
def test_an_interrupted_demo_records_what_it_wrote(tmp_path, monkeypatch, at):
    """Ctrl-C ends the run as an interruption, not as a failure of a step."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    root = tmp_path / "tiny"
    process = demo_until(root, "gru", at)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors.splitlines()[-1]
    assert b"RunFailedError" not in errors
    market = market_of(root, "gru", SHORT)
    with dg.DagsterInstance.from_config(str(market.paths.dagster)) as instance:
        assert made_keys(instance, key_of("ohlcv"))
        assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


@pytest.mark.thorough
@pytest.mark.parametrize("at", [pytest.param("label", marks=pytest.mark.thorough), "lstm_model"])
def test_a_killed_demo_goes_on_to_the_same_bytes(finished, tmp_path, monkeypatch, at):
    """kill -9 while an asset is at work; the next demo ends with the files of an unbroken one."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    root = tmp_path / "tiny"
    process = demo_until(root, "lstm", at)
    process.kill()
    process.wait()
    market = market_of(root, "lstm", SHORT)
    before = len(partition_bytes(market))
    console = make_console()
    run_demo(market, console)
    assert "was cut off earlier" in recorded(console)
    after = partition_bytes(market)
    assert before < len(after)
    unbroken = partition_bytes(finished)
    assert after == {path: unbroken[path] for path in after}
