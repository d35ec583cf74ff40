"""The process of one metric logger: it reads events from standard input and calls the logger.

`tracking.py` starts it and says why. Each line is `[event, facts]`; the first opens the logger. The
answer on standard output is `done` for each event, and a line for each trouble, which is also added
to the file of troubles. At the end of its input the process deals with what it has read, for a
minute at most.

A trouble is scrubbed of secrets (`pipelines/config/secrets_in_text.py`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from pipelines.config.secrets_in_text import scrubbed

GRACE_SECONDS = 60.0
_AHEAD = 10_000  # events read and not dealt with


class Worker:
    """Calls one logger, and tells its troubles.

    Args:
        answers: descriptor that the answers are written to.
        name: the logger, as the YAML names it.
        place: `module:Class`.
        options: its options.
        troubles: the file of troubles.
    """

    def __init__(
        self, answers: int, name: str, place: str, options: dict[str, Any], troubles: str
    ) -> None:
        self._answers = answers
        self._logger: Any = None
        self._name, self._place, self._options, self._file = name, place, options, troubles
        self._is_open = False  # a training was begun and not ended
        self._told: set[str] = set()

    def work(self, event: str, facts: dict[str, Any]) -> None:
        """Deal with one event; what the logger raises is a trouble."""
        try:
            if event == "open":
                self._open()
            elif self._logger is not None:
                self._call(event, facts)
        except Exception as error:  # whatever foreign code raises
            self._is_open = False  # nothing more of this training
            self.trouble(f"{event}: {type(error).__name__}: {error}")
        self._answer("done")

    def _open(self) -> None:
        module, _, name = self._place.partition(":")
        self._logger = getattr(importlib.import_module(module), name)(**self._options)

    def _call(self, event: str, facts: dict[str, Any]) -> None:
        if event == "session":
            if hasattr(self._logger, "session"):
                self._logger.session(facts)
            return
        if event != "start" and not self._is_open:
            return
        self._is_open = event != "end"
        getattr(self._logger, event)(facts)

    def finish(self) -> None:
        """End a training whose process was stopped."""
        if self._is_open:
            self.work("end", {"status": "interrupted"})

    def trouble(self, text: str) -> None:
        """Tell a trouble, the first time that it is met."""
        line = " ".join(scrubbed(f"tracking.{self._name}: {text}", self._options).split())
        if line in self._told:
            return
        self._told.add(line)
        self._answer(line)
        with contextlib.suppress(OSError):  # the answer has said it
            path = Path(self._file)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{dt.datetime.now(dt.UTC).isoformat(timespec='seconds')} {line}\n")

    def _answer(self, line: str) -> None:
        # Where the training has ended nobody listens: the file of troubles is left.
        with contextlib.suppress(OSError):
            os.write(self._answers, line.encode() + b"\n")


def main() -> None:
    """Read events until the end of the input, and call the logger in a thread beside."""
    # A logger may print what it likes: the answers have a descriptor of their own.
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    events: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_AHEAD)
    event, facts = json.loads(sys.stdin.buffer.readline())
    worker = Worker(answers, **facts)

    def work() -> None:
        worker.work(event, {})
        while (heard := events.get()) is not None:
            worker.work(*heard)
        worker.finish()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):  # the pipe was full when the training ended
            worker.trouble("it does not keep up: the last event was cut off, and is left out")
            break
        try:  # a logger that hangs must not keep the end of the input from being seen
            events.put_nowait(tuple(json.loads(line)))
        except queue.Full:
            worker.trouble("it does not keep up: events are left out")
    deadline = threading.Timer(GRACE_SECONDS, _give_up, [worker])
    deadline.daemon = True
    deadline.start()
    events.put(None)
    thread.join()
    os._exit(0)  # no thread of a logger keeps the process


def _give_up(worker: Worker) -> None:
    worker.trouble(f"it did not end in {GRACE_SECONDS:g} s after the training, and was stopped")
    os._exit(1)


if __name__ == "__main__":
    main()
