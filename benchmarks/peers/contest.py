"""One side of a contest in which two processes take turns: it reads requests, and answers each.

Both sides stay alive, so that neither makes its data twice and a slow minute of the machine
falls on both. A request and its answer are a line of JSON; whatever else a library prints goes to
standard error. Standard library only: it runs in every contestant's interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO


def take_stdout() -> TextIO:
    """Standard output for the answers alone; whatever is printed later goes to standard error.

    Returns:
        Where to write answers. To be called before a library is imported: some print then.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def serve(answer: Callable[..., dict[str, Any]], replies: TextIO) -> None:
    """Answer requests until there are no more.

    Args:
        answer: called with the request's entries as keywords.
        replies: as `take_stdout` returned it.
    """
    for line in sys.stdin:
        replies.write(json.dumps(answer(**json.loads(line))) + "\n")
        replies.flush()


class Contestant:
    """The other end: a process that serves.

    Args:
        command: that starts it.
        log: file for what it says beside its answers.
    """

    def __init__(self, command: Sequence[object], log: Path) -> None:
        self._log = log
        self._words: TextIO = log.open("w")
        self._process = subprocess.Popen(  # noqa: S603
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for its answer.

        Args:
            **request: JSON-able.

        Returns:
            The answer.

        Raises:
            RuntimeError: the process ended; the message holds the last it said.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        line = ""
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            name = " ".join(map(str, self._process.args))  # type: ignore[arg-type]
            raise RuntimeError(f"{name} ended:\n{self._log.read_text()[-3000:]}")
        return dict(json.loads(line))

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=60)
        self._words.close()


def busy_s() -> float:
    """CPU seconds that the machine has spent on anything, taken by its host included.

    NaN where there is no /proc.
    """
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(cores: float, most_s: float) -> bool:
    """Wait until the machine is nearly idle; to be called while the contestants wait.

    Args:
        cores: how many may be busy, on average over 3 seconds.
        most_s: how long to wait.

    Returns:
        Whether it is quiet; True where that cannot be told.
    """
    end = time.monotonic() + most_s
    while True:
        before = busy_s()
        time.sleep(3)
        if not (busy_s() - before) / 3 > cores:
            return True
        if time.monotonic() > end:
            return False


def watched(call: Callable[[], object]) -> dict[str, float]:
    """Time a call, and see what else ran.

    Args:
        call: whose child processes, if any, have ended when it returns.

    Returns:
        `fit_s`, seconds; `cpu_s`, CPU seconds of all its threads and processes; `others`, how
        many cores other processes kept busy meanwhile, on average.
    """
    began, busy, before = time.perf_counter(), busy_s(), sum(os.times()[:4])
    call()
    took, own = time.perf_counter() - began, sum(os.times()[:4]) - before
    others = max(busy_s() - busy - own, 0.0) / took
    return {"fit_s": took, "cpu_s": own, "others": others}


class TimedDataset:
    """A dataset whose `prepare` is timed, so that it can be taken off a training.

    Args:
        dataset: any with `prepare`.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.segments = dataset.segments
        self.seconds = 0.0
        self.sizes: list[int] = []

    def prepare(self, *args: Any, **options: Any) -> Any:
        """As the dataset's; adds to `seconds`, and notes the numbers of samples."""
        began = time.perf_counter()
        prepared = self._dataset.prepare(*args, **options)
        self.seconds += time.perf_counter() - began
        several = isinstance(prepared, list)
        self.sizes += [len(part) for part in (prepared if several else [prepared])]
        return prepared
