"""Python processes that a test starts, waits for and kills.

A new interpreter takes seconds of imports: a fork of a server that has made them is there in
milliseconds, and is a process like another.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 300


@cache
def fork_server(module: str) -> ForkServerContext:
    """The server whose forks have imported a module; it ends with this process, which has one."""
    os.environ["PYTHONPATH"] = str(ROOT)  # the server imports before it is told anything
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


class Forked:
    """A script in a fork of this process's server.

    Args:
        script: it can import the packages and the tests.
        arguments: its `sys.argv`, from the second on.
        environment: more variables than those of now.
        folder: where it works; here by default.
    """

    def __init__(
        self,
        script: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        from tests.pipelines.forked_script import run_script

        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._said = Path(self._folder.name, "said")
        self._said.touch()
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        place = str(folder or Path.cwd())
        words = (script, list(map(str, arguments)), variables, place, str(self._said))
        self._process = fork_server("tests.pipelines.forked_script").Process(
            target=run_script, args=words
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal that ended the process; None while it lives."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status, as of a `Popen`."""
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL; nothing where it has ended."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for its end, and return the exit status."""
        self._process.join(PATIENCE_SECONDS)  # a busy machine takes a minute
        assert self.returncode is not None, f"{self.pid} does not end; it said: {self.said()}"
        return self.returncode

    def said(self) -> str:
        """Everything that it has written so far."""
        return self._said.read_text(errors="replace")


def start_python(script: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a script that can import the packages and the tests; its output is kept in pipes."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until(
    process: subprocess.Popen[bytes] | Forked,
    what: str,
    happened: Callable[[], bool],
    *,
    seconds: float = PATIENCE_SECONDS,
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
        process.wait()
        if isinstance(process, Forked):
            said = process.said()
        else:
            said = process.communicate()[1].decode(errors="replace")
        why = f"not there after {seconds:g} s" if ended is None else f"ended with status {ended}"
        raise AssertionError(f"waited for {what}: {why}; it said: {said or 'nothing'}")
