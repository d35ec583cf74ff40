"""Waiting for what another process does. Oracle: scripts that do it, never do it, or end."""

from __future__ import annotations

import pytest

from tests.pipelines.processes import start_python, wait_until


def test_what_happens_in_time_is_waited_for(tmp_path):
    process = start_python("import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", tmp_path / "f")
    wait_until(process, "the file", (tmp_path / "f").exists)
    process.communicate()


def test_a_wait_that_is_over_fails_and_kills():
    process = start_python("import time; time.sleep(60)")
    with pytest.raises(AssertionError, match=r"waited for a file of label: not there after 0.1 s"):
        wait_until(process, "a file of label", lambda: False, seconds=0.1)
    assert process.returncode == -9


def test_a_process_that_ends_first_is_quoted():
    process = start_python("import sys; sys.exit('no route')")
    message = r"waited for a file: ended with status 1; it said: no route"
    with pytest.raises(AssertionError, match=message):
        wait_until(process, "a file", lambda: False)
