"""The process group of the UI, which ends with the command that started it.

`dg dev` ends its webserver and daemon on Ctrl-C only; a signal of a service manager or of `kill`
would leave them running. So it runs as a child, in a process group of its own, and each signal
that asks this process to end reaches the whole group as Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from threading import Thread
from typing import IO

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_SECONDS = 0.1
_LAST_WORDS_SECONDS = 1.0
PATIENCE_SECONDS = 30.0  # a run at work records its failure meanwhile


def supervise(command: Sequence[str], *descriptors: int, output: IO[str] | None = None) -> int:
    """Run a program until it ends or this process is asked to, and end its whole group.

    A second request kills what is left at once.

    Args:
        command: the program and its arguments.
        descriptors: passed on to the program.
        output: takes what the program prints, so that its log survives a reader that leaves; the
            program has this process's standard output without.

    Returns:
        The exit status of the program.
    """
    requests: list[int] = []
    # A shell without job control ignores SIGINT for what it starts, nohup SIGHUP. SIGTERM counts in
    # any case: it asks a program to end, and Dagster lets it follow an ignored SIGINT.
    ignored = {
        number
        for number in (signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_IGN
    }

    def ask(number: int, _frame: object) -> None:
        if number not in ignored:
            requests.append(number)

    # Before the program starts, which would inherit an ignored SIGINT and then not hear Ctrl-C.
    before = {number: signal.signal(number, ask) for number in _ENDING}
    try:
        process = subprocess.Popen(  # noqa: S603
            command,
            process_group=0,
            pass_fds=descriptors,
            stdout=None if output is None else subprocess.PIPE,
            text=True,
            errors="replace",
        )
        relay = Thread(target=_copy, args=(process.stdout, output), daemon=True)
        relay.start()
        while process.poll() is None and not requests:
            time.sleep(_LOOK_SECONDS)
        for number, patience in ((signal.SIGINT, PATIENCE_SECONDS), (signal.SIGKILL, 1.0)):
            deadline = time.monotonic() + patience
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
                while time.monotonic() < deadline and len(requests) < 2:
                    time.sleep(_LOOK_SECONDS)
                    process.poll()
                    os.killpg(process.pid, 0)  # raises once the group is empty
        status = process.wait()
        relay.join(_LAST_WORDS_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _copy(lines: IO[str] | None, output: IO[str] | None) -> None:
    """Copy a program's output, line by line, until its last process has closed it."""
    if lines is not None and output is not None:
        output.writelines(lines)
