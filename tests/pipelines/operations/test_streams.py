"""Commands in a pipe whose reader leaves, with closed streams and on a full disk.

Oracle: the exit status of the same command with a reader that stays, and an empty standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipelines.conftest import TINY
from tests.pipelines.finished_markets import recorded_copy_of

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from pipelines.cli.main import main; sys.exit(main())"
DAY = "2020-05-15"


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A folder with the YAML and the state of a market that lacks a session of one model."""
    folder = tmp_path_factory.mktemp("pipes")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        market = recorded_copy_of(finished, folder / "data" / "tiny")
    (market.paths.warehouse / "gru_evaluation" / f"date={DAY}" / "part-0.parquet").unlink()
    return folder


def run(place: Path, words: list[str], redirection: str) -> tuple[int, str]:
    """Exit status and standard error of a command under a shell's redirection."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}', "bash", sys.executable,
         "-W", "ignore", "-c", PROGRAM, *words],
        cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RNN_DATA_DIR": str(place / "data"),
             "RNN_CONFIG": "tiny.yaml", "DAGSTER_HOME": ""},
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "redirection",
    ["| true", pytest.param("| head -n 1 >/dev/null", marks=pytest.mark.thorough), ">&-"],
)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        pytest.param(["signal", "--csv"], 0, marks=pytest.mark.thorough),
        (["status"], 3),
        pytest.param(["sql", "FROM range(100000)", "--csv"], 0, marks=pytest.mark.thorough),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_reader_that_leaves_changes_no_status(place, words, status, redirection):
    assert run(place, words, redirection) == (status, "")


def test_an_error_without_a_reader_is_an_error(place):
    assert run(place, ["signal", "--date", "2020-05-16"], "2>&1 | true") == (1, "")
    assert run(place, ["signal", "--date", "2020-05-16"], "2>&-") == (1, "")
    assert run(place, ["statsu"], "2>&1 | true") == (2, "")


def test_a_disk_that_is_full_is_one_line(place):
    said = "error: cannot write the output: [Errno 28] No space left on device\n"
    assert run(place, ["signal"], ">/dev/full") == (1, said)


def test_work_goes_on_when_nobody_reads_its_progress(place):
    """Last: it makes the session that the other tests find missing."""
    day = ["--start", DAY, "--end", DAY]
    assert run(place, ["backfill", *day, "--select", "gru_evaluation"], "2>&1 | true") == (0, "")
    assert (place / f"data/tiny/warehouse/gru_evaluation/date={DAY}/part-0.parquet").is_file()
