"""Metric loggers of the tests: one that notes what it is told, and some that are broken."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Noting:
    """Add a line an event to a file."""

    def __init__(self, path: str, token: str = "") -> None:
        self.path, self.token = Path(path), token

    def _note(self, event: str, facts: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([event, facts]) + "\n")

    def start(self, facts):
        sys.stdout.write("what a logger prints is no answer\n")
        self._note("start", facts)

    def epoch(self, facts):
        self._note("epoch", facts)

    def end(self, facts):
        self._note("end", facts)

    def session(self, facts):
        self._note("session", facts)


class Hanging(Noting):
    """Write down its process, and never answer."""

    def start(self, facts):
        self.path.write_text(f"{os.getpid()}\n")
        time.sleep(600)

    epoch = session = start


class Raising(Noting):
    """Fail at every epoch, with its token in the message."""

    def epoch(self, facts):
        raise ConnectionError(f"no answer of https://me:{self.token}@host/?token={self.token}")


class Dying(Noting):
    """End its process."""

    def start(self, facts):
        os._exit(7)


class NoEnd:
    """Lack a method."""

    def start(self, facts):
        """Do nothing."""

    def epoch(self, facts):
        """Do nothing."""

    def ended(self, facts):
        """Do nothing."""


class TwoArguments(Noting):
    """Take more than the contract gives."""

    def epoch(self, number, loss):
        """Do nothing."""
