"""Programs that are told of an event. The program of these tests is Python itself, or a shell."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pipelines.instance import alert_program
from pipelines.instance.alert_program import run_program

KEY = "alerts.on_failure"
TOLD = {"RNN_MARKET": "tiny", "RNN_REASON": "why"}


@pytest.mark.parametrize(
    ("script", "seconds", "message"),
    [
        ("import sys; print('no route'); sys.exit(3)", 60, "ended with status 3: no route"),
        ("import sys; sys.exit(4)", 60, "ended with status 4: it said nothing"),
        ("import time; time.sleep(60)", 1, "was stopped after 1 s"),
    ],
)
def test_a_program_that_fails_is_reported_and_raises_nothing(script, seconds, message):
    assert message in run_program(KEY, [sys.executable, "-c", script], TOLD, seconds)


def test_a_program_that_cannot_be_started_is_reported(tmp_path):
    assert "could not be started" in run_program(KEY, [str(tmp_path / "nothing")], TOLD, 1)


def test_what_a_program_started_is_stopped_with_it(tmp_path):
    """A program that a shell waits for does not outlive its time."""
    # A shell and not a Python: it writes the number well within the two seconds.
    shell = ["sh", "-c", 'sleep 600 & echo $! >"$0"; wait', str(tmp_path / "pid")]
    assert "was stopped after" in run_program(KEY, shell, TOLD, 2)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {pid} lives on")


def test_the_environment_holds_any_text(tmp_path):
    """A NUL or a very long text would keep the program from being started."""
    told = tmp_path / "told.txt"
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['RNN_REASON'])"
    odd = TOLD | {"RNN_REASON": "ab\0c" + "x" * 10**6}
    assert run_program(KEY, [sys.executable, "-c", script, str(told)], odd, 60) is None
    assert told.read_text() == "abc" + "x" * (alert_program.TEXT_LIMIT - 3)
