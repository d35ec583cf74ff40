"""What a command says when it is stopped: the truth about that command."""

from __future__ import annotations

import argparse
import errno
import gc

import pytest

from pipelines.cli.arguments import for_each_market
from pipelines.cli.main import main
from pipelines.errors import SourceError

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


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO])
def test_what_the_disk_refuses_is_told_without_a_traceback(monkeypatch, capsys, code):
    def refuse(*args, **kwargs):
        raise OSError(code, "refused", "/data/part.parquet")

    monkeypatch.setattr("pipelines.operations.signal.session_signal", refuse)
    assert main(["signal"]) == 1
    assert capsys.readouterr().err == f"error: [Errno {code}] refused: '/data/part.parquet'\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "refused", "/data/a"), "error: one: [Errno 13] refused"),
        (SourceError("postgresql://me:hunter22@db/x is away"), "error: one: postgresql://***@db/x"),
    ],
)
def test_a_market_that_fails_holds_back_no_other_and_tells_no_secret(
    monkeypatch, capsys, error, said
):
    def work(args: argparse.Namespace) -> int:
        done.append(args.config)
        if args.config == "one.yaml":
            raise error
        return 0

    done: list[str] = []
    markets = {"one": "one.yaml", "two": "two.yaml"}
    monkeypatch.delenv("RNN_CONFIG", raising=False)
    monkeypatch.setattr("pipelines.instance.market_list.markets_of", lambda root: markets)
    assert for_each_market(argparse.Namespace(config=None), work) == 1
    assert done == ["one.yaml", "two.yaml"]
    assert capsys.readouterr().err.startswith(said)
