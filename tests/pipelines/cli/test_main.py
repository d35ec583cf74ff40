"""What a command says when it is stopped: the truth about that command."""

from __future__ import annotations

import gc

import pytest

from pipelines.cli.main import main

GO_ON = "stopped; run the same command again to go on from here\n"
RANGE = ["--start", "2020-05-11", "--end", "2020-05-12"]


@pytest.mark.parametrize(
    ("argv", "at", "said"),
    [
        (["demo"], "pipelines.operations.demo.run_demo", GO_ON),
        (
            ["demo", "--fresh", "--config", "sample"],
            "pipelines.operations.demo.run_demo",
            "without --fresh goes on from here",
        ),
        (["backfill", *RANGE], "pipelines.operations.backfill.run_backfill", GO_ON),
        (
            ["backfill", *RANGE, "--force"],
            "pipelines.operations.backfill.run_backfill",
            "what was made is kept; the same command makes the whole range again",
        ),
        (
            ["refresh", "--since", "2020-05-11"],
            "pipelines.operations.refresh.run_refresh",
            "what was made is kept; run the same command again to complete it",
        ),
        (
            ["qrun", "some.yaml"],
            "rnn_core.workflow.load_document",
            "nothing of the run was kept, the same command starts anew",
        ),
        (["status"], "pipelines.staleness.status_report.status_report", "stopped\n"),
        (["signal"], "pipelines.operations.signal.session_signal", "stopped\n"),
    ],
)
def test_ctrl_c_says_what_the_same_command_would_do(tmp_path, monkeypatch, capsys, argv, at, said):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(at, stop)
    assert main(argv) == 130
    assert said in capsys.readouterr().err


def test_garbage_is_looked_for_rarely_in_a_command_and_as_before_after_it(monkeypatch):
    """Imports make objects that stay: to look for garbage among them is a loss of time."""
    before, within = gc.get_threshold(), []

    def noted(*_):
        within.append(gc.get_threshold()[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.operations.signal.session_signal", noted)
    assert main(["signal"]) == 130
    assert within == [100_000]
    assert gc.get_threshold() == before
