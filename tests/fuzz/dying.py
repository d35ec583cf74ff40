"""A target that ends its process, as a library in C may: for the test of the harness."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.harness import Target


def _die(given: int, _folder: Path) -> None:
    if given == 4711:
        os.kill(os.getpid(), signal.SIGSEGV)


TARGETS = (Target("dies", lambda: st.sampled_from([1, 2, 4711]), _die, 0),)
