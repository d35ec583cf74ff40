"""Waiting for what another process does. Oracle: scripts that do it, never do it, or end."""

from __future__ import annotations

import pytest

from tests.pipelines.processes import Forked, start_python, wait_until

both = pytest.mark.parametrize("start", [start_python, Forked])


@both
def test_what_happens_in_time_is_waited_for(tmp_path, start):
    process = start("import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", tmp_path / "f")
    wait_until(process, "the file", (tmp_path / "f").exists)
    assert process.wait() == 0


@both
def test_a_wait_that_is_over_fails_and_kills(start):
    process = start("import time; time.sleep(60)")
    with pytest.raises(AssertionError, match=r"waited for a file of label: not there after 0.1 s"):
        wait_until(process, "a file of label", lambda: False, seconds=0.1)
    assert process.returncode == -9


@both
def test_a_process_that_ends_first_is_quoted(start):
    process = start("import sys; sys.exit('no route')")
    message = r"waited for a file: ended with status 1; it said: no route"
    with pytest.raises(AssertionError, match=message):
        wait_until(process, "a file", lambda: False)


def test_a_fork_has_the_environment_of_now(monkeypatch):
    monkeypatch.setenv("RNN_OF_NOW", "there")
    process = Forked(
        "import os, sys; print(os.environ['RNN_OF_NOW'], *sys.argv[1:])", "and", "here"
    )
    assert process.wait() == 0
    assert process.said() == "there and here\n"
