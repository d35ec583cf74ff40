"""Commands of `rnn-pipelines` in forked processes, which are there in milliseconds.

A server of `multiprocessing` has imported everything and never worked; each command is a fork of
it. What a person would see on the terminal goes into a file.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.faults.points import Fault
from tests.pipelines.processes import PATIENCE_SECONDS, fork_server

KILLED = -signal.SIGKILL


@dataclass
class Command:
    """A command in a process of its own.

    Args:
        folder: holds `data/` and `tiny.yaml`.
        words: the command and its arguments.
        fault: of its process.
        options: more of what `tests.faults.child.run` knows.
    """

    folder: Path
    words: Sequence[str]
    fault: Fault | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        number = len(list(self.folder.glob("said-*.txt")))
        self.log = self.folder / f"said-{number}.txt"
        self.log.touch()
        self.points = self.log.with_suffix(".json")
        process = fork_server("tests.faults.child").Process(
            target=_in_child,
            args=(str(self.folder), list(self.words), self.fault, dict(self.options), self.log),
        )
        process.start()
        self.process: ForkServerProcess = process

    def wait(self) -> int:
        """The exit status; minus the signal that ended the process."""
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"{self} does not end; it said: {self.said()}")
        assert self.process.exitcode is not None
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def said(self) -> str:
        """Everything that it has written to its terminal."""
        return self.log.read_text(errors="replace")

    def traced(self) -> tuple[dict[tuple[str, str], int], float]:
        """The number of points of each kind and group that it reached, and its CPU seconds."""
        traced = json.loads(self.points.read_text())
        return {(kind, group): n for kind, group, n in traced["reached"]}, traced["seconds"]

    def seconds(self) -> float:
        """CPU seconds of the process, which depend little on what else runs; inf once it ended."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __str__(self) -> str:
        return " ".join(self.words)


def run(folder: Path, *words: str, fault: Fault | None = None, **options: Any) -> Command:
    """Run a command to its end."""
    command = Command(folder, words, fault, options)
    command.status = command.wait()  # type: ignore[attr-defined]
    return command


def good(folder: Path, *words: str, status: int = 0, **options: Any) -> str:
    """Run a command that has to end with a status, and return its output."""
    command = Command(folder, words, None, options)
    ended = command.wait()
    assert ended == status, f"{command} ended with {ended}: {command.said()}"
    return command.said()


def _in_child(
    folder: str, words: list[str], fault: Fault | None, options: dict[str, Any], log: Path
) -> None:
    from tests.faults.child import run_words

    sys.exit(run_words(Path(folder), words, fault, options, log))
