"""Python processes that a test starts, waits for and kills."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def start_python(script: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a script that can import the packages and the tests; its output is kept in pipes."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until(
    process: subprocess.Popen[bytes],
    what: str,
    happened: Callable[[], bool],
    *,
    seconds: float = 300,
) -> None:
    """Wait for something that a process does.

    A test that went on without it would pass or fail for another reason than its own.

    Args:
        process: the process; it is killed where the wait fails.
        what: what is waited for, for the message.
        happened: whether it has happened.
        seconds: how long to wait; far beyond what a busy machine needs.

    Raises:
        AssertionError: the process ended first, or the time is over; the message has what was
            waited for and what the process wrote to its standard error.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        ended = process.poll()
        if ended is None and time.monotonic() < deadline:
            time.sleep(0.005)
            continue
        if happened():  # between the two questions
            return
        process.kill()
        said = process.communicate()[1].decode(errors="replace")
        why = f"not there after {seconds:g} s" if ended is None else f"ended with status {ended}"
        raise AssertionError(f"waited for {what}: {why}; it said: {said or 'nothing'}")
